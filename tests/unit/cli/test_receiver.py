"""The receiver of callbacks: whose signature it believes."""

from __future__ import annotations

from roomtape.cli.receiver import is_signed

# Published with the page Event Callbacks > Verify Signature (docs/vectors.md, S3).
BODY = (
    b'{\n\t"EventGroupId":\t2,\n\t"EventType":\t204,\n\t"CallbackTs":\t1664209748188,\n\t"EventInfo":\t{\n'
    b'\t\t"RoomId":\t8489,\n\t\t"EventTs":\t1664209748,\n\t\t"EventMsTs":\t1664209748180,\n'
    b'\t\t"UserId":\t"user_85034614",\n\t\t"Reason":\t0\n\t}\n}'
)
SIGN = "kkoFeO3Oh2ZHnjtg8tEAQhtXK16/KI05W3BQff8IvGA="


def test_the_published_signature_is_believed_and_no_other() -> None:
    assert is_signed(BODY, SIGN, "123654")
    assert not is_signed(BODY, SIGN, "123655")
    assert not is_signed(BODY + b" ", SIGN, "123654")
    assert not is_signed(BODY, "", "123654")
