//! Whether a TC3-HMAC-SHA256 signature fits a request, whichever of the texts that clients sign it was made over.
//!
//! Only bytes in, a verdict out. What a request is and which hosts may have been signed is decided in
//! `src/roomtape/api/signing.py`, which also holds the readable form of all this; a property test compares them.
//! Source: API docs > Signature v3; RFC 2104.

#![forbid(unsafe_code)]

use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};

type HmacSha256 = Hmac<Sha256>;

/// A header that is signed, in the client's order; `value` is `None` for the host, which is tried in several forms.
pub struct Signed<'a> {
    pub name: &'a [u8],
    pub value: Option<&'a [u8]>,
}

/// What a signature covers, but for the host and for the choices of path and case.
pub struct Request<'a> {
    pub method: &'a [u8],
    /// What was asked for; `/` is tried first.
    pub path: &'a [u8],
    pub query: &'a [u8],
    pub headers: &'a [Signed<'a>],
    /// SHA-256 of the body, or of what stands for it.
    pub payload: [u8; 32],
    /// The first lines of the text that is signed, up to and with the line end of the scope.
    pub beginning: &'a [u8],
}

pub fn sha256(data: &[u8]) -> [u8; 32] {
    Sha256::digest(data).into()
}

/// Whether `signature` (lower-case hex) is that of `request` under a day's derived key.
///
/// Per host, both paths and both cases of header values are tried, and no text twice in a row. A verdict takes as long
/// as its hosts take; only the comparison is in constant time.
pub fn fits<H: AsRef<[u8]>>(
    key: &[u8],
    signature: &[u8],
    request: &Request<'_>,
    hosts: impl IntoIterator<Item = H>,
) -> bool {
    let Some(signature) = from_hex(signature) else {
        return false;
    };
    let begun = HmacSha256::new_from_slice(key)
        .expect("HMAC takes a key of any length")
        .chain_update(request.beginning);
    let paths: &[&[u8]] = match request.path {
        b"/" => &[b"/"],
        other => &[b"/", other],
    };
    let mut tail = vec![b'\n'];
    for (i, header) in request.headers.iter().enumerate() {
        if i > 0 {
            tail.push(b';');
        }
        tail.extend_from_slice(header.name);
    }
    tail.push(b'\n');
    tail.extend_from_slice(&hex(&request.payload));
    let (mut text, mut former) = (Vec::new(), Vec::new());
    for host in hosts {
        for path in paths {
            for lower in [true, false] {
                text.clear();
                canonical(&mut text, request, path, host.as_ref(), lower);
                text.extend_from_slice(&tail);
                if text == former {
                    continue; // nothing in it has another case
                }
                let mac = begun.clone().chain_update(hex(&sha256(&text)));
                if mac.verify_slice(&signature).is_ok() {
                    return true;
                }
                std::mem::swap(&mut text, &mut former);
            }
        }
    }
    false
}

/// The canonical request up to the empty line that follows the headers.
fn canonical(text: &mut Vec<u8>, request: &Request<'_>, path: &[u8], host: &[u8], lower: bool) {
    for part in [request.method, path, request.query] {
        text.extend_from_slice(part);
        text.push(b'\n');
    }
    for header in request.headers {
        text.extend_from_slice(header.name);
        text.push(b':');
        let value = trim(header.value.unwrap_or(host));
        if lower {
            text.extend(value.iter().map(|byte| lower_latin1(*byte)));
        } else {
            text.extend_from_slice(value);
        }
        text.push(b'\n');
    }
}

fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = value {
        value = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

/// Header values are ISO 8859-1.
fn lower_latin1(byte: u8) -> u8 {
    match byte {
        b'A'..=b'Z' | 0xC0..=0xD6 | 0xD8..=0xDE => byte + 0x20,
        _ => byte,
    }
}

fn hex(digest: &[u8; 32]) -> [u8; 64] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = [0; 64];
    for (pair, byte) in text.chunks_exact_mut(2).zip(digest) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
    text
}

fn from_hex(text: &[u8]) -> Option<[u8; 32]> {
    let text: &[u8; 64] = text.try_into().ok()?;
    let mut digest = [0; 32];
    for (byte, pair) in digest.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(digest)
}

fn digit(text: u8) -> Option<u8> {
    match text {
        b'0'..=b'9' => Some(text - b'0'),
        b'a'..=b'f' => Some(text - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// TC3-1 of docs/vectors.md: the derived key, and what the official signer made of it.
    const KEY: &str = "bc4c58fd9fc5e14f1d585de49114afac543177e03898886cca3e2a7b3ae6ab2f";
    const SIGNATURE: &[u8] = b"4d74b595611ffc2ce79401b4a8bebc2663ac1e91a87aff4d0028d75b55dbc36d";
    const BODY: &[u8] =
        br#"{"SdkAppId": 1400000001, "RoomId": 1234, "UserIds": ["alice", "bob smith"]}"#;

    fn verdict(signature: &[u8], path: &[u8], body: &[u8], hosts: &[&str]) -> bool {
        let headers = [
            Signed {
                name: b"content-type",
                value: Some(b" application/json\t"),
            },
            Signed {
                name: b"host",
                value: None,
            },
        ];
        let request = Request {
            method: b"POST",
            path,
            query: b"",
            headers: &headers,
            payload: sha256(body),
            beginning: b"TC3-HMAC-SHA256\n1735693323\n2025-01-01/trtc/tc3_request\n",
        };
        fits(
            &from_hex(KEY.as_bytes()).unwrap(),
            signature,
            &request,
            hosts,
        )
    }

    #[test]
    fn the_official_signers_signature_fits_under_any_path_and_any_of_the_hosts() {
        let host = "trtc.example.test";
        assert!(verdict(SIGNATURE, b"/", BODY, &[host]));
        assert!(verdict(
            SIGNATURE,
            b"/api",
            BODY,
            &["else", "Trtc.example.TEST"]
        ));
        assert!(!verdict(SIGNATURE, b"/", BODY, &["else"]));
        assert!(!verdict(SIGNATURE, b"/", BODY, &[]));
        assert!(!verdict(SIGNATURE, b"/", b"{}", &[host]));
        assert!(!verdict(&SIGNATURE[1..], b"/", BODY, &[host]));
        assert!(!verdict(
            &SIGNATURE.to_ascii_uppercase(),
            b"/",
            BODY,
            &[host]
        ));
    }

    #[test]
    fn every_bit_of_a_signature_counts() {
        for place in 0..64 {
            let mut changed = SIGNATURE.to_vec();
            changed[place] = if changed[place] == b'0' { b'1' } else { b'0' };
            assert!(!verdict(&changed, b"/", BODY, &["trtc.example.test"]));
        }
    }
}
