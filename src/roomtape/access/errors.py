"""What access control refuses, and why."""

from __future__ import annotations

from typing import ClassVar

from roomtape.errors import DomainError


class UnknownApp(DomainError):
    """No application has this SdkAppId."""

    def __init__(self, sdk_app_id: int) -> None:
        super().__init__(f"There is no application {sdk_app_id}.")
        self.sdk_app_id = sdk_app_id


class BadUserSig(DomainError):
    """A UserSig does not prove that its bearer is this user of this application.

    `code` is what a client shows at room entry, `native_code` the detail (-70xxx) that says which check
    failed.
    """

    code: ClassVar[int] = -100018

    def __init__(self, native_code: int, reason: str) -> None:
        super().__init__(f"The UserSig was refused: {reason}.")
        self.native_code = native_code
        self.reason = reason


class TicketRefused(DomainError):
    """A PrivateMapKey is absent, unreadable, expired, or does not grant what was asked.

    `code` is the client code of the refusal (-100006 and the -1020xx family).
    """

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"The PrivateMapKey was refused: {reason}.")
        self.code = code
        self.reason = reason


class AccountBlocked(DomainError):
    """The account that owns the application has been blocked by the operator."""


class UnknownKey(DomainError):
    """No API key has this SecretId."""


class TemporaryKey(DomainError):
    """A temporary key ends by itself and has no successor."""


class UnknownAccount(DomainError):
    """No account has this uin."""


class AlreadyThere(DomainError):
    """An account, application or key of that name exists already."""
