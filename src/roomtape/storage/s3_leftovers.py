"""Parts of a multipart upload that a dead server left in a bucket: found by their key, and aborted.

A store keeps (and charges for) the parts of an upload that was neither completed nor aborted; nothing but
a list of the bucket tells of them. Before a large object is sent, those of the same key are taken away:
the key holds the task's id, so that nobody else's upload is meant.

Source: Amazon S3 API Reference > ListMultipartUploads, AbortMultipartUpload, "Authenticating Requests:
Using the Authorization Header (AWS Signature Version 4)"; read 2026-11.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Protocol
from urllib.parse import quote, urlsplit
from xml.etree import ElementTree

from roomtape.secret import Secret

UNSIGNED_BODY = hashlib.sha256(b"").hexdigest()
MOST = 100  # uploads looked at; one death leaves one


class Asks(Protocol):
    """Makes one request without a body by the rules of the way out; returns status and body."""

    async def ask(
        self, method: str, url: str, headers: Mapping[str, str], ca_pem: bytes = b""
    ) -> tuple[int, bytes]:
        """Raises OSError."""
        ...


async def abort_unfinished(
    way: Asks,
    bucket_url: str,
    key: str,
    *,
    region: str,
    access_key: Secret,
    secret_key: Secret,
    now_s: float,
    ca_pem: bytes = b"",
) -> int:
    """Abort what lies unfinished under exactly that key; returns how many uploads.

    `bucket_url` is the bucket's own, with its name in host or path. Raises OSError when the store cannot be
    reached, PermissionError when it does not say what there is.
    """

    async def ask(method: str, path: str, query: Sequence[tuple[str, str]]) -> tuple[int, bytes]:
        url, headers = signed(method, bucket_url, path, query, region, access_key, secret_key, now_s)
        return await way.ask(method, url, headers, ca_pem)

    listing = [("max-uploads", str(MOST)), ("prefix", key), ("uploads", "")]
    status, body = await ask("GET", "", listing)
    if status != 200:
        raise PermissionError(f"the list of uploads is answered with {status}")
    aborted = 0
    for upload_id in unfinished_of(body, key):
        status, _ = await ask("DELETE", key, [("uploadId", upload_id)])
        aborted += status in (200, 204)
    return aborted


def unfinished_of(document: bytes, key: str) -> list[str]:
    """The upload ids of `key` in a ListMultipartUploads answer; none in what is no such document."""
    if b"<!" in document:  # no entities, no declarations
        return []
    try:
        root = ElementTree.fromstring(document)
    except ElementTree.ParseError:
        return []
    found = []
    for upload in root:
        if upload.tag.rpartition("}")[2] != "Upload":
            continue
        members = {member.tag.rpartition("}")[2]: member.text or "" for member in upload}
        if members.get("Key") == key and members.get("UploadId"):
            found.append(members["UploadId"])
    return found


def signed(
    method: str, bucket_url: str, key: str, query: Sequence[tuple[str, str]], region: str, access_key: Secret,
    secret_key: Secret, now_s: float,
) -> tuple[str, dict[str, str]]:  # fmt: skip
    """URL and headers of a request without a body, signed by AWS Signature Version 4."""
    parts = urlsplit(bucket_url)
    path = f"{parts.path.rstrip('/')}/{quote(key, safe='/-_.~')}"
    pairs = ((quote(name, safe="-_.~"), quote(value, safe="-_.~")) for name, value in sorted(query))
    asked = "&".join(f"{name}={value}" for name, value in pairs)
    at = datetime.fromtimestamp(now_s, UTC).strftime("%Y%m%dT%H%M%SZ")
    headers = {"host": parts.netloc, "x-amz-content-sha256": UNSIGNED_BODY, "x-amz-date": at}
    names = ";".join(headers)
    lines = "".join(f"{name}:{value}\n" for name, value in headers.items())
    request = f"{method}\n{path}\n{asked}\n{lines}\n{names}\n{UNSIGNED_BODY}"
    scope = f"{at[:8]}/{region}/s3/aws4_request"
    text = f"AWS4-HMAC-SHA256\n{at}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
    secret = f"AWS4{secret_key.reveal()}".encode()
    for word in (at[:8], region, "s3", "aws4_request"):
        secret = hmac.digest(secret, word.encode(), "sha256")
    signature = hmac.new(secret, text.encode(), hashlib.sha256).hexdigest()
    credential = f"{access_key.reveal()}/{scope}"
    authorization = f"AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={names}, Signature={signature}"
    return f"{parts.scheme}://{parts.netloc}{path}?{asked}", {**headers, "authorization": authorization}
