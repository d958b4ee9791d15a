//! A request as nearly every client of the API sends it: a small POST, all of it or its head first, nothing after it.
//!
//! What is read here means the same to the server's HTTP parser; whatever could mean anything else to anybody is left
//! to that parser. So this refuses nothing, and a request must be plain to be read: one way to end a line, no header
//! that changes how the rest is read, a length and just as many bytes of body. A property test compares the two.
//! Source: RFC 9112 sections 2 to 6 and 9.3; RFC 9110 section 5.6.2.

#![forbid(unsafe_code)]

/// More than a request of the API has: of one with more the parser decides.
const MAX_HEADERS: usize = 64;
pub const MAX_NAME: usize = 64;
const MAX_LENGTH_DIGITS: usize = 5;

/// A header as it came: a name in any case, a value without the white space around it.
pub type Header<'a> = (&'a [u8], &'a [u8]);

pub struct Whole<'a> {
    /// A path without a query.
    pub target: &'a [u8],
    pub headers: Vec<Header<'a>>,
    pub body: &'a [u8],
    /// The connection stays open after the answer.
    pub keep_alive: bool,
}

/// What can be said of a plain request of which the head is there.
pub enum Plain<'a> {
    Whole(Whole<'a>),
    /// Some of the body is missing.
    Begun {
        target: &'a [u8],
        /// Of all of it, in bytes.
        length: usize,
    },
}

/// The plain request that `data` is, or begins with head and all.
pub fn plain(data: &[u8]) -> Option<Plain<'_>> {
    let rest = data.strip_prefix(b"POST ")?;
    let (target, mut rest) = split(rest, TARGET);
    if target.first() != Some(&b'/') {
        return None;
    }
    rest = rest.strip_prefix(b" HTTP/1.1\r\n")?;
    let (mut headers, mut length, mut connection) = (Vec::with_capacity(16), None, None);
    loop {
        if let Some(body) = rest.strip_prefix(b"\r\n") {
            let length = length?;
            return match body.len() {
                some if some < length => Some(Plain::Begun {
                    target,
                    length: data.len() - some + length,
                }),
                all if all == length => Some(Plain::Whole(Whole {
                    target,
                    headers,
                    body,
                    keep_alive: connection.unwrap_or(true),
                })),
                _ => None,
            };
        }
        let ((name, value), after) = header(rest)?;
        if headers.len() == MAX_HEADERS {
            return None;
        }
        match framing(name) {
            Framing::None => {}
            Framing::Length if length.is_none() => length = Some(number(value)?),
            Framing::Connection if connection.is_none() => connection = Some(stays(value)?),
            _ => return None,
        }
        headers.push((name, value));
        rest = after;
    }
}

/// The first header of `data`, and what follows its line.
fn header(data: &[u8]) -> Option<(Header<'_>, &[u8])> {
    let (name, rest) = split(data, TOKEN);
    if name.is_empty() || name.len() > MAX_NAME {
        return None;
    }
    let (_, rest) = split(rest.strip_prefix(b":")?, SPACE);
    let (value, rest) = split(rest, VALUE);
    if matches!(value, [.., b' ' | b'\t']) {
        return None;
    }
    Some(((name, value), rest.strip_prefix(b"\r\n")?))
}

/// What a header has to do with where a message ends and what comes after it.
enum Framing {
    None,
    Length,
    Connection,
    Other,
}

fn framing(name: &[u8]) -> Framing {
    let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
    match name.len() {
        6 if is(b"expect") => Framing::Other,
        7 if is(b"upgrade") => Framing::Other,
        10 if is(b"connection") => Framing::Connection,
        14 if is(b"content-length") => Framing::Length,
        16 if is(b"proxy-connection") => Framing::Other,
        17 if is(b"transfer-encoding") => Framing::Other,
        _ => Framing::None,
    }
}

fn number(digits: &[u8]) -> Option<usize> {
    if digits.is_empty() || digits.len() > MAX_LENGTH_DIGITS {
        return None;
    }
    digits.iter().try_fold(0, |sum, digit| {
        Some(sum * 10 + char::from(*digit).to_digit(10)? as usize)
    })
}

fn stays(value: &[u8]) -> Option<bool> {
    if value.eq_ignore_ascii_case(b"keep-alive") {
        Some(true)
    } else if value.eq_ignore_ascii_case(b"close") {
        Some(false)
    } else {
        None
    }
}

const TARGET: u8 = 1;
const TOKEN: u8 = 2;
const VALUE: u8 = 4;
const SPACE: u8 = 8;

/// What each byte may be part of: one look per byte, because every byte of a request is looked at.
static CLASSES: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut classes = [0; 256];
    let mut byte = 0;
    while byte < 128u8 {
        classes[byte as usize] = match byte {
            b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'-' | b'.' | b'_' | b'~' => {
                TARGET | TOKEN | VALUE
            }
            b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'^' | b'`' | b'|' => {
                TOKEN | VALUE
            }
            b'/' => TARGET | VALUE,
            b' ' | b'\t' => SPACE | VALUE,
            b'"'..=b'}' => VALUE,
            _ => 0,
        };
        byte += 1;
    }
    classes
}

/// `data` before and from the first byte that is not of `class`.
fn split(data: &[u8], class: u8) -> (&[u8], &[u8]) {
    let other = |byte: &u8| CLASSES[usize::from(*byte)] & class == 0;
    data.split_at(data.iter().position(other).unwrap_or(data.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &str =
        "POST /v1 HTTP/1.1\r\nHost: h:80\r\nX-A:1\r\nx-a: \t2 3\r\nContent-Length: 5\r\n";

    fn whole(data: &[u8]) -> Option<Whole<'_>> {
        match plain(data) {
            Some(Plain::Whole(request)) => Some(request),
            _ => None,
        }
    }

    fn sent(more: &str) -> Vec<u8> {
        format!("{PLAIN}{more}\r\nhello").into_bytes()
    }

    #[test]
    fn a_plain_request_is_read_whole() {
        let data = sent("");
        let request = whole(&data).unwrap();
        assert_eq!(request.target, b"/v1");
        let headers: Vec<Header<'_>> = vec![
            (b"Host", b"h:80"),
            (b"X-A", b"1"),
            (b"x-a", b"2 3"),
            (b"Content-Length", b"5"),
        ];
        assert_eq!(request.headers, headers);
        assert_eq!(request.body, b"hello");
        assert!(request.keep_alive);
    }

    #[test]
    fn of_one_whose_body_is_not_all_there_it_says_how_long_it_is() {
        let data = sent("");
        for missing in 1..=5 {
            let Some(Plain::Begun { target, length }) = plain(&data[..data.len() - missing]) else {
                panic!("{missing}");
            };
            assert_eq!((target, length), (&b"/v1"[..], data.len()));
        }
        for end in 0..data.len() - 5 {
            assert!(
                plain(&data[..end]).is_none(),
                "{end}: the head is not there"
            );
        }
    }

    #[test]
    fn it_says_whether_the_connection_stays() {
        for (told, stays) in [("keep-alive", true), ("Keep-Alive", true), ("CLOSE", false)] {
            let data = sent(&format!("Connection: {told}\r\n"));
            assert_eq!(whole(&data).unwrap().keep_alive, stays, "{told}");
        }
    }

    #[test]
    fn what_is_not_plain_is_left_to_the_parser() {
        for more in [
            "Content-Length: 5\r\n",
            "Transfer-Encoding: chunked\r\n",
            "Expect: 100-continue\r\n",
            "Upgrade: h2c\r\n",
            "Connection: upgrade\r\n",
            "Connection: close\r\nConnection: keep-alive\r\n",
            "Proxy-Connection: close\r\n",
            "A: b\r\n c\r\n",
            "A : b\r\n",
            "A: b \r\n",
            "A: b\n",
            "A: b\rc\r\n",
            "A: \u{e4}\r\n",
            "A: \0\r\n",
            ": b\r\n",
            "A\r\n",
        ] {
            assert!(plain(&sent(more)).is_none(), "{more:?}");
        }
        assert!(plain(&sent(&"A: b\r\n".repeat(MAX_HEADERS))).is_none());
        assert!(plain(&[&sent("")[..], b"\n"].concat()).is_none());
        for (from, to) in [
            ("POST", "PUT"),
            ("POST /v1", "POST v1"),
            ("POST /v1", "POST  /v1"),
            ("POST /v1", "POST /v1?a"),
            ("1.1", "1.0"),
            ("Length: 5", "Length: +5"),
            ("Length: 5", "Length: 000005"),
            ("Length: 5", "Length:"),
            ("Content-Length: 5\r\n", ""),
        ] {
            let text = String::from_utf8(sent("")).unwrap().replace(from, to);
            assert!(plain(text.as_bytes()).is_none(), "{to:?}");
        }
    }
}
