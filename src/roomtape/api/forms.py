"""Requests that are not JSON: queries, forms and multipart bodies."""

from __future__ import annotations

import functools
from typing import Any
from urllib.parse import parse_qsl

import msgspec
from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header

from roomtape.api.decode import Leaf
from roomtape.api.errors import ApiError
from roomtape.api.messages import Text

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data"

# All far above what any action takes: so that a request made to be costly costs next to nothing.
MAX_PAIRS = 10_000  # of a query or form, whose parameters are read before it is known who calls
MAX_ESCAPES = 65_536  # of a query or form: bytes written as %XX
MAX_PARTS = 1_000  # of a multipart body, a parameter each
MAX_PART = 1024 * 1024  # bytes of one, as many as a whole form may have
MAX_BRACKETS = 50_000  # objects and lists of a JSON text
MAX_COMMAS = 150_000  # of a JSON text
_SHORT = 64 * 1024  # of a JSON text, which needs no counting

_MAX_TYPE = 200  # characters, far more than any media type has

# Parameters of the request itself. They travel among an action's own in a query or form.
COMMON_NAMES = frozenset(
    {
        *("Action", "Version", "Region", "Timestamp", "Nonce", "SecretId", "Signature", "SignatureMethod"),
        *("Token", "Language", "RequestClient"),
    }
)


def media_type(content_type: str) -> str:
    """The media type alone: no parameters, lower case."""
    return _media_type(content_type[:_MAX_TYPE])


@functools.lru_cache(maxsize=256)
def _media_type(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


def parse_form(raw: bytes) -> list[tuple[str, str]]:
    """The decoded pairs of a query or form, empty values kept. Raises ApiError: no UTF-8, or too many."""
    if raw.count(b"&") >= MAX_PAIRS or raw.count(b"%") > MAX_ESCAPES:
        raise _too_many()
    try:
        return parse_qsl(raw.decode(), keep_blank_values=True, errors="strict")
    except (UnicodeDecodeError, ValueError):
        raise not_utf8() from None


def not_utf8() -> ApiError:
    return ApiError("InvalidParameter", Text("The parameters must be UTF-8.", "参数必须是 UTF-8 编码。"))


TOO_MANY = Text("The request has too many values.", "请求中的值过多。")


class TooManyValues(Exception):
    """A JSON text has more values than any request."""


def _too_many() -> ApiError:
    return ApiError("InvalidParameter", TOO_MANY)


def parse_json(text: bytes | bytearray) -> Any:
    """A JSON text as it is, of any shape.

    Raises:
        TooManyValues
        msgspec.DecodeError, UnicodeDecodeError, RecursionError: it cannot be read.
    """
    if len(text) > _SHORT and (
        text.count(b"[") + text.count(b"{") > MAX_BRACKETS or text.count(b",") > MAX_COMMAS
    ):
        raise TooManyValues
    return msgspec.json.decode(text)


def parse_multipart(content_type: str, body: bytes) -> dict[str, Any]:
    """One parameter per part: JSON where the part says so, else text typed by the action's shape.

    Raises ApiError: InvalidRequest for broken framing, InvalidParameter for too many or too large parts.
    """
    boundary = parse_options_header(content_type)[1].get(b"boundary")
    if not boundary:
        raise _broken()
    reader = _Parts()
    try:
        parser = MultipartParser(boundary, reader.callbacks())
        parser.write(body)
        parser.finalize()
    except MultipartParseError:
        raise _broken() from None
    if not reader.ended:
        raise _broken()
    return reader.parameters


class _Parts:
    """Collects the parts of one body."""

    def __init__(self) -> None:
        self.parameters: dict[str, Any] = {}
        self.ended = False
        self._parts = 0
        self._headers: dict[bytes, bytes] = {}
        self._name = b""
        self._value = b""
        self._data = bytearray()

    def callbacks(self) -> Any:
        return {
            "on_part_begin": self._part_begin,
            "on_header_field": self._header_field,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_part_data": self._part_data,
            "on_part_end": self._part_end,
            "on_end": self._end,
        }

    def _part_begin(self) -> None:
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise _too_many()
        self._headers, self._data = {}, bytearray()
        self._name = self._value = b""

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        self._headers[self._name.lower()] = self._value
        self._name = self._value = b""

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        if len(self._data) + end - start > MAX_PART:
            raise ApiError("InvalidParameter", Text("A parameter is above 1 MB.", "单个参数超过 1 MB。"))
        self._data += data[start:end]

    def _part_end(self) -> None:
        name = parse_options_header(self._headers.get(b"content-disposition", b""))[1].get(b"name")
        if not name:
            raise _broken()
        try:
            if media_type(self._headers.get(b"content-type", b"").decode("latin-1")) == JSON:
                self.parameters[name.decode()] = parse_json(self._data)
            else:
                self.parameters[name.decode()] = Leaf(self._data.decode())
        except UnicodeDecodeError:
            raise not_utf8() from None
        except TooManyValues:
            raise _too_many() from None
        except (msgspec.DecodeError, RecursionError):
            raise _broken() from None

    def _end(self) -> None:
        self.ended = True


def _broken() -> ApiError:
    return ApiError("InvalidRequest", Text("The multipart body is broken.", "multipart 请求体格式错误。"))
