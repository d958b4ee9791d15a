"""Talking to a server: signed API calls as any client makes them, and the admin interface."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from roomtape.cli import place
from roomtape.cli.say import Failure
from roomtape.supervisor import http_url_of

API_VERSION = "2019-07-22"
REGION = "ap-singapore"
TIMEOUT_S = 20.0


class ApiError(Failure):
    """The API answered with an error; `code` is the published one."""

    def __init__(self, action: str, code: str, message: str, request_id: str) -> None:
        super().__init__(f"{action}: {code}: {message} (RequestId {request_id})")
        self.code = code


@dataclass(frozen=True, slots=True)
class Api:
    """Signed calls of API 3.0 (TC3-HMAC-SHA256, POST, JSON)."""

    url: str
    secret_id: str
    secret_key: str
    ca: Path | None = None

    @classmethod
    def of(cls, data_dir: Path, secret_id: str | None = None, secret_key: str | None = None) -> Api:
        """The API of the server of that data directory."""
        key = place.api_keys(data_dir, secret_id, secret_key)
        return cls(http_url_of(place.report(data_dir)), *key, ca=place.ca_file(data_dir))

    def call(self, action: str, **members: object) -> dict[str, Any]:
        """One action. Returns what is inside `Response`, without the RequestId.

        Raises:
            ApiError: the answer is an error.
            Failure: no answer.
        """
        body = json.dumps(members, ensure_ascii=False).encode()
        headers = tc3_headers(
            self.secret_id, self.secret_key, urlsplit(self.url).netloc, action, body, int(time.time())
        )
        status, answer = request("POST", self.url, "/", headers, body, self.ca)
        try:
            response: dict[str, Any] = json.loads(answer)["Response"]
        except (ValueError, KeyError, TypeError):
            raise Failure(f"{self.url}: HTTP {status}, not an answer of the API; is this its URL?") from None
        request_id = str(response.pop("RequestId", ""))
        if error := response.get("Error"):
            raise ApiError(action, error["Code"], error["Message"], request_id)
        return response


def tc3_headers(
    secret_id: str, secret_key: str, host: str, action: str, body: bytes, timestamp: int
) -> dict[str, str]:
    """The headers of a signed POST with a JSON body.

    Source: API docs > Signature v3, read 2026-11.
    """
    date = datetime.fromtimestamp(timestamp, UTC).strftime("%Y-%m-%d")
    scope = f"{date}/trtc/tc3_request"
    canonical = "\n".join(
        ("POST", "/", "", f"content-type:application/json\nhost:{host}\n", "content-type;host", _sha256(body))
    )
    to_sign = "\n".join(("TC3-HMAC-SHA256", str(timestamp), scope, _sha256(canonical.encode())))
    key = ("TC3" + secret_key).encode()
    for part in (date, "trtc", "tc3_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.digest(key, to_sign.encode(), "sha256").hex()
    return {
        "Host": host,
        "Content-Type": "application/json",
        "Authorization": (
            f"TC3-HMAC-SHA256 Credential={secret_id}/{scope}, SignedHeaders=content-type;host, "
            f"Signature={signature}"
        ),
        "X-TC-Action": action,
        "X-TC-Version": API_VERSION,
        "X-TC-Region": REGION,
        "X-TC-Timestamp": str(timestamp),
    }


@dataclass(frozen=True, slots=True)
class Admin:
    """The admin interface (`/admin/api`), open to who can read the data directory."""

    data_dir: Path

    def get(self, path: str, **query: object) -> Any:
        given = [f"{name}={quote(str(value))}" for name, value in query.items() if value is not None]
        return self._ask("GET", f"{path}?{'&'.join(given)}" if given else path, None)

    def post(self, path: str, **members: object) -> Any:
        return self._ask("POST", path, members)

    def patch(self, path: str, **members: object) -> Any:
        return self._ask("PATCH", path, members)

    def _ask(self, method: str, path: str, members: Mapping[str, object] | None) -> Any:
        url = place.admin_url(self.data_dir)
        headers = {"Authorization": f"Bearer {place.admin_token(self.data_dir)}"}
        body = None if members is None else json.dumps(members).encode()
        ca = place.ca_file(self.data_dir)
        status, answer = request(method, url, f"/admin/api{path}", headers, body, ca)
        try:
            content = json.loads(answer)
        except ValueError:
            raise Failure(f"{url}/admin/api{path}: HTTP {status}, not the admin interface") from None
        if status >= 400:
            raise Failure(content.get("error", f"HTTP {status}"))
        return content


def request(
    method: str, url: str, path: str, headers: Mapping[str, str], body: bytes | None, ca: Path | None = None
) -> tuple[int, bytes]:
    """One HTTP exchange. Raises Failure when there is none."""
    parts = urlsplit(url)
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        context = ssl.create_default_context(cafile=ca)
        connection = http.client.HTTPSConnection(parts.netloc, timeout=TIMEOUT_S, context=context)
    else:
        connection = http.client.HTTPConnection(parts.netloc, timeout=TIMEOUT_S)
    try:
        connection.request(method, path, body, dict(headers))
        answer = connection.getresponse()
        return answer.status, answer.read()
    except (OSError, http.client.HTTPException) as error:
        raise Failure(f"{url}: {error}; does the server run?") from None
    finally:
        connection.close()


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
