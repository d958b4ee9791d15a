"""What a person reads beside an error code, in the two languages a client may ask for.

Texts name the parameter and what is allowed; they hold no secret and no internal address. Clients key on
the code, never on these.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Language = Literal["en-US", "zh-CN"]


@dataclass(frozen=True, slots=True)
class Text:
    """One sentence in both languages."""

    en: str
    zh: str

    def say(self, language: Language) -> str:
        return self.zh if language == "zh-CN" else self.en


def missing(name: str) -> Text:
    return Text(f"{name} is required.", f"缺少必填参数 {name}。")


def unknown(name: str) -> Text:
    return Text(f"{name} is not a parameter of this action.", f"该接口没有参数 {name}。")


def wrong_type(name: str, wanted: str) -> Text:
    return Text(f"{name} must be {_EN.get(wanted, wanted)}.", f"{name} 必须是{_ZH.get(wanted, wanted)}。")


def between(name: str, low: int, high: int, unit: str = "") -> Text:
    tail = f" {unit}" if unit else ""
    return Text(f"{name} must be from {low} to {high}{tail}.", f"{name} 必须在 {low} 到 {high} 之间。")


def one_of(name: str, values: str) -> Text:
    return Text(f"{name} must be one of {values}.", f"{name} 必须是 {values} 之一。")


def at_most(name: str, count: int, what_en: str, what_zh: str) -> Text:
    return Text(f"{name} may hold at most {count} {what_en}.", f"{name} 最多 {count} {what_zh}。")


_EN = {
    "uint64": "an integer from 0 to 18446744073709551615",
    "int64": "an integer from -9223372036854775808 to 9223372036854775807",
    "string": "a string without NUL characters",
    "boolean": "true or false",
    "float": "a number",
    "list": "a list",
    "object": "an object",
}
_ZH = {
    "uint64": "非负整数",
    "int64": "整数",
    "string": "字符串",
    "boolean": "布尔值",
    "float": "数字",
    "list": "数组",
    "object": "对象",
}

# Chinese sentences for domain errors, whose own text is English: one per wire code.
BY_CODE_ZH = {
    "AuthFailure": "账号状态异常。",
    "FailedOperation": "操作失败。",
    "FailedOperation.CRUnsupportMethod": "该应用未开通云端录制。",
    "FailedOperation.RestrictedConcurrency": "并发任务数已达上限。",
    "FailedOperation.RoomNotExist": "房间不存在。",
    "FailedOperation.UserNotExist": "用户不在房间中。",
    "FailedOperation.SdkAppIdNotExist": "SdkAppId 不存在。",
    "InternalError": "内部错误。",
    "InternalError.CRInternalError": "云端录制内部错误。",
    "InternalError.InternalError": "内部错误，请重试。",
    "InvalidParameter": "参数错误。",
    "InvalidParameter.SdkAppId": "SdkAppId 错误。",
    "InvalidParameter.SdkAppid": "无权操作该 SdkAppId。",
    "InvalidParameter.UserSig": "UserSig 错误或已过期。",
    "ResourceNotFound": "资源不存在。",
    "ServiceUnavailable": "服务暂不可用，请稍后重试。",
    "UnauthorizedOperation.SdkAppId": "无权操作该 SdkAppId。",
    "UnsupportedOperation": "暂不支持该操作。",
}


def of_domain(code: str, english: str) -> Text:
    """The text of a domain error: its own sentence, and the code's in Chinese."""
    return Text(english, BY_CODE_ZH.get(code, english))
