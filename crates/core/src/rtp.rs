//! What can be read of an encrypted RTP packet.

use std::ops::RangeInclusive;

/// The second byte of RTCP (RFC 5761 section 4).
const RTCP: RangeInclusive<u8> = 192..=223;

/// The places of a packet: its stream, and its number in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RtpPlace {
    pub ssrc: u32,
    pub seq: u16,
}

impl RtpPlace {
    /// `None`: the datagram is no RTP packet. Nobody vouches for what it says before it is decrypted.
    pub fn of(datagram: &[u8]) -> Option<Self> {
        let (head, _) = datagram.split_first_chunk::<12>()?;
        let [first, kind, s0, s1, _, _, _, _, ssrc @ ..] = head;
        let is_rtp = first >> 6 == 2 && !RTCP.contains(kind);
        is_rtp.then(|| Self {
            ssrc: u32::from_be_bytes(*ssrc),
            seq: u16::from_be_bytes([*s0, *s1]),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_of_rtp_and_of_nothing_else() {
        let packet = [0x80, 96, 1, 2, 0, 0, 0, 0, 0, 0, 0, 7, 1];
        let place = RtpPlace { ssrc: 7, seq: 258 };
        assert_eq!(RtpPlace::of(&packet), Some(place));
        assert_eq!(RtpPlace::of(&packet[..11]), None);
        let rtcp = [0x80, 200, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        assert_eq!(RtpPlace::of(&rtcp), None);
        assert_eq!(RtpPlace::of(&[22, 254, 253]), None, "DTLS");
    }
}
