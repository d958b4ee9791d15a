//! What the publishers send: files of pictures and a file of sound, packed once.

use std::sync::Arc;

use roomtape_core::h264_payloads_within;
use roomtape_media::h264::{annexb_units, is_key};

/// Payload bytes of a packet, unless the way takes less.
pub const PAYLOAD_BYTES: usize = 1150;

/// One access unit, packed.
pub struct Picture {
    pub payloads: Vec<Arc<[u8]>>,
    pub key: bool,
}

/// Media ready to be sent, again and again.
#[derive(Clone, Default)]
pub struct Loop {
    /// One series of pictures per file.
    pub pictures: Vec<Arc<Vec<Picture>>>,
    /// The pictures of the first file again, with key frames in other places: where a key frame is asked
    /// for, they go on in the file whose next one is nearest.
    pub answers: Vec<Arc<Vec<Picture>>>,
    /// One packet per 20 ms.
    pub sounds: Arc<Vec<Arc<[u8]>>>,
    pub fps: u32,
    /// The pictures are VP8 (IVF files), not H.264.
    pub vp8: bool,
}

/// Access units of an Annex B stream: a new one begins at a delimiter, a parameter set, or the
/// first slice of a picture once the unit before has a slice.
pub fn access_units(stream: &[u8]) -> Vec<Vec<u8>> {
    let mut units: Vec<Vec<u8>> = Vec::new();
    let mut has_slice = true;
    for nal in annexb_units(stream) {
        let kind = nal[0] & 0x1f;
        let slice = matches!(kind, 1 | 5);
        let first = slice && nal.get(1).is_some_and(|b| b & 0x80 != 0);
        if has_slice && (first || matches!(kind, 6..=9)) {
            units.push(Vec::new());
            has_slice = false;
        }
        has_slice |= slice;
        if let Some(unit) = units.last_mut() {
            unit.extend_from_slice(&[0, 0, 0, 1]);
            unit.extend_from_slice(nal);
        }
    }
    units
}

/// Frames of an IVF file: a header of 32 bytes, then each led by its length (u32, little endian) and a
/// time (u64).
pub fn ivf_frames(file: &[u8]) -> Vec<&[u8]> {
    let mut rest = file.get(32..).unwrap_or_default();
    let mut out = Vec::new();
    while let Some((head, tail)) = rest.split_first_chunk::<12>() {
        let size = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let Some(frame) = tail.get(..size) else {
            break;
        };
        out.push(frame);
        rest = &tail[size..];
    }
    out
}

/// A VP8 frame in payloads (RFC 7741) with the shortest descriptor.
fn vp8_payloads(frame: &[u8], most: usize) -> Vec<Arc<[u8]>> {
    const START: u8 = 0x10;
    let part = |(n, body): (usize, &[u8])| {
        let descriptor = if n == 0 { START } else { 0 };
        [&[descriptor], body].concat().into()
    };
    frame.chunks(most - 1).enumerate().map(part).collect()
}

/// Packets of a file in which each is led by its length (u16, big endian).
pub fn packets(file: &[u8]) -> Vec<Arc<[u8]>> {
    let mut rest = file;
    let mut out = Vec::new();
    while let [a, b, tail @ ..] = rest {
        let size = usize::from(u16::from_be_bytes([*a, *b]));
        let Some(packet) = tail.get(..size) else {
            break;
        };
        out.push(packet.into());
        rest = &tail[size..];
    }
    out
}

const IVF: &[u8] = b"DKIF";

impl Loop {
    /// `most`: bytes of a payload.
    pub fn new(
        pictures: &[Vec<u8>],
        answers: &[Vec<u8>],
        sounds: &[u8],
        fps: u32,
        most: usize,
    ) -> Loop {
        let series = |file: &Vec<u8>| {
            if file.starts_with(IVF) {
                let pack = |frame: &[u8]| Picture {
                    payloads: vp8_payloads(frame, most),
                    key: frame.first().is_some_and(|b| b & 1 == 0),
                };
                return Arc::new(ivf_frames(file).into_iter().map(pack).collect());
            }
            let units = access_units(file);
            let pack = |unit: &Vec<u8>| Picture {
                payloads: h264_payloads_within(unit, most),
                key: is_key(unit),
            };
            Arc::new(units.iter().map(pack).collect::<Vec<_>>())
        };
        let all = |files: &[Vec<u8>]| -> Vec<_> {
            let series = files.iter().map(series);
            series.filter(|s| !s.is_empty()).collect()
        };
        Loop {
            pictures: all(pictures),
            answers: all(answers),
            sounds: Arc::new(packets(sounds)),
            fps,
            vp8: pictures.iter().any(|file| file.starts_with(IVF)),
        }
    }

    /// Number of the encoding in which picture `n` is a key frame; the one that is on, if it is there.
    pub fn keyed(&self, n: u64, on: usize) -> Option<usize> {
        let is_key = |encoding: &usize| {
            let series = self.encoding(*encoding);
            series[(n % series.len() as u64) as usize].key
        };
        std::iter::once(on)
            .chain(0..=self.answers.len())
            .find(is_key)
    }

    /// The first file of pictures (0), or one of those that answer.
    pub fn encoding(&self, number: usize) -> &Arc<Vec<Picture>> {
        match number {
            0 => &self.pictures[0],
            n => &self.answers[n - 1],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_cut_at_its_pictures() {
        let mut stream = Vec::new();
        for nal in [
            &[0x67u8, 1][..],
            &[0x68, 2],
            &[0x65, 0x88, 3],
            &[0x65, 0x08, 4], // second slice of the same picture
            &[0x41, 0x9a, 5],
            &[0x06, 6],
            &[0x41, 0x9a, 7],
        ] {
            stream.extend_from_slice(&[0, 0, 0, 1]);
            stream.extend_from_slice(nal);
        }
        let units = access_units(&stream);
        assert_eq!(units.len(), 3);
        assert!(units[0].ends_with(&[0x65, 0x08, 4]));
        assert_eq!(packets(&[0, 2, 7, 8, 0, 1, 9, 0, 5]).len(), 2);
        let media = Loop::new(&[stream.clone(), Vec::new()], &[], &[], 30, PAYLOAD_BYTES);
        let keys: Vec<bool> = media.pictures[0].iter().map(|p| p.key).collect();
        assert_eq!(keys, [true, false, false]);
        assert_eq!(media.pictures.len(), 1);
        let later: Vec<u8> = [&[0, 0, 1, 0x41, 0x9a, 5][..], &[0, 0, 1, 0x65, 0x88, 3]].concat();
        let media = Loop::new(&[stream], &[later], &[], 30, PAYLOAD_BYTES);
        assert_eq!(media.keyed(3, 1), Some(1), "the one that is on");
        assert_eq!(media.keyed(6, 1), Some(0));
        assert_eq!(media.keyed(2, 0), None);
        assert!(!media.vp8);
    }

    #[test]
    fn frames_of_an_ivf_file_are_packed_too() {
        let mut file = b"DKIF".to_vec();
        file.resize(32, 0);
        for frame in [&[0x10u8, 2, 0, 0x9d][..], &[0x31, 5]] {
            file.extend_from_slice(&(frame.len() as u32).to_le_bytes());
            file.extend_from_slice(&[0; 8]);
            file.extend_from_slice(frame);
        }
        let media = Loop::new(&[file], &[], &[], 30, 3);
        let [first, second] = &media.pictures[0][..] else {
            panic!("two frames");
        };
        assert!(media.vp8 && first.key && !second.key);
        let payloads: Vec<&[u8]> = first.payloads.iter().map(|p| &**p).collect();
        assert_eq!(payloads, [&[0x10u8, 0x10, 2][..], &[0, 0, 0x9d]]);
    }
}
