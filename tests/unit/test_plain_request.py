"""A plain request means what the HTTP parser behind it would have read: nobody can smuggle between them."""

from __future__ import annotations

from dataclasses import dataclass, field

import httptools
from hypothesis import example, given, settings
from hypothesis import strategies as st

from roomtape._core import header_texts, plain_request


@dataclass
class Parsed:
    """What the parser makes of some bytes."""

    url: bytes = b""
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""
    begun: int = 0
    complete: int = 0
    stays: bool = False

    def __post_init__(self) -> None:
        self.parser = httptools.HttpRequestParser(self)

    def on_message_begin(self) -> None:
        self.begun += 1

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.complete += 1
        self.stays = self.parser.should_keep_alive()


def request(target: str, lines: list[str], body: bytes) -> bytes:
    return "\r\n".join([f"POST {target} HTTP/1.1", *lines, "", ""]).encode("latin-1") + body


def compare(data: bytes) -> None:
    """Whatever is read whole is what the parser reads, all of it and nothing more."""
    read = plain_request(data)
    if read is None:
        return
    if len(read) == 2:
        whole = data + bytes(read[1] - len(data))  # whatever the rest of the body is
        assert len(plain_request(whole) or ()) == 4
        compare(whole)
        return
    target, headers, body, stays = read
    parsed = Parsed()
    parser = parsed.parser
    parser.feed_data(data)
    assert (parsed.begun, parsed.complete) == (1, 1)
    assert (parser.get_method(), parser.get_http_version()) == (b"POST", "1.1")
    assert (parsed.url, header_texts(parsed.headers), parsed.body) == (target.encode(), headers, body)
    assert parsed.stays == stays
    assert not {"expect", "transfer-encoding", "upgrade"} & headers.keys()
    if stays:
        parser.feed_data(request("/", ["Content-Length: 0"], b""))  # the parser, too, is at a request's end
        assert parsed.complete == 2


NAMES = st.sampled_from(
    [
        *(
            "Host",
            "X-TC-Action",
            "Authorization",
            "Content-Length",
            "content-length",
            "CONNECTION",
            "Connection",
        ),
        *(
            "Transfer-Encoding",
            "Upgrade",
            "Expect",
            "Proxy-Connection",
            "Keep-Alive",
            "A!#$%&'*+-.^_`|~z",
            "",
            "A B",
        ),
    ]
)
VALUES = st.one_of(
    st.sampled_from(
        [
            *(
                "",
                "0",
                "5",
                "05",
                "5 ",
                " 5",
                "\t5",
                "+5",
                "5, 5",
                "close",
                "Keep-Alive",
                "close, keep-alive",
            ),
            *(
                "upgrade",
                "chunked",
                "100-continue",
                "websocket",
                "h:80",
                "a\tb",
                "a\x00",
                "ä",
                "a\r\n b",
                "a\nb",
                "\x7f",
            ),
        ]
    ),
    st.text(st.characters(max_codepoint=255), max_size=8),
)
LINES = st.lists(
    st.builds("{}{}{}".format, NAMES, st.sampled_from([":", ": ", ":\t ", " :"]), VALUES), max_size=6
)
BODIES = st.sampled_from([b"", b"hello", b"hello\r\n", b"POST / HTTP/1.1\r\n\r\n", b"\x00\xff\r\n\r\n"])


@settings(deadline=None, max_examples=400)
@given(
    st.sampled_from(["/", "/v1", "/a/b.c~", "/%2f", "/?a", "*", "//", "http://h/", "/\xff"]),
    LINES,
    BODIES,
    st.booleans(),
)
@example("/", ["Content-Length: 5", "Connection: close"], b"hello", False)
@example("/", ["X-TC-Token:", "Content-Length: 5"], b"hello", False)
def test_what_is_read_whole_is_what_the_parser_reads(
    target: str, lines: list[str], body: bytes, told: bool
) -> None:
    compare(request(target, [*lines, *([f"Content-Length: {len(body)}"] if told else [])], body))


PLAIN = request("/v1", ["Host: h:80", "X-TC-Token:", "Connection: keep-alive", "Content-Length: 5"], b"hello")


@settings(deadline=None, max_examples=400)
@given(
    st.lists(
        st.tuples(st.integers(0, len(PLAIN)), st.integers(0, 2), st.binary(max_size=2)),
        min_size=1,
        max_size=3,
    )
)
def test_no_few_bytes_that_are_changed_make_them_disagree(changes: list[tuple[int, int, bytes]]) -> None:
    data = PLAIN
    for at, cut, put in changes:
        data = data[:at] + put + data[at + cut :]
    compare(data)


def test_a_plain_request_is_read() -> None:
    headers = {"host": "h:80", "x-tc-token": "", "connection": "keep-alive", "content-length": "5"}
    assert plain_request(PLAIN) == ("/v1", headers, b"hello", True)
    assert plain_request(PLAIN[:-1]) == plain_request(PLAIN[:-5]) == ("/v1", len(PLAIN))
    assert plain_request(PLAIN[:-6]) is None
    assert plain_request(PLAIN + PLAIN) is None
    compare(PLAIN)


def test_of_a_repeated_header_the_first_counts() -> None:
    read = plain_request(request("/", ["A: 1", "a: 2", "Content-Length: 0"], b""))
    assert read is not None
    assert len(read) == 4
    assert read[1]["a"] == "1"
