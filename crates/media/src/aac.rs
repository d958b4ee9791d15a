//! AAC configurations and ADTS headers (ISO/IEC 14496-3 1.6.2, 1.A.3).

use crate::bits::{BitReader, Truncated};

const RATES: [u32; 13] = [
    96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000,
    7_350,
];

/// Why a configuration is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AacError {
    Malformed,
    /// No channel configuration of 1 to 8 channels.
    Channels,
}

impl From<Truncated> for AacError {
    fn from(_: Truncated) -> Self {
        AacError::Malformed
    }
}

/// An AudioSpecificConfig.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AudioConfig {
    /// Of the core coder: 2 is LC.
    pub object_type: u8,
    /// Samples per second of the core coder.
    pub sample_rate: u32,
    pub channels: u8,
    /// Spectral band replication is signalled: HE-AAC.
    pub sbr: bool,
    /// Parametric stereo is signalled: HE-AAC v2.
    pub ps: bool,
    /// Samples per frame and channel: 1024 or 960.
    pub frame_samples: u32,
}

impl AudioConfig {
    /// # Errors
    /// See [`AacError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, AacError> {
        let mut r = BitReader::new(bytes);
        let mut object_type = read_object_type(&mut r)?;
        let mut sample_rate = read_rate(&mut r)?;
        let channels = match r.bits(4)? {
            n @ 1..=6 => n as u8,
            7 => 8,
            _ => return Err(AacError::Channels),
        };
        let (mut sbr, mut ps) = (false, false);
        if matches!(object_type, 5 | 29) {
            // Said outright: the outer rate is the one after replication.
            sbr = true;
            ps = object_type == 29;
            read_rate(&mut r)?;
            object_type = read_object_type(&mut r)?;
        }
        let mut frame_samples = 1024;
        if matches!(object_type, 1..=4 | 6 | 7 | 17 | 19..=23) {
            // GASpecificConfig
            if r.bit()? {
                frame_samples = 960;
            }
            if r.bit()? {
                r.bits(14)?; // coreCoderDelay
            }
            r.bit()?; // extensionFlag
        }
        if !sbr && r.bits_left() >= 16 && r.bits(11)? == 0x2b7 && read_object_type(&mut r)? == 5 {
            // Said behind, so that older decoders do not see it.
            sbr = r.bit()?;
            if sbr {
                read_rate(&mut r)?;
                if r.bits_left() >= 12 && r.bits(11)? == 0x548 {
                    ps = r.bit()?;
                }
            }
        }
        if sample_rate == 0 {
            sample_rate = RATES[4];
        }
        Ok(Self {
            object_type: u8::try_from(object_type).map_err(|_| AacError::Malformed)?,
            sample_rate,
            channels,
            sbr,
            ps,
            frame_samples,
        })
    }

    /// Plain AAC-LC of 1024 samples: what can be kept as it is.
    pub fn is_lc(&self) -> bool {
        self.object_type == 2 && !self.sbr && !self.ps && self.frame_samples == 1024
    }
}

fn read_object_type(r: &mut BitReader<'_>) -> Result<u32, Truncated> {
    Ok(match r.bits(5)? {
        31 => 32 + r.bits(6)?,
        n => n,
    })
}

fn read_rate(r: &mut BitReader<'_>) -> Result<u32, AacError> {
    match r.bits(4)? {
        15 => match r.bits(24)? {
            0 => Err(AacError::Malformed),
            rate => Ok(rate),
        },
        index => RATES
            .get(index as usize)
            .copied()
            .ok_or(AacError::Malformed),
    }
}

/// The header of one ADTS frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdtsHeader {
    pub object_type: u8,
    pub sample_rate: u32,
    pub channels: u8,
    /// 7, or 9 with a checksum.
    pub header_len: usize,
    /// Header and payload.
    pub frame_len: usize,
    /// AAC frames in this ADTS frame.
    pub blocks: u8,
}

impl AdtsHeader {
    /// Reads the header at the front of `bytes`.
    ///
    /// # Errors
    /// No sync word, or impossible fields.
    pub fn parse(bytes: &[u8]) -> Result<Self, AacError> {
        let mut r = BitReader::new(bytes);
        if r.bits(12)? != 0xfff {
            return Err(AacError::Malformed);
        }
        r.bit()?; // ID
        let layer = r.bits(2)?;
        let header_len = if r.bit()? { 7 } else { 9 };
        let object_type = r.bits(2)? as u8 + 1;
        let sample_rate = RATES.get(r.bits(4)? as usize).copied();
        r.bit()?; // private_bit
        let channels = match r.bits(3)? {
            0 => return Err(AacError::Channels),
            7 => 8,
            n => n as u8,
        };
        r.bits(4)?; // original_copy .. copyright_identification_start
        let frame_len = r.bits(13)? as usize;
        r.bits(11)?; // adts_buffer_fullness
        let blocks = r.bits(2)? as u8 + 1;
        match sample_rate {
            Some(sample_rate) if layer == 0 && frame_len >= header_len => Ok(Self {
                object_type,
                sample_rate,
                channels,
                header_len,
                frame_len,
                blocks,
            }),
            _ => Err(AacError::Malformed),
        }
    }
}

/// The seven bytes before a raw frame of `payload` bytes; `None` when ADTS cannot say it.
pub fn adts_header(config: &AudioConfig, payload: usize) -> Option<[u8; 7]> {
    let rate = RATES.iter().position(|r| *r == config.sample_rate)? as u32;
    let profile = u32::from(config.object_type.checked_sub(1).filter(|p| *p < 4)?);
    let channels = match config.channels {
        n @ 1..=6 => u32::from(n),
        8 => 7,
        _ => return None,
    };
    let length = u32::try_from(payload + 7).ok().filter(|n| *n < 1 << 13)?;
    let b = |word: u32| word as u8;
    Some([
        0xff,
        0xf1,
        b(profile << 6 | rate << 2 | channels >> 2),
        b((channels & 3) << 6 | length >> 11),
        b(length >> 3),
        b((length & 7) << 5 | 0x1f),
        0xfc,
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_configurations() {
        let lc = AudioConfig::parse(&[0x11, 0x90]).unwrap();
        assert_eq!(
            (lc.object_type, lc.sample_rate, lc.channels),
            (2, 48_000, 2)
        );
        assert!(lc.is_lc());
        let mono = AudioConfig::parse(&[0x12, 0x08]).unwrap();
        assert_eq!((mono.sample_rate, mono.channels), (44_100, 1));
        // FFmpeg writes "no SBR" behind: 2b7, type 5, flag 0.
        let ffmpeg = AudioConfig::parse(&[0x11, 0x90, 0x56, 0xe5, 0x00]).unwrap();
        assert!(ffmpeg.is_lc());
    }

    #[test]
    fn high_efficiency_is_seen_both_ways() {
        // Explicit: type 5, 24 kHz, stereo, extension 48 kHz, core LC.
        let outright = AudioConfig::parse(&[0x2b, 0x11, 0x88, 0x00]).unwrap();
        assert!(outright.sbr && !outright.is_lc());
        assert_eq!((outright.object_type, outright.sample_rate), (2, 24_000));
        // Implicit in the sync extension: 2b7, type 5, flag 1, 48 kHz.
        let behind = AudioConfig::parse(&[0x13, 0x10, 0x56, 0xe5, 0x98]).unwrap();
        assert!(behind.sbr && !behind.ps && !behind.is_lc());
    }

    #[test]
    fn impossible_ones_are_refused() {
        assert_eq!(AudioConfig::parse(&[]), Err(AacError::Malformed));
        assert_eq!(AudioConfig::parse(&[0x11]), Err(AacError::Malformed));
        assert_eq!(AudioConfig::parse(&[0x11, 0x80]), Err(AacError::Channels));
        assert_eq!(
            AudioConfig::parse(&[0x17, 0x10]),
            Err(AacError::Malformed),
            "rate index 14"
        );
    }

    #[test]
    fn adts_reads_back_what_it_writes() {
        for rate in RATES {
            for channels in [1u8, 2, 3, 4, 5, 6, 8] {
                for payload in [0usize, 1, 371, 8184] {
                    let config = AudioConfig {
                        object_type: 2,
                        sample_rate: rate,
                        channels,
                        sbr: false,
                        ps: false,
                        frame_samples: 1024,
                    };
                    let bytes = adts_header(&config, payload).unwrap();
                    let back = AdtsHeader::parse(&bytes).unwrap();
                    assert_eq!((back.sample_rate, back.channels), (rate, channels));
                    assert_eq!(
                        (back.frame_len, back.header_len, back.blocks),
                        (payload + 7, 7, 1)
                    );
                }
                let config = AudioConfig::parse(&[0x11, 0x90]).unwrap();
                assert_eq!(adts_header(&config, 8185), None, "13 bits of length");
            }
        }
    }
}
