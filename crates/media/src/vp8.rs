//! The head of a VP8 frame (RFC 6386 9.1).

/// What the head of a frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vp8Header {
    pub key: bool,
    /// Key frames only: width and height before scaling.
    pub size: Option<(u32, u32)>,
}

/// Reads the head of a frame; `None` when it is none, or a key frame without a picture.
pub fn parse(frame: &[u8]) -> Option<Vp8Header> {
    let tag = frame.get(..3)?;
    if tag[0] & 1 == 1 {
        return Some(Vp8Header {
            key: false,
            size: None,
        });
    }
    let head = frame.get(3..10)?;
    if head[..3] != [0x9d, 0x01, 0x2a] {
        return None;
    }
    let side = |low: u8, high: u8| u32::from(u16::from_le_bytes([low, high]) & 0x3fff);
    let (width, height) = (side(head[3], head[4]), side(head[5], head[6]));
    // 14 bits allow 16383; no decoder of ours is asked for more than H.264 may have.
    let fits = |n: u32| n > 0 && n <= crate::h264::MAX_SIDE;
    (fits(width) && fits(height)).then_some(Vp8Header {
        key: true,
        size: Some((width, height)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 10] = [0x10, 0x02, 0x00, 0x9d, 0x01, 0x2a, 0x80, 0x02, 0x68, 0x41];

    #[test]
    fn a_key_frame_tells_its_size() {
        let header = parse(&KEY).unwrap();
        // The upper two bits of each side are scaling.
        assert_eq!((header.key, header.size), (true, Some((640, 360))));
    }

    #[test]
    fn other_frames_and_nonsense() {
        assert_eq!(
            parse(&[0x11, 0, 0]),
            Some(Vp8Header {
                key: false,
                size: None
            })
        );
        assert_eq!(parse(&[0x11, 0]), None);
        assert_eq!(parse(&KEY[..9]), None);
        let mut bad = KEY;
        bad[4] = 0;
        assert_eq!(parse(&bad), None);
        let mut empty = KEY;
        (empty[6], empty[7]) = (0, 0xc0);
        assert_eq!(parse(&empty), None);
        let mut huge = KEY;
        (huge[6], huge[7]) = (0xff, 0x3f);
        assert_eq!(parse(&huge), None);
    }
}
