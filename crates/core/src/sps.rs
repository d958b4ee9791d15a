//! Size of the picture an H.264 SPS describes. Source: ITU-T H.264 section 7.3.2.1.1.

/// Width and height in pixels, cropped.
pub struct Sps {
    pub width: u32,
    pub height: u32,
}

struct Bits {
    bytes: Vec<u8>,
    at: usize,
}

impl Bits {
    fn bit(&mut self) -> Option<u32> {
        let bit = self.bytes.get(self.at / 8)? >> (7 - self.at % 8) & 1;
        self.at += 1;
        Some(u32::from(bit))
    }
    fn bits(&mut self, n: u32) -> Option<u32> {
        (0..n).try_fold(0, |v, _| Some(v << 1 | self.bit()?))
    }
    fn ue(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while self.bit()? == 0 {
            zeros += 1;
            if zeros > 31 {
                return None;
            }
        }
        let rest = self.bits(zeros)?;
        Some(((1u64 << zeros) + u64::from(rest) - 1) as u32)
    }
}

/// Reads a NAL unit of type 7, header byte included.
pub fn parse_sps(nal: &[u8]) -> Option<Sps> {
    let mut clean = Vec::with_capacity(nal.len());
    let mut zeros = 0;
    for &b in nal.get(1..)? {
        if zeros >= 2 && b == 3 {
            zeros = 0;
            continue;
        }
        zeros = if b == 0 { zeros + 1 } else { 0 };
        clean.push(b);
    }
    let mut r = Bits {
        bytes: clean,
        at: 0,
    };
    let profile = r.bits(8)?;
    r.bits(16)?;
    r.ue()?;
    let mut chroma = 1;
    if matches!(profile, 100 | 110 | 122 | 244 | 44 | 83 | 86 | 118 | 128 | 138 | 139 | 134 | 135) {
        chroma = r.ue()?;
        if chroma == 3 {
            r.bit()?;
        }
        r.ue()?;
        r.ue()?;
        r.bit()?;
        if r.bit()? == 1 {
            for i in 0..if chroma == 3 { 12 } else { 8 } {
                if r.bit()? == 1 {
                    let (mut last, mut next) = (8i64, 8i64);
                    for _ in 0..if i < 6 { 16 } else { 64 } {
                        if next != 0 {
                            let code = i64::from(r.ue()?);
                            let delta = if code % 2 == 0 { -(code / 2) } else { code / 2 + 1 };
                            next = (last + delta + 256) % 256;
                        }
                        last = if next == 0 { last } else { next };
                    }
                }
            }
        }
    }
    r.ue()?;
    match r.ue()? {
        0 => {
            r.ue()?;
        }
        1 => {
            r.bit()?;
            r.ue()?;
            r.ue()?;
            for _ in 0..r.ue()?.min(255) {
                r.ue()?;
            }
        }
        _ => {}
    }
    r.ue()?;
    r.bit()?;
    let width = u64::from(r.ue()?) + 1;
    let height = u64::from(r.ue()?) + 1;
    let fields = 2 - u64::from(r.bit()?);
    if fields == 2 {
        r.bit()?;
    }
    r.bit()?;
    let (mut w, mut h) = (width * 16, height * 16 * fields);
    if r.bit()? == 1 {
        let x = if matches!(chroma, 1 | 2) { 2 } else { 1 };
        let y = if chroma == 1 { 2 } else { 1 } * fields;
        let (left, right) = (u64::from(r.ue()?), u64::from(r.ue()?));
        let (top, bottom) = (u64::from(r.ue()?), u64::from(r.ue()?));
        w = w.checked_sub(x * (left + right))?;
        h = h.checked_sub(y * (top + bottom))?;
    }
    Some(Sps {
        width: u32::try_from(w).ok()?,
        height: u32::try_from(h).ok()?,
    })
}
