"""What makes two signed requests the same request.

The signature alone is not enough: it covers neither the action's header nor, when the payload is not
signed, the body.
"""

from __future__ import annotations

import hashlib

from roomtape.api.call import Call


def replay_key(call: Call) -> str:
    """Hex sha256 over all that identifies a request; each part is preceded by its length."""
    digest = hashlib.sha256()
    for part in (
        call.secret_id.encode(),
        call.signature.encode("utf-8", "surrogateescape"),
        call.action_name.encode(),
        call.version.encode(),
        call.region.encode("utf-8", "surrogateescape"),
        call.query if call.method == "GET" else call.body,
    ):
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.hexdigest()
