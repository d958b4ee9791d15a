//! The first bytes of an Opus packet (RFC 6716 3.1, 3.2).

/// A packet never lasts longer: 120 ms.
pub const MAX_SAMPLES: u32 = 5760;

/// What a packet's TOC says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Toc {
    pub stereo: bool,
    pub frames: u32,
    /// Length of the packet in samples of 48 kHz.
    pub samples: u32,
}

/// Reads the TOC; `None` when the packet cannot be Opus.
pub fn parse(packet: &[u8]) -> Option<Toc> {
    let toc = *packet.first()?;
    let config = toc >> 3;
    let frame = match config {
        0..=11 => [480, 960, 1920, 2880][usize::from(config & 3)],
        12..=15 => [480, 960][usize::from(config & 1)],
        _ => [120, 240, 480, 960][usize::from(config & 3)],
    };
    let frames = match toc & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => u32::from(packet.get(1)? & 0x3f),
    };
    let samples = frame * frames;
    (frames > 0 && samples <= MAX_SAMPLES).then_some(Toc {
        stereo: toc & 4 != 0,
        frames,
        samples,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_all_configurations() {
        // RFC 6716 table 2, in milliseconds times 2.
        let table = [
            20, 40, 80, 120, 20, 40, 80, 120, 20, 40, 80, 120, 20, 40, 20, 40, 5, 10, 20, 40, 5,
            10, 20, 40, 5, 10, 20, 40, 5, 10, 20, 40,
        ];
        for (config, half_ms) in table.iter().enumerate() {
            let toc = parse(&[(config as u8) << 3]).unwrap();
            assert_eq!(
                (toc.samples, toc.frames, toc.stereo),
                (half_ms * 24, 1, false)
            );
        }
        assert_eq!(
            parse(&[0xfc | 1]).unwrap().samples,
            1920,
            "two frames of 20 ms"
        );
        assert!(parse(&[0xfc]).unwrap().stereo);
    }

    #[test]
    fn counted_frames() {
        assert_eq!(parse(&[0xff, 3]).unwrap().samples, 2880);
        assert_eq!(parse(&[0xff, 6]).unwrap().samples, MAX_SAMPLES);
        assert_eq!(parse(&[0xff, 7]), None, "140 ms");
        assert_eq!(parse(&[0xff, 0]), None);
        assert_eq!(parse(&[0xff]), None);
        assert_eq!(parse(&[]), None);
    }
}
