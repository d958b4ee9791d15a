"""The S3 dialect: AWS, COS and every store that speaks it, reached through the egress proxy only.

An object counts as stored when its MD5 is known to be the file's: from the ETag of one PUT, from the
ETag of a multipart upload (the MD5 of the parts' MD5s), and where a store's ETag is something else
(encryption by KMS, foreign stores), by reading the object back.

Source: Amazon S3 API Reference > PutObject, CompleteMultipartUpload, "Checking object integrity"; COS >
"Access domain names" (path style ended for buckets made since 2024); read 2026-11.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import os
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol, TypeVar
from urllib.parse import urlsplit
from xml.etree import ElementTree

import obstore
import structlog
from obstore.exceptions import BaseError
from obstore.store import S3Store

from roomtape.secret import Secret
from roomtape.storage.s3_leftovers import Asks, abort_unfinished
from roomtape.storage.stores import CHUNK_BYTES, ObjectStore, Proof, StoreError

log = structlog.get_logger(__name__)

COS, AWS = 0, 1  # `Vendor`
REFUSED_BY_EGRESS = "egress:"  # how the proxy begins an answer that is its own, not the store's

T = TypeVar("T")

_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")
_LABEL = re.compile(r"[A-Za-z0-9-]{1,63}")
_KEY_ID = re.compile(r"[!-~]{1,256}")
_STATUS = re.compile(r"Server returned non-2xx status code: (?P<status>\d{3})[^:\n]*:?(?P<body>.*)")
_ERROR = re.compile(r"<Error[\s>].*</Error>", re.DOTALL)
_CODE = re.compile(r"[A-Za-z0-9._-]{1,64}")
_DEBUG = "\n\nDebug source:"  # the client says everything twice
_NO_ETAG = "ETag Header missing"
_NOT_S3 = ("non-partial response", "Got invalid", "Unable to extract metadata")  # a web page, with 200
_MESSAGE_LIMIT = 256
_TOLD_AT_ONCE = frozenset({401, 403, 404})
_NO_CHECKSUMS = frozenset({400, 405, 411, 501})  # how stores answer to a checksum header they do not know
_CODES = {
    301: "PermanentRedirect",
    302: "TemporaryRedirect",
    307: "TemporaryRedirect",
    308: "PermanentRedirect",
    400: "InvalidRequest",
    401: "AccessDenied",
    403: "AccessDenied",
    404: "NoSuchBucket",
    429: "SlowDown",
    500: "InternalError",
    502: "BadGateway",
    503: "ServiceUnavailable",
    504: "GatewayTimeout",
}


@dataclass(frozen=True, slots=True)
class S3Place:
    """A bucket of a tenant, as the request named it."""

    vendor: int
    region: str
    bucket: str
    access_key: Secret
    secret_key: Secret
    endpoint_url: str | None = None


@dataclass(frozen=True, slots=True)
class S3Rules:
    """What the operator decides about all of them.

    `endpoints`: by `<vendor>.<region>`. `checksums`: by endpoint host, the algorithm whose header is sent
    along (`sha256`, `crc64nvme`); hosts that are not named get none, which every store takes.
    """

    endpoints: Mapping[str, str] = field(default_factory=dict)
    checksums: Mapping[str, str] = field(default_factory=dict)
    ca_pem: bytes = b""  # trusted besides the machine's own
    one_put_bytes: int = 64 << 20  # above it: multipart
    part_bytes: int = 16 << 20
    read_back_bytes: int = 8 << 20
    request_s: float = 1200.0  # the proxy ends what stands still much earlier


class Egress(Asks, Protocol):
    """The way out."""

    @property
    def url(self) -> Secret: ...

    def trouble(self, host: str, port: int) -> tuple[bool, str] | None:
        """Why the last connection to that place could not be made; True when it is not allowed at all."""
        ...


class S3Stores:
    """Opens buckets. One for the whole server."""

    def __init__(self, egress: Egress, rules: S3Rules | None = None) -> None:
        self._egress = egress
        self._rules = rules or S3Rules()
        self._large = asyncio.Semaphore(2)  # objects whose parts lie in memory
        self._without_checksums: set[str] = set()
        # The client would take an endpoint, a session token or a role from there for every tenant.
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            del os.environ[name]

    def open(self, place: S3Place) -> ObjectStore:
        """The bucket; nothing is sent yet. Raises StoreError when it cannot be meant."""
        endpoint, virtual = endpoint_of(place, self._rules.endpoints)
        return _Bucket(self, place, endpoint, virtual)

    # --- for its buckets --------------------------------------------------------------------------

    @property
    def rules(self) -> S3Rules:
        return self._rules

    @property
    def large(self) -> asyncio.Semaphore:
        return self._large

    def checksum(self, host: str) -> str | None:
        """The checksum header that this endpoint gets."""
        return None if host in self._without_checksums else self._rules.checksums.get(host)

    def refuses_checksums(self, host: str) -> None:
        """Send this endpoint no checksum header any more."""
        log.warning("checksum_header_refused", endpoint=host)
        self._without_checksums.add(host)

    def client(
        self, place: S3Place, endpoint: str, virtual: bool, *, retries: int = 0, pooled: bool = True,
        checksum: str | None = None,
    ) -> S3Store:  # fmt: skip
        """A client of one bucket behind the proxy."""
        options: Any = {
            "proxy_url": self._egress.url.reveal(),
            "allow_http": endpoint.startswith("http://"),
            "connect_timeout": "15s",
            "timeout": f"{self._rules.request_s:g}s",
            "user_agent": "roomtape",
        }
        if self._rules.ca_pem:
            options["root_certificate"] = self._rules.ca_pem
        if not pooled:
            options["pool_max_idle_per_host"] = "0"
        config: dict[str, Any] = {"checksum_algorithm": checksum} if checksum else {}
        return S3Store(
            place.bucket,
            endpoint=endpoint,
            region=place.region,
            access_key_id=place.access_key.reveal(),
            secret_access_key=place.secret_key.reveal(),
            virtual_hosted_style_request=virtual,
            disable_bulk_delete=True,  # DELETE of one object is what every store knows
            client_options=options,
            retry_config={"max_retries": retries, "retry_timeout": timedelta(seconds=60)},
            **config,
        )

    def trouble(self, host: str, port: int) -> tuple[bool, str] | None:
        return self._egress.trouble(host, port)

    async def abort_unfinished(self, place: S3Place, endpoint: str, virtual: bool, key: str) -> None:
        """Take away the parts that a dead server left under that key; a store may refuse to tell of them."""
        bucket_url = endpoint if virtual else f"{endpoint}/{place.bucket}"
        try:
            aborted = await abort_unfinished(
                self._egress, bucket_url, key, region=place.region, access_key=place.access_key,
                secret_key=place.secret_key, now_s=time.time(), ca_pem=self._rules.ca_pem,
            )  # fmt: skip
        except OSError as error:
            log.info("unfinished_uploads_unknown", bucket=place.bucket, reason=type(error).__name__)
            return
        if aborted:
            log.warning("unfinished_uploads_aborted", bucket=place.bucket, count=aborted)


class _Bucket:
    """ObjectStore of one tenant's bucket."""

    def __init__(self, stores: S3Stores, place: S3Place, endpoint: str, virtual: bool) -> None:
        parts = urlsplit(endpoint)
        self._stores = stores
        self._place = place
        self._host = parts.hostname or ""
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self._endpoint = endpoint
        self._virtual = virtual
        self._clients: dict[str, S3Store] = {}

    async def put(self, key: str, path: Path, *, size: int, md5: str, content_type: str) -> Proof:
        """Store a file and prove it; the file must still be the one that was announced."""
        try:
            return await self._put(key, path, size, md5, content_type)
        except FileNotFoundError:
            raise _missing() from None
        except _NoEtag:
            raise StoreError("RequestFailed", "The store gives no ETag.") from None

    async def _put(self, key: str, path: Path, size: int, md5: str, content_type: str) -> Proof:
        checksum = self._stores.checksum(self._host)
        try:
            etag, expected = await self._send(key, path, size, md5, content_type, checksum)
        except _RequestFailed as error:
            if checksum is None or error.status not in _NO_CHECKSUMS:
                raise
            etag, expected = await self._send(key, path, size, md5, content_type, None)
            self._stores.refuses_checksums(self._host)
        etag = (etag or "").strip('"').lower()
        if etag == expected:
            return Proof(size, md5, "parts" if "-" in etag else "etag")
        return await self._read_back(key, size, md5)

    async def _send(
        self, key: str, path: Path, size: int, md5: str, content_type: str, checksum: str | None
    ) -> tuple[str | None, str]:
        """Send the file; returns the store's ETag and the one that MD5 would give."""
        rules = self._stores.rules
        attributes = {"Content-Type": content_type}
        if size <= rules.one_put_bytes:
            async with _Turn(self._stores.large, size > rules.part_bytes):
                content, expected = await asyncio.to_thread(_read, path, rules.one_put_bytes)
                if expected != md5:
                    raise _changed()
                client = await self._client("put", checksum=checksum)
                request = functools.partial(
                    obstore.put_async, client, key, content, attributes=attributes, use_multipart=False
                )
                try:
                    return (await self._ask(key, request))["e_tag"], expected
                except _NoEtag:
                    return None, expected
        part_bytes = max(rules.part_bytes, -(-size // 10_000))
        async with self._stores.large:
            expected = await asyncio.to_thread(_md5_of_parts, path, part_bytes, md5)
            await self._stores.abort_unfinished(self._place, self._endpoint, self._virtual, key)
            client = await self._client("parts", retries=3, checksum=checksum)
            sent = await self._ask(
                key,
                lambda: obstore.put_async(
                    client,
                    key,
                    path,
                    attributes=attributes,
                    use_multipart=True,
                    chunk_size=part_bytes,
                    max_concurrency=2,
                ),
            )
            return sent["e_tag"], expected

    async def _read_back(self, key: str, size: int, md5: str) -> Proof:
        """Compare what is there with what was sent, a range at a time."""
        step = self._stores.rules.read_back_bytes
        client = await self._client("read", retries=3, pooled=False)
        seen = hashlib.md5(usedforsecurity=False)
        at = 0
        while at < size:
            end = min(at + step, size)
            ranged = functools.partial(obstore.get_async, client, key, options={"range": (at, end)})
            got = await self._ask(key, ranged)
            if got.meta["size"] != size:
                raise _other_bytes()
            content = await self._ask(key, got.bytes_async)
            if len(content) != end - at:
                raise _other_bytes()
            await asyncio.to_thread(seen.update, content)
            at = end
        if size == 0 and (await self._ask(key, lambda: obstore.head_async(client, key)))["size"]:
            raise _other_bytes()
        if seen.hexdigest() != md5:
            raise _other_bytes()
        return Proof(size, md5, "read-back")

    async def exists(self, key: str) -> bool:
        client = await self._client("put")
        try:
            await self._ask(key, lambda: obstore.head_async(client, key))
        except _RequestFailed as error:
            if error.status == 404:
                return False
            raise
        return True

    async def delete(self, key: str) -> None:
        client = await self._client("put")
        try:
            await self._ask(key, lambda: obstore.delete_async(client, key))
        except _RequestFailed as error:
            if error.status != 404:
                raise

    async def _client(
        self, use: str, *, retries: int = 0, pooled: bool = True, checksum: str | None = None
    ) -> S3Store:
        """The client for one use of the bucket; made in a thread: it reads the machine's certificates."""
        name = f"{use} {checksum}"
        if name not in self._clients:
            try:
                self._clients[name] = await asyncio.to_thread(
                    self._stores.client,
                    self._place,
                    self._endpoint,
                    self._virtual,
                    retries=retries,
                    pooled=pooled,
                    checksum=checksum,
                )
            except BaseError as error:
                log.warning("store_unusable", reason=type(error).__name__)
                raise StoreError(
                    "InvalidRequest", "The store's parameters are not usable.", tell_at_once=True
                ) from None
        return self._clients[name]

    async def _ask(self, key: str, request: Callable[[], Any]) -> Any:
        """Make one request; whatever goes wrong becomes a StoreError without key, address or secret."""
        try:
            return await request()
        except (BaseError, FileNotFoundError, OSError, ValueError) as error:
            whole = str(error)
            text = whole.split(_DEBUG, 1)[0]
            status, body = _status_and_body(text)
            if _NO_ETAG in text:
                raise _NoEtag from None
            if status is None or body.strip().startswith(REFUSED_BY_EGRESS):
                raise self._unanswered(key, text, whole) from None
            raise self._answered(key, status, body) from None

    def _unanswered(self, key: str, text: str, whole: str) -> StoreError:
        code, message = _said(text)  # "200 OK", and then an error document: the end of a multipart upload
        if code is not None:
            return StoreError(code, self._clean(message or "The store failed.", key))
        trouble = self._stores.trouble(self._host, self._port)
        if trouble is None:
            return StoreError("RequestFailed", _broken(whole))
        refused, why = trouble
        name = "EndpointNotAllowed" if refused else "EndpointUnreachable"
        return StoreError(name, f"The endpoint cannot be used: {why}.", tell_at_once=refused)

    def _answered(self, key: str, status: int, body: str) -> _RequestFailed:
        code, message = _said(body)
        code = code or _CODES.get(status, "RequestFailed")
        message = self._clean(message or f"The store answered with status {status}.", key)
        return _RequestFailed(status, code, message)

    def _clean(self, message: str, key: str) -> str:
        """A store's words, without what is ours or secret in them."""
        for hidden in (self._place.secret_key.reveal(), self._place.access_key.reveal(), key):
            if hidden:
                message = message.replace(hidden, "...")
        message = "".join(c if c.isprintable() else " " for c in message)
        return message[:_MESSAGE_LIMIT]


class _NoEtag(Exception):
    """The store took the object and gave no ETag."""


class _RequestFailed(StoreError):
    """The store answered with an error."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(code, message, tell_at_once=status in _TOLD_AT_ONCE)
        self.status = status


class _Turn:
    """`async with` a semaphore, if it is needed."""

    def __init__(self, semaphore: asyncio.Semaphore, needed: bool) -> None:
        self._semaphore = semaphore if needed else None

    async def __aenter__(self) -> None:
        if self._semaphore is not None:
            await self._semaphore.acquire()

    async def __aexit__(self, *_: object) -> None:
        if self._semaphore is not None:
            self._semaphore.release()


# --- where a bucket is -----------------------------------------------------------------------------


def endpoint_of(place: S3Place, endpoints: Mapping[str, str]) -> tuple[str, bool]:
    """The endpoint's URL, and whether it names the bucket (virtual-hosted style).

    The request's own, else the one configured for vendor and region, else the vendor's public one.
    Raises StoreError when names or keys are not of a form that a store can have.
    """
    if not _BUCKET.fullmatch(place.bucket) or ".." in place.bucket:
        raise StoreError("InvalidBucketName", "The bucket's name is not valid.", tell_at_once=True)
    if not _LABEL.fullmatch(place.region):
        raise StoreError("InvalidRegion", "The region's name is not valid.", tell_at_once=True)
    if not _KEY_ID.fullmatch(place.access_key.reveal()) or not place.secret_key:
        raise StoreError("InvalidAccessKeyId", "The access key is not valid.", tell_at_once=True)
    if place.vendor == AWS and place.endpoint_url:
        return _endpoint(place.endpoint_url), False
    configured = endpoints.get(f"{place.vendor}.{place.region}")
    if configured:
        return _endpoint(configured), False
    if place.vendor == AWS:
        tail = "amazonaws.com.cn" if place.region.startswith("cn-") else "amazonaws.com"
        return f"https://s3.{place.region}.{tail}", False
    if not all(_LABEL.fullmatch(label) for label in place.bucket.split(".")):
        raise StoreError("InvalidBucketName", "The bucket's name is not valid.", tell_at_once=True)
    return f"https://{place.bucket}.cos.{place.region}.myqcloud.com", True


def _endpoint(text: str) -> str:
    """A URL of scheme, host, port and perhaps a path; https when no scheme is given."""
    url = (text if "://" in text else f"https://{text}").rstrip("/")
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    odd = any(c <= " " or c == "\x7f" for c in url) or "@" in url or "?" in url or "#" in url
    if not host or odd or parts.scheme not in ("http", "https"):
        raise StoreError("InvalidEndpoint", "The endpoint is not a valid URL.", tell_at_once=True)
    return url


# --- what went wrong -------------------------------------------------------------------------------


def _status_and_body(text: str) -> tuple[int | None, str]:
    """Status and body in what the client says of a failed request (its text is all there is)."""
    match = _STATUS.search(text.replace("\n", " "))
    return (None, "") if match is None else (int(match["status"]), match["body"])


def _said(body: str) -> tuple[str | None, str | None]:
    """Code and message of an S3 error document; None for anything else."""
    found = _ERROR.search(body)
    if found is None or "<!" in found.group():  # no entities, no declarations
        return None, None
    try:
        document = ElementTree.fromstring(found.group())
    except ElementTree.ParseError:
        return None, None
    code = next((e.text for e in document if e.tag.rpartition("}")[2] == "Code"), None) or ""
    message = next((e.text for e in document if e.tag.rpartition("}")[2] == "Message"), None) or ""
    return (code if _CODE.fullmatch(code) else None), message.strip() or None


def _broken(text: str) -> str:
    if "timed out" in text or "TimedOut" in text:
        return "The store did not answer in time."
    if "InvalidCertificate" in text:
        return "The store's certificate is not valid."
    if any(words in text for words in _NOT_S3):
        return "The endpoint does not answer as an S3 store does."
    return "The connection to the store broke."


def _other_bytes() -> StoreError:
    return StoreError("BadDigest", "The object read back is not the one that was written.")


def _changed() -> StoreError:
    return StoreError("InternalError", "The file in the spool is not the one that was to be stored.")


def _missing() -> StoreError:
    return StoreError("NoSuchKey", "The file to upload is not in the spool.", tell_at_once=True)


# --- files -----------------------------------------------------------------------------------------


def _read(path: Path, most: int) -> tuple[bytes, str]:
    """A file's content, at most so much of it, and its MD5."""
    with path.open("rb") as file:
        content = file.read(most)
    return content, hashlib.md5(content, usedforsecurity=False).hexdigest()


def _md5_of_parts(path: Path, part_bytes: int, md5: str) -> str:
    """The ETag that a multipart upload of such parts has. Raises StoreError unless the whole has this MD5."""
    whole, parts = hashlib.md5(usedforsecurity=False), []
    with path.open("rb") as file:
        while first := file.read(min(CHUNK_BYTES, part_bytes)):
            part, left, chunk = hashlib.md5(usedforsecurity=False), part_bytes, first
            while chunk:
                part.update(chunk)
                whole.update(chunk)
                left -= len(chunk)
                chunk = file.read(min(CHUNK_BYTES, left))
            parts.append(part.digest())
    if whole.hexdigest() != md5:
        raise _changed()
    return f"{hashlib.md5(b''.join(parts), usedforsecurity=False).hexdigest()}-{len(parts)}"
