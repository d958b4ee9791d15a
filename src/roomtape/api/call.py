"""One request on its way through the chain: what arrived, and what the steps have found out."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field

from roomtape.access.service import ApiKey, App
from roomtape.api.dispatch import Action, Planned
from roomtape.api.messages import Language
from roomtape.api.signing import Authorization
from roomtape.contract.shapes import Request, Response


@dataclass(slots=True)
class Call:
    """Filled in from top to bottom; a step may rely on what the steps before it have set."""

    method: str
    path: str
    query: bytes  # raw, as received
    headers: Mapping[str, str]  # by lower-case name
    address: str  # the caller's, as believed
    trusted: bool  # the peer is a proxy of ours
    started_ns: int
    request_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    body: bytes = b""
    too_large: bool = False  # the rest of the body is not read: the connection closes
    form: dict[str, str] | None = None  # decoded query or form
    pairs: list[tuple[str, str]] = field(default_factory=list)
    authorization: Authorization | None = None  # None: signed in the older way
    action_name: str = ""
    version: str = ""
    timestamp_text: str = ""
    region: str = ""
    token: str = ""
    language: Language = "en-US"
    client: str = ""
    secret_id: str = ""
    signature: str = ""
    action: Action | Planned | None = None
    key: ApiKey | None = None
    request: Request | None = None
    app: App | None = None
    response: Response | None = None
    replayed: bool = False

    @property
    def built(self) -> Action | Planned:
        """The action, known from step 5 on."""
        assert self.action is not None
        return self.action

    @property
    def caller(self) -> ApiKey:
        """The key that signed, known from step 7 on."""
        assert self.key is not None
        return self.key
