//! What the publishers send: files of pictures and a file of sound, packed once.

use std::sync::Arc;

use roomtape_core::h264_payloads;
use roomtape_media::h264::{annexb_units, is_key};

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
    /// One packet per 20 ms.
    pub sounds: Arc<Vec<Arc<[u8]>>>,
    pub fps: u32,
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

impl Loop {
    pub fn new(pictures: &[Vec<u8>], sounds: &[u8], fps: u32) -> Loop {
        let series = |file: &Vec<u8>| {
            let units = access_units(file);
            let pack = |unit: &Vec<u8>| Picture {
                payloads: h264_payloads(unit),
                key: is_key(unit),
            };
            Arc::new(units.iter().map(pack).collect::<Vec<_>>())
        };
        Loop {
            pictures: pictures
                .iter()
                .map(series)
                .filter(|s| !s.is_empty())
                .collect(),
            sounds: Arc::new(packets(sounds)),
            fps,
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
        let media = Loop::new(&[stream, Vec::new()], &[], 30);
        let keys: Vec<bool> = media.pictures[0].iter().map(|p| p.key).collect();
        assert_eq!(keys, [true, false, false]);
        assert_eq!(media.pictures.len(), 1);
    }
}
