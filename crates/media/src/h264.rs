//! H.264 as far as a server that never decodes must understand it (ITU-T H.264 7.3, 7.4;
//! ISO/IEC 14496-15 5.3 for AVCC).

use std::collections::BTreeMap;

use crate::bits::{BitReader, Truncated};

/// No picture may be wider or higher: decoders allocate by what the SPS says.
pub const MAX_SIDE: u32 = 8192;
/// One parameter set is tens of bytes; more than this is an attack.
const MAX_PARAMETER_SET: usize = 4096;

/// `nal_unit_type`s that matter here.
pub mod nal {
    pub const SLICE: u8 = 1;
    pub const IDR: u8 = 5;
    pub const SEI: u8 = 6;
    pub const SPS: u8 = 7;
    pub const PPS: u8 = 8;
    pub const AUD: u8 = 9;
}

/// The type of a NAL unit (without start code); 0 for an empty one.
pub fn nal_type(unit: &[u8]) -> u8 {
    unit.first().map_or(0, |b| b & 0x1f)
}

/// Why an SPS is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpsError {
    /// It ends early or says impossible things.
    Malformed,
    /// A side above [`MAX_SIDE`] (or zero).
    Size { width: u32, height: u32 },
}

impl From<Truncated> for SpsError {
    fn from(_: Truncated) -> Self {
        SpsError::Malformed
    }
}

/// What a sequence parameter set says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sps {
    pub id: u8,
    pub profile_idc: u8,
    pub constraints: u8,
    pub level_idc: u8,
    /// After cropping.
    pub width: u32,
    pub height: u32,
    pub poc_type: u8,
    /// Bits of `frame_num` in a slice header; `None`: it does not stand where it usually does.
    pub frame_num_bits: Option<u8>,
    pub max_ref_frames: u32,
    /// `max_num_reorder_frames`, where the VUI says so.
    pub max_reorder: Option<u32>,
}

impl Sps {
    /// Reads an SPS NAL unit (header byte included, emulation prevention in place).
    ///
    /// # Errors
    /// See [`SpsError`].
    pub fn parse(unit: &[u8]) -> Result<Self, SpsError> {
        if nal_type(unit) != nal::SPS || unit.len() > MAX_PARAMETER_SET {
            return Err(SpsError::Malformed);
        }
        let rbsp = unescape(&unit[1..]);
        let mut r = BitReader::new(&rbsp);
        let profile_idc = r.bits(8)? as u8;
        let constraints = r.bits(8)? as u8;
        let level_idc = r.bits(8)? as u8;
        let id = bounded(r.ue()?, 31)? as u8;
        let mut chroma_format = 1;
        let mut separate_planes = false;
        if matches!(
            profile_idc,
            100 | 110 | 122 | 244 | 44 | 83 | 86 | 118 | 128 | 138 | 139 | 134 | 135
        ) {
            chroma_format = bounded(r.ue()?, 3)?;
            if chroma_format == 3 {
                separate_planes = r.bit()?;
            }
            bounded(r.ue()?, 6)?; // bit_depth_luma_minus8
            bounded(r.ue()?, 6)?; // bit_depth_chroma_minus8
            r.bit()?; // qpprime_y_zero_transform_bypass_flag
            if r.bit()? {
                let lists = if chroma_format == 3 { 12 } else { 8 };
                for list in 0..lists {
                    if r.bit()? {
                        skip_scaling_list(&mut r, if list < 6 { 16 } else { 64 })?;
                    }
                }
            }
        }
        let frame_num_bits = bounded(r.ue()?, 12)? as u8 + 4;
        let poc_type = bounded(r.ue()?, 2)? as u8;
        match poc_type {
            0 => {
                bounded(r.ue()?, 12)?; // log2_max_pic_order_cnt_lsb_minus4
            }
            1 => {
                r.bit()?; // delta_pic_order_always_zero_flag
                r.se()?; // offset_for_non_ref_pic
                r.se()?; // offset_for_top_to_bottom_field
                for _ in 0..bounded(r.ue()?, 255)? {
                    r.se()?;
                }
            }
            _ => {}
        }
        let max_ref_frames = bounded(r.ue()?, 16)?;
        r.bit()?; // gaps_in_frame_num_value_allowed_flag
        let width_mbs = u64::from(r.ue()?) + 1;
        let height_units = u64::from(r.ue()?) + 1;
        let frame_mbs_only = r.bit()?;
        if !frame_mbs_only {
            r.bit()?; // mb_adaptive_frame_field_flag
        }
        r.bit()?; // direct_8x8_inference_flag
        let field_factor = if frame_mbs_only { 1 } else { 2 };
        let (mut width, mut height) = (width_mbs * 16, height_units * 16 * field_factor);
        if r.bit()? {
            let chroma_array = if separate_planes { 0 } else { chroma_format };
            let crop_x = if matches!(chroma_array, 1 | 2) { 2 } else { 1 };
            let crop_y = field_factor * if chroma_array == 1 { 2 } else { 1 };
            let mut side = |unit: u64| -> Result<u64, SpsError> {
                Ok((u64::from(r.ue()?) + u64::from(r.ue()?)) * unit)
            };
            let (x, y) = (side(crop_x)?, side(crop_y)?);
            width = width.checked_sub(x).ok_or(SpsError::Malformed)?;
            height = height.checked_sub(y).ok_or(SpsError::Malformed)?;
        }
        let limit = |side: u64| u32::try_from(side).unwrap_or(u32::MAX);
        let (width, height) = (limit(width), limit(height));
        if width == 0 || height == 0 || width > MAX_SIDE || height > MAX_SIDE {
            return Err(SpsError::Size { width, height });
        }
        let max_reorder = if r.bit()? {
            vui_max_reorder(&mut r)?
        } else {
            None
        };
        Ok(Self {
            id,
            profile_idc,
            constraints,
            level_idc,
            width,
            height,
            poc_type,
            frame_num_bits: (!separate_planes).then_some(frame_num_bits),
            max_ref_frames,
            max_reorder,
        })
    }

    /// How many pictures may be shown later than they are decoded, as far as the SPS alone tells:
    /// the VUI's word; 0 where B-pictures cannot be (Baseline, picture order by decoding order,
    /// intra-only profiles and streams without references); `None` when only the pictures can say.
    pub fn reorder_depth(&self) -> Option<u32> {
        let intra_profile = self.profile_idc == 44
            || (matches!(self.profile_idc, 100 | 110 | 122 | 244) && self.constraints & 0x10 != 0);
        if self.profile_idc == 66 || self.poc_type == 2 || self.max_ref_frames == 0 || intra_profile
        {
            return Some(0);
        }
        self.max_reorder
    }
}

fn bounded(value: u32, max: u32) -> Result<u32, SpsError> {
    if value <= max {
        Ok(value)
    } else {
        Err(SpsError::Malformed)
    }
}

fn skip_scaling_list(r: &mut BitReader<'_>, size: u32) -> Result<(), Truncated> {
    let (mut last, mut next) = (8i64, 8i64);
    for _ in 0..size {
        if next != 0 {
            next = (last + i64::from(r.se()?)).rem_euclid(256);
        }
        if next != 0 {
            last = next;
        }
    }
    Ok(())
}

/// Annex E.1.1 up to `max_num_reorder_frames`.
fn vui_max_reorder(r: &mut BitReader<'_>) -> Result<Option<u32>, SpsError> {
    if r.bit()? && r.bits(8)? == 255 {
        r.bits(32)?; // sar_width, sar_height
    }
    if r.bit()? {
        r.bit()?; // overscan_appropriate_flag
    }
    if r.bit()? {
        r.bits(4)?; // video_format, video_full_range_flag
        if r.bit()? {
            r.bits(24)?; // colour description
        }
    }
    if r.bit()? {
        bounded(r.ue()?, 5)?; // chroma_sample_loc_type_top_field
        bounded(r.ue()?, 5)?;
    }
    if r.bit()? {
        r.bits(32)?; // num_units_in_tick
        r.bits(32)?; // time_scale
        r.bit()?; // fixed_frame_rate_flag
    }
    let mut hrd = false;
    for _ in 0..2 {
        if r.bit()? {
            hrd = true;
            let count = bounded(r.ue()?, 31)? + 1;
            r.bits(8)?; // bit_rate_scale, cpb_size_scale
            for _ in 0..count {
                r.ue()?;
                r.ue()?;
                r.bit()?;
            }
            r.bits(20)?; // four lengths of five bits
        }
    }
    if hrd {
        r.bit()?; // low_delay_hrd_flag
    }
    r.bit()?; // pic_struct_present_flag
    if !r.bit()? {
        return Ok(None);
    }
    r.bit()?; // motion_vectors_over_pic_boundaries_flag
    for _ in 0..4 {
        r.ue()?; // max_bytes_per_pic_denom .. log2_max_mv_length_vertical
    }
    Ok(Some(bounded(r.ue()?, 16)?))
}

/// `frame_num` of a slice of pictures under an SPS whose `frame_num_bits` is `bits`; the slice is given
/// without its header byte, and its first bytes are enough. `None`: it ends before. Source: H.264 7.3.3.
pub fn frame_num(slice: &[u8], bits: u8) -> Option<u32> {
    const ENOUGH: usize = 24;
    let rbsp = unescape(&slice[..ENOUGH.min(slice.len())]);
    let mut r = BitReader::new(&rbsp);
    for _ in 0..3 {
        r.ue().ok()?; // first_mb_in_slice, slice_type, pic_parameter_set_id
    }
    r.bits(u32::from(bits)).ok()
}

/// Takes emulation prevention out: 00 00 03 -> 00 00.
fn unescape(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut zeros = 0;
    for byte in bytes {
        if zeros >= 2 && *byte == 3 {
            zeros = 0;
            continue;
        }
        zeros = if *byte == 0 { zeros + 1 } else { 0 };
        out.push(*byte);
    }
    out
}

/// The NAL units of an Annex B byte stream, without start codes and trailing zeros; empty ones
/// are left out.
pub fn annexb_units(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = match start_code(data) {
        Some((_, after)) => &data[after..],
        None => &data[data.len()..],
    };
    std::iter::from_fn(move || loop {
        if rest.is_empty() {
            return None;
        }
        let (unit, next) = match start_code(rest) {
            Some((before, after)) => (&rest[..before], &rest[after..]),
            None => (rest, &rest[rest.len()..]),
        };
        rest = next;
        let end = unit.iter().rposition(|b| *b != 0).map_or(0, |at| at + 1);
        if end > 0 {
            return Some(&unit[..end]);
        }
    })
}

/// Where the next 00 00 01 begins and ends.
fn start_code(data: &[u8]) -> Option<(usize, usize)> {
    let mut at = 2;
    while at < data.len() {
        // By the value of the third byte: a start code ends here, or how far one may be away.
        match data[at] {
            1 if data[at - 1] == 0 && data[at - 2] == 0 => return Some((at - 2, at + 1)),
            0 => at += 1,
            _ => at += 3,
        }
    }
    None
}

/// Appends a unit with a four-byte start code.
pub fn push_unit(out: &mut Vec<u8>, unit: &[u8]) {
    out.extend_from_slice(&[0, 0, 0, 1]);
    out.extend_from_slice(unit);
}

/// Whether decoding may start at this access unit (Annex B): it holds an IDR picture.
pub fn is_key(access_unit: &[u8]) -> bool {
    annexb_units(access_unit).any(|unit| nal_type(unit) == nal::IDR)
}

/// Why AVCC data is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AvccError {
    Malformed,
}

/// An AVCDecoderConfigurationRecord (ISO/IEC 14496-15 5.3.3.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AvcConfig {
    /// Bytes of the length before each unit: 1, 2 or 4.
    pub length_size: usize,
    pub sps: Vec<Vec<u8>>,
    pub pps: Vec<Vec<u8>>,
}

impl AvcConfig {
    /// # Errors
    /// It ends early or is of another version.
    pub fn parse(bytes: &[u8]) -> Result<Self, AvccError> {
        let bad = AvccError::Malformed;
        if bytes.len() < 7 || bytes[0] != 1 {
            return Err(bad);
        }
        let length_size = usize::from(bytes[4] & 3) + 1;
        if length_size == 3 {
            return Err(bad);
        }
        let mut rest = &bytes[5..];
        let mut sets = |mask: u8| -> Result<Vec<Vec<u8>>, AvccError> {
            let (count, mut left) = rest.split_first().ok_or(bad)?;
            let mut units = Vec::new();
            for _ in 0..count & mask {
                let (length, after) = left.split_first_chunk::<2>().ok_or(bad)?;
                let length = usize::from(u16::from_be_bytes(*length));
                if length > after.len() || length > MAX_PARAMETER_SET {
                    return Err(bad);
                }
                let (unit, after) = after.split_at(length);
                if !unit.is_empty() {
                    units.push(unit.to_vec());
                }
                left = after;
            }
            rest = left;
            Ok(units)
        };
        Ok(Self {
            length_size,
            sps: sets(0x1f)?,
            pps: sets(0xff)?,
        })
    }
}

/// The units of AVCC data with lengths of `length_size` bytes.
///
/// # Errors
/// A length reaches beyond the data.
pub fn avcc_units(data: &[u8], length_size: usize) -> Result<Vec<&[u8]>, AvccError> {
    let mut units = Vec::new();
    let mut rest = data;
    while !rest.is_empty() {
        if rest.len() < length_size {
            return Err(AvccError::Malformed);
        }
        let (head, after) = rest.split_at(length_size);
        let length = head.iter().fold(0usize, |n, b| n << 8 | usize::from(*b));
        if length > after.len() {
            return Err(AvccError::Malformed);
        }
        let (unit, after) = after.split_at(length);
        if !unit.is_empty() {
            units.push(unit);
        }
        rest = after;
    }
    Ok(units)
}

/// AVCC to Annex B.
///
/// # Errors
/// As [`avcc_units`].
pub fn avcc_to_annexb(data: &[u8], length_size: usize) -> Result<Vec<u8>, AvccError> {
    let mut out = Vec::with_capacity(data.len() + 16);
    avcc_units(data, length_size)?
        .into_iter()
        .for_each(|unit| push_unit(&mut out, unit));
    Ok(out)
}

/// Annex B to AVCC with four-byte lengths.
pub fn annexb_to_avcc(data: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(data.len() + 16);
    for unit in annexb_units(data) {
        out.extend_from_slice(&(unit.len() as u32).to_be_bytes());
        out.extend_from_slice(unit);
    }
    out
}

/// What [`ParameterSets::complete`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completed {
    /// Annex B; a key frame begins with its parameter sets (behind an access unit delimiter).
    pub data: Vec<u8>,
    pub key: bool,
    /// The size of the newest SPS, when this access unit or a set since the last one changed it.
    pub new_size: Option<(u32, u32)>,
}

/// Remembers the parameter sets of one stream and puts them before each key frame.
#[derive(Clone, Debug, Default)]
pub struct ParameterSets {
    sps: BTreeMap<u8, Vec<u8>>,
    pps: BTreeMap<u8, Vec<u8>>,
    newest: Option<Sps>,
    told: Option<(u32, u32)>,
}

impl ParameterSets {
    /// The newest SPS seen.
    pub fn sps(&self) -> Option<&Sps> {
        self.newest.as_ref()
    }

    /// Both kinds are known: a key frame can be decoded.
    pub fn ready(&self) -> bool {
        !self.sps.is_empty() && !self.pps.is_empty()
    }

    /// Takes in a unit; others than parameter sets are passed over.
    ///
    /// # Errors
    /// An SPS of no use: the stream had better be refused.
    pub fn observe(&mut self, unit: &[u8]) -> Result<(), SpsError> {
        match nal_type(unit) {
            nal::SPS => {
                let sps = Sps::parse(unit)?;
                self.sps.insert(sps.id, unit.to_vec());
                self.newest = Some(sps);
            }
            nal::PPS if unit.len() <= MAX_PARAMETER_SET => {
                let id = BitReader::new(&unescape(&unit[1..unit.len().min(9)])).ue();
                let id = bounded(id.map_err(SpsError::from)?, 255)? as u8;
                self.pps.insert(id, unit.to_vec());
            }
            _ => {}
        }
        Ok(())
    }

    /// Makes one whole access unit of `units`: the parameter sets in it are remembered, and a key
    /// frame without them is given the ones known.
    ///
    /// # Errors
    /// As [`ParameterSets::observe`].
    pub fn complete<'a>(
        &mut self,
        units: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<Completed, SpsError> {
        let units: Vec<&[u8]> = units.into_iter().collect();
        let (mut key, mut own_sps, mut own_pps) = (false, false, false);
        for unit in &units {
            self.observe(unit)?;
            match nal_type(unit) {
                nal::IDR => key = true,
                nal::SPS => own_sps = true,
                nal::PPS => own_pps = true,
                _ => {}
            }
        }
        let mut data = Vec::with_capacity(units.iter().map(|u| u.len() + 4).sum::<usize>() + 256);
        let mut rest = &units[..];
        if let Some((first, after)) = rest.split_first().filter(|(u, _)| nal_type(u) == nal::AUD) {
            push_unit(&mut data, first);
            rest = after;
        }
        if key && !(own_sps && own_pps) {
            self.sps
                .values()
                .chain(self.pps.values())
                .for_each(|set| push_unit(&mut data, set));
            rest.iter()
                .filter(|u| !matches!(nal_type(u), nal::SPS | nal::PPS))
                .for_each(|u| push_unit(&mut data, u));
        } else {
            rest.iter().for_each(|u| push_unit(&mut data, u));
        }
        let size = self.newest.map(|s| (s.width, s.height));
        let new_size = if size != self.told { size } else { None };
        self.told = size;
        Ok(Completed {
            data,
            key,
            new_size,
        })
    }
}
