"""What error codes mean, in one line each, for the pages of the API. The codes themselves are in `codes`.

Source: API docs > Error Codes and each action's page, read 2026-11.
"""

from __future__ import annotations

from collections.abc import Mapping

_NEVER = "Published; never answered here."

EXPLANATIONS: Mapping[str, str] = {
    # --- common ---
    "ActionOffline": "The action was withdrawn; its successor has another name.",
    "AuthFailure.InvalidAuthorization": "The Authorization header cannot be read, or signs too few headers.",
    "AuthFailure.InvalidSecretId": "The SecretId does not look like one.",
    "AuthFailure.MFAFailure": _NEVER,
    "AuthFailure.SecretIdNotFound": "There is no such key, or it is disabled.",
    "AuthFailure.SignatureExpire": "The timestamp is more than 300 s from the server's time.",
    "AuthFailure.SignatureFailure": "The signature does not fit the request.",
    "AuthFailure.TokenFailure": "The token of a temporary key is missing, wrong or expired.",
    "AuthFailure.UnauthorizedOperation": "No policy allows the call, or one denies it.",
    "DryRunOperation": _NEVER,
    "FailedOperation": "The operation cannot be done in the present state.",
    "InternalError": "The server failed; try again.",
    "InvalidAction": "There is no such action.",
    "InvalidParameter": "A parameter has the wrong form.",
    "InvalidParameterValue": "A parameter has a value outside its set.",
    "InvalidRequest": "A multipart body cannot be read.",
    "IpInBlacklist": "The caller's address is blocked for this key.",
    "IpNotInWhitelist": "The caller's address is not among those allowed for this key.",
    "LimitExceeded": _NEVER,
    "MissingParameter": "A required parameter is absent or empty.",
    "NoSuchProduct": "The service in the credential is not `trtc` (with `api.strict_service`).",
    "NoSuchVersion": "The version is not 2019-07-22.",
    "RequestLimitExceeded": "More calls of this action in a second than the account may make.",
    "RequestLimitExceeded.GlobalRegionUinLimitExceeded": _NEVER,
    "RequestLimitExceeded.IPLimitExceeded": "More calls in a second from this address than are let in.",
    "RequestLimitExceeded.UinLimitExceeded": "More calls in a second than the account may make in all.",
    "RequestSizeLimitExceeded": "The request is larger than 32 KB (GET), 1 MB (form) or 10 MB.",
    "ResourceInUse": _NEVER,
    "ResourceInsufficient": _NEVER,
    "ResourceNotFound": "There is no such task, or the time in which it can be called is over.",
    "ResourceUnavailable": _NEVER,
    "ResponseSizeLimitExceeded": "The answer would be larger than 10 MB; ask for less.",
    "ServiceUnavailable": "The server is starting, ending, or has lost its database; try again.",
    "UnauthorizedOperation": "The operation is not permitted.",
    "UnknownParameter": "The request has a parameter that the action does not know.",
    "UnsupportedOperation": "The action, or an option of it, is known but not built.",
    "UnsupportedProtocol": "The method is neither GET nor POST.",
    "UnsupportedRegion": "The region is not one of the action's.",
    # --- of actions ---
    "AuthFailure": "The account is blocked.",
    "AuthFailure.UnRealNameAuthenticated": _NEVER,
    "AuthFailure.UnsupportedOperation": _NEVER,
    "FailedOperation.CRUnsupportMethod": "Recording is switched off for the application.",
    "FailedOperation.NotAllowed": "The operation is not open to the account.",
    "FailedOperation.NotRtmpFunction": "Ingest is switched off for the application.",
    "FailedOperation.QueryTaskInfoFailed": "The task could not be looked up.",
    "FailedOperation.RestrictedConcurrency": "The application may run no more tasks, or the server is full.",
    "FailedOperation.RoomNotExist": "No such room is open.",
    "FailedOperation.SdkAppIdNotExist": "There is no such application.",
    "FailedOperation.TaskExist": "The robot's user already runs a task in that room.",
    "FailedOperation.TaskFinished": "The task is over.",
    "FailedOperation.TaskNotExist": "There is no such task, or it is over.",
    "FailedOperation.UserNotExist": "The user is not in the room.",
    "InternalError.CRInternalError": "The server failed; try again.",
    "InternalError.DBError": _NEVER,
    "InternalError.EsQueryError": _NEVER,
    "InternalError.GetRoomCacheIpError": _NEVER,
    "InternalError.GetRoomFromCacheError": _NEVER,
    "InternalError.HttpParaseFalied": _NEVER,
    "InternalError.HttpParseFailed": _NEVER,
    "InternalError.InterfaceErr": _NEVER,
    "InternalError.InternalError": "The server failed; try again.",
    "InternalError.MethodErr": _NEVER,
    "InternalError.UserNotExist": _NEVER,
    "InvalidParameter.BodyParamsError": (
        "The body is not a JSON object; of pulled streams also: a parameter is absent or out of its range."
    ),
    "InvalidParameter.EncodeParams": "The encoding parameters do not fit.",
    "InvalidParameter.EndTs": "EndTime has the wrong form, or lies before StartTime.",
    "InvalidParameter.OutOfRange": "A parameter is outside its range, or does not fit another.",
    "InvalidParameter.PageSizeOversize": "PageSize is larger than a page may be.",
    "InvalidParameter.QueryScaleOversize": "The time asked for is longer than one query may span.",
    "InvalidParameter.SdkAppId": "There is no such application, or it is not this account's.",
    "InvalidParameter.SdkAppid": "The application is another account's.",
    "InvalidParameter.StartTimeOversize": _NEVER,
    "InvalidParameter.StartTs": "StartTime has the wrong form.",
    "InvalidParameter.StartTsOversize": "StartTime lies more than 14 days back.",
    "InvalidParameter.UrlParamsError": "The query makes no sense: a name is both a value and a structure.",
    "InvalidParameter.UserIdsMorethanSix": "More than six UserIds together with DataType.",
    "InvalidParameter.UserSig": "The UserSig is not valid for that user, or has expired.",
    "InvalidParameterValue.RoomId": "The number of the room is above 4294967295.",
    "MissingParameter.AppId": _NEVER,
    "MissingParameter.CloudStorage": "StorageParams holds neither CloudStorage nor CloudVod.",
    "MissingParameter.CommIdOrSdkAppId": "CommId or SdkAppId is absent or empty.",
    "MissingParameter.EndTs": "EndTime is absent.",
    "MissingParameter.Region": "StorageParams.CloudStorage.Region is absent or empty.",
    "MissingParameter.RoomNum": _NEVER,
    "MissingParameter.StartTs": "StartTime is absent.",
    "ResourceInsufficient.RequestRejection": "The server is full.",
    "UnauthorizedOperation.SdkAppId": "The application is another account's.",
}


def explain(code: str) -> str | None:
    """What a code means, or None where nobody wrote it yet."""
    told = EXPLANATIONS.get(code)
    if told is not None:
        return told
    first, _, second = code.partition(".")
    if first == "MissingParameter" and second:
        return f"{second} is absent or empty."
    if first == "InvalidParameter" and second:
        return f"{second} is not valid."
    return None
