//! The little of STUN that is needed to find a datagram's peer. Source: RFC 8489 sections 5, 14.3.

const HEADER_BYTES: usize = 20;
const USERNAME: u16 = 0x0006;

/// True for a STUN message (RFC 7983: first byte 0 to 3).
pub fn is_stun(datagram: &[u8]) -> bool {
    datagram.len() >= HEADER_BYTES && datagram[0] < 2
}

/// True for the success response to a binding request.
pub fn is_binding_success(datagram: &[u8]) -> bool {
    is_stun(datagram) && datagram[..2] == [0x01, 0x01]
}

/// Our user fragment in a request: the part of USERNAME before the colon.
pub fn local_ufrag(datagram: &[u8]) -> Option<&str> {
    let mut rest = datagram.get(HEADER_BYTES..)?;
    while let [t0, t1, l0, l1, tail @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*l0, *l1]));
        let value = tail.get(..length)?;
        if u16::from_be_bytes([*t0, *t1]) == USERNAME {
            return std::str::from_utf8(value).ok()?.split(':').next();
        }
        rest = tail.get(length.next_multiple_of(4)..)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_username_is_found_behind_other_attributes() {
        let mut m = vec![0; HEADER_BYTES];
        m.extend_from_slice(&[0x80, 0x22, 0, 3, b'a', b'b', b'c', 0]);
        m.extend_from_slice(&[0, 6, 0, 9]);
        m.extend_from_slice(b"ours:them\0\0\0");
        assert_eq!(local_ufrag(&m), Some("ours"));
        assert_eq!(local_ufrag(&m[..30]), None);
    }
}
