//! Bits of a bitstream, most significant first.

/// The data ended before the value did, or a code is longer than any value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Truncated;

/// Reads bits; every read past the end is an error, never a panic.
#[derive(Clone, Debug)]
pub struct BitReader<'a> {
    bytes: &'a [u8],
    /// Position in bits.
    at: usize,
}

impl<'a> BitReader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub fn bits_left(&self) -> usize {
        self.bytes.len() * 8 - self.at
    }

    pub fn bit(&mut self) -> Result<bool, Truncated> {
        let byte = self.bytes.get(self.at / 8).ok_or(Truncated)?;
        let bit = byte >> (7 - self.at % 8) & 1;
        self.at += 1;
        Ok(bit == 1)
    }

    /// Up to 32 bits as a number.
    pub fn bits(&mut self, count: u32) -> Result<u32, Truncated> {
        let mut value = 0u32;
        for _ in 0..count.min(32) {
            value = value << 1 | u32::from(self.bit()?);
        }
        Ok(value)
    }

    /// Exp-Golomb, unsigned: ue(v) of H.264 9.1. At most 2^32 - 2.
    pub fn ue(&mut self) -> Result<u32, Truncated> {
        let mut zeros = 0;
        while !self.bit()? {
            zeros += 1;
            if zeros > 31 {
                return Err(Truncated);
            }
        }
        Ok(((1u64 << zeros) - 1 + u64::from(self.bits(zeros)?)) as u32)
    }

    /// Exp-Golomb, signed: se(v) of H.264 9.1.1.
    pub fn se(&mut self) -> Result<i32, Truncated> {
        let code = i64::from(self.ue()?);
        let half = (code + 1) / 2;
        Ok((if code % 2 == 1 { half } else { -half }) as i32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_golomb_of_the_first_codes() {
        // 1 | 010 | 011 | 00100 | 00101 -> 0 1 2 3 4
        let bytes = [0b1010_0110, 0b0100_0010, 0b1000_0000];
        let mut r = BitReader::new(&bytes);
        let codes: Vec<_> = (0..5).map(|_| r.ue().unwrap()).collect();
        assert_eq!(codes, vec![0, 1, 2, 3, 4]);
        let mut r = BitReader::new(&bytes);
        let signed: Vec<_> = (0..5).map(|_| r.se().unwrap()).collect();
        assert_eq!(signed, vec![0, 1, -1, 2, -2]);
    }

    #[test]
    fn the_end_is_an_error() {
        assert_eq!(BitReader::new(&[]).bit(), Err(Truncated));
        assert_eq!(BitReader::new(&[0; 64]).ue(), Err(Truncated));
        assert_eq!(BitReader::new(&[0xff]).bits(9), Err(Truncated));
    }
}
