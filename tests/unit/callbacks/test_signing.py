"""Signature vectors; S3 is the vendor's own (page 647/39558), the others were computed independently."""

from __future__ import annotations

import hashlib

import pytest

from roomtape.callbacks.signing import is_signed, sign
from roomtape.secret import Secret

S1 = (
    '{"EventGroupId":1,"EventType":103,"CallbackTs":1700000000123,"EventInfo":{"RoomId":12345,'
    '"EventTs":1700000000,"EventMsTs":1700000000100,"UserId":"test","Role":20,"TerminalType":2,'
    '"UserType":3,"Reason":1}}'
)
S2 = (
    '{"EventGroupId":3,"EventType":310,"CallbackTs":1700000009999,"EventInfo":{"RoomId":"room-房1",'
    '"EventTs":1700000009,"EventMsTs":1700000009900,"UserId":"rec_bot","TaskId":"T-1","Payload":'
    '{"Status":0,"FileList":["a.mp4"],"FileMessage":[{"FileName":"a.mp4","UserId":"",'
    '"TrackType":"audio_video","MediaId":"mix","StartTimeStamp":1700000001000,'
    '"EndTimeStamp":1700000009000}]}}}'
)
S3 = (
    '{\n\t"EventGroupId":\t2,\n\t"EventType":\t204,\n\t"CallbackTs":\t1664209748188,\n\t"EventInfo":\t{'
    '\n\t\t"RoomId":\t8489,\n\t\t"EventTs":\t1664209748,\n\t\t"EventMsTs":\t1664209748180,'
    '\n\t\t"UserId":\t"user_85034614",\n\t\t"Reason":\t0\n\t}\n}'
)
S4 = (
    '{\n\t"EventGroupId":\t1,\n\t"EventType":\t101,\n\t"CallbackTs":\t1608086882372,\n\t"EventInfo":\t{'
    '\n\t\t"RoomId":\t20222,\n\t\t"EventTs":\t1608086882,\n\t\t"UserId":\t"222222_phone"\n\t}\n}'
)
VECTORS = {
    "S1": ("abcDEF123", S1, 204, "roJgZrr2+ZWNUYBJx3ud1vaPt+9A5wFgbxyM4K5l6CQ="),
    "S2": ("Key0123456789Key0123456789Key012", S2, 372, "ky+VIxvm331nGiKOKf3J4dTZ7U9bTA8au9fFPpI04JI="),
    "S3": ("123654", S3, 207, "kkoFeO3Oh2ZHnjtg8tEAQhtXK16/KI05W3BQff8IvGA="),
    "S4": ("789", S4, 162, "t2Yq1R4wilV/RIMRyygkgdhxWO8dgTdXXrfNVtz7V3k="),
}


@pytest.mark.parametrize("name", VECTORS)
def test_signature_vectors(name: str) -> None:
    key, text, length, signature = VECTORS[name]
    body = text.encode()
    assert len(body) == length
    assert sign(Secret(key), body) == signature
    assert is_signed(Secret(key), body, signature)


def test_the_published_body_is_the_published_one() -> None:
    digest = hashlib.sha256(S3.encode()).hexdigest()
    assert digest == "4c4c52193bebe962a47d3736aec7a27e81fba536f3a8ecfa04ba306b0edcb2f6"


@pytest.mark.parametrize(
    ("key", "body", "signature"),
    [
        ("123655", S3, VECTORS["S3"][3]),
        ("123654", S3 + "\n", VECTORS["S3"][3]),
        ("123654", S3, VECTORS["S4"][3]),
        ("123654", S3, ""),
        ("123654", S3, "é"),
    ],
)
def test_anything_else_is_not_signed(key: str, body: str, signature: str) -> None:
    assert not is_signed(Secret(key), body.encode(), signature)
