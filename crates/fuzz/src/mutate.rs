//! Mutations of byte strings: those that break length fields, counts, nesting and order.

/// Numbers that look random and are the same for the same seed (splitmix64).
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// 0 to `sides` - 1; 0 for no sides.
    pub fn roll(&mut self, sides: usize) -> usize {
        (self.word() % sides.max(1) as u64) as usize
    }
}

/// Longer input finds nothing more and costs time.
const MAX_LEN: usize = 256 << 10;

/// Values that sit on the edges of fields.
const EDGES: [u64; 12] = [
    0,
    1,
    2,
    0x7f,
    0x80,
    0xff,
    0x7fff,
    0xffff,
    0xff_ffff,
    0x7fff_ffff,
    0xffff_ffff,
    u64::MAX,
];

/// A sample changed one to eight times.
pub fn mutated(dice: &mut Dice, samples: &[Vec<u8>]) -> Vec<u8> {
    let mut data = samples[dice.roll(samples.len())].clone();
    for _ in 0..=dice.roll(8) {
        change(dice, &mut data, samples);
        data.truncate(MAX_LEN);
    }
    data
}

fn change(dice: &mut Dice, data: &mut Vec<u8>, samples: &[Vec<u8>]) {
    let at = dice.roll(data.len());
    match dice.roll(11) {
        0 if !data.is_empty() => data[at] ^= 1 << dice.roll(8),
        1 if !data.is_empty() => data[at] = dice.word() as u8,
        // A field on its edge, in either byte order.
        2 | 3 if !data.is_empty() => {
            let width = [1, 2, 3, 4, 8][dice.roll(5)].min(data.len() - at);
            let value = EDGES[dice.roll(EDGES.len())];
            let mut bytes = value.to_be_bytes()[8 - width..].to_vec();
            if dice.roll(2) == 0 {
                bytes.reverse();
            }
            data[at..at + width].copy_from_slice(&bytes);
        }
        4 => data.truncate(at),
        5 if !data.is_empty() => {
            data.drain(at..(at + 1 + dice.roll(16)).min(data.len()));
        }
        6 => {
            let bytes: Vec<u8> = (0..=dice.roll(16)).map(|_| dice.word() as u8).collect();
            data.splice(at..at, bytes);
        }
        // A part again, many times: nesting and floods.
        7 if !data.is_empty() => {
            let part = data[at..(at + 1 + dice.roll(32)).min(data.len())].to_vec();
            let times = [2, 3, 20, 400][dice.roll(4)];
            data.splice(at..at, part.repeat(times));
        }
        8 => {
            let other = &samples[dice.roll(samples.len())];
            let from = dice.roll(other.len());
            let to = from + dice.roll(other.len() - from + 1);
            data.splice(at..at, other[from..to].iter().copied());
        }
        // The tail of another sample.
        9 => {
            let other = &samples[dice.roll(samples.len())];
            data.truncate(at);
            data.extend_from_slice(&other[dice.roll(other.len())..]);
        }
        _ => data.extend((0..dice.roll(64)).map(|_| dice.word() as u8)),
    }
}
