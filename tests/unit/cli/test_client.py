"""The command's own client: what it signs is what the published algorithm signs."""

from __future__ import annotations

from roomtape.cli.client import tc3_headers


def test_a_post_is_signed_as_the_official_sdk_signs_it() -> None:
    """Made by the official Python SDK 3.1.193 (docs/vectors.md, TC3-1)."""
    headers = tc3_headers(
        "AKIDexampleRoomKitSecretId0000000001",
        "exampleSecretKeyForTests000001",
        "trtc.example.test",
        "SetUserBlocked",
        b'{"SdkAppId": 1400000001, "RoomId": 1234, "UserIds": ["alice", "bob smith"]}',
        1735693323,
    )
    assert headers["Authorization"] == (
        "TC3-HMAC-SHA256 Credential=AKIDexampleRoomKitSecretId0000000001/2025-01-01/trtc/tc3_request, "
        "SignedHeaders=content-type;host, "
        "Signature=4d74b595611ffc2ce79401b4a8bebc2663ac1e91a87aff4d0028d75b55dbc36d"
    )
