//! H.264 parsing against parameter sets made by x264 (FFmpeg 5.1, `-preset veryfast` and the
//! options named beside each) and against hand-made ones.

use roomtape_media::h264::{
    annexb_to_avcc, annexb_units, avcc_to_annexb, avcc_units, is_key, nal_type, AvcConfig,
    AvccError, ParameterSets, Sps, SpsError,
};

fn hex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

/// Writes bits, most significant first.
#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    count: usize,
}

impl Bits {
    fn put(mut self, value: u64, bits: u32) -> Self {
        for place in (0..bits).rev() {
            if self.count.is_multiple_of(8) {
                self.bytes.push(0);
            }
            *self.bytes.last_mut().unwrap() |= ((value >> place & 1) as u8) << (7 - self.count % 8);
            self.count += 1;
        }
        self
    }

    fn ue(self, value: u64) -> Self {
        let length = 64 - (value + 1).leading_zeros();
        self.put(0, length - 1).put(value + 1, length)
    }
}

/// A Baseline-like SPS without VUI.
fn plain_sps(profile: u64, poc_type: u64, width_mbs: u64, height_mbs: u64) -> Vec<u8> {
    let mut bits = Bits::default()
        .put(0x67, 8)
        .put(profile, 8)
        .put(0, 8)
        .put(31, 8)
        .ue(0);
    if profile == 100 {
        bits = bits.ue(1).ue(0).ue(0).put(0, 2);
    }
    bits = bits.ue(0).ue(poc_type);
    if poc_type == 0 {
        bits = bits.ue(4);
    }
    bits.ue(1)
        .put(0, 1)
        .ue(width_mbs - 1)
        .ue(height_mbs - 1)
        .put(0b1100, 4)
        .put(1, 1)
        .bytes
}

#[test]
fn sps_of_x264() {
    let table = [
        (
            "6742c00cda05067e7c0440000003004000000c83c50aa8",
            "-profile:v baseline",
            66,
            320,
            180,
            Some(0),
        ),
        (
            "674d401eda0280bfe5c044000003000400000300c83c58ba80",
            "main, -bf 0",
            77,
            640,
            360,
            Some(0),
        ),
        (
            "67640028acb403c0113f2e0220000003002000000641e30654",
            "high, -bf 0",
            100,
            1920,
            1080,
            Some(0),
        ),
        (
            "6764001facd9405005bb011000000300100000030320f1831960",
            "high, -bf 3",
            100,
            1280,
            720,
            Some(2),
        ),
        (
            "6764001eace80b424d808800000300080000030190f8a155",
            "interlaced, -bf 0",
            100,
            720,
            576,
            Some(0),
        ),
        (
            "67f4000d919b282a33c7c5e022000003000200000300641e28532c",
            "4:4:4, -bf 2",
            244,
            322,
            182,
            Some(2),
        ),
        (
            "6764000cacb40a0cfcf808800000030080000019478a1550",
            "-tune zerolatency",
            100,
            320,
            180,
            Some(0),
        ),
        (
            "6764100cacb82833f3e0220000030002000003006408",
            "-g 1",
            100,
            320,
            180,
            Some(0),
        ),
        (
            "6764001eacd940a02ff9701100000300010000030032602001e840007a12930c01e2c5b2c0",
            "cqm=jvt:nal-hrd=vbr:bframes=2",
            100,
            640,
            360,
            Some(2),
        ),
    ];
    for (bytes, how, profile, width, height, reorder) in table {
        let sps = Sps::parse(&hex(bytes)).unwrap_or_else(|e| panic!("{how}: {e:?}"));
        assert_eq!(
            (sps.profile_idc, sps.width, sps.height),
            (profile, width, height),
            "{how}"
        );
        assert_eq!(sps.reorder_depth(), reorder, "{how}");
    }
}

#[test]
fn without_a_vui_profile_and_poc_type_decide() {
    let depth = |profile, poc| {
        Sps::parse(&plain_sps(profile, poc, 40, 23))
            .unwrap()
            .reorder_depth()
    };
    assert_eq!(depth(66, 0), Some(0), "Baseline has no B-pictures");
    assert_eq!(depth(77, 2), Some(0), "output order is decoding order");
    assert_eq!(depth(77, 0), None, "only the pictures can say");
    assert_eq!(depth(100, 0), None);
}

#[test]
fn absurd_sizes_are_refused() {
    let size = |w, h| Sps::parse(&plain_sps(66, 0, w, h));
    assert_eq!(size(512, 512).unwrap().width, 8192);
    assert_eq!(
        size(1024, 16),
        Err(SpsError::Size {
            width: 16384,
            height: 256
        })
    );
    assert_eq!(
        size(16, 1 << 30),
        Err(SpsError::Size {
            width: 256,
            height: u32::MAX
        })
    );
    let cropped_away = Bits::default()
        .put(0x67, 8)
        .put(66, 8)
        .put(0, 8)
        .put(31, 8)
        .ue(0)
        .ue(0)
        .ue(2)
        .ue(1)
        .put(0, 1)
        .ue(1)
        .ue(1)
        .put(0b111, 3)
        .ue(900)
        .ue(0)
        .ue(0)
        .ue(0)
        .put(0, 2);
    assert_eq!(Sps::parse(&cropped_away.bytes), Err(SpsError::Malformed));
}

#[test]
fn every_cut_of_an_sps_is_malformed() {
    let whole = hex("6764001eacd940a02ff9701100000300010000030032602001e840007a12930c01e2c5b2c0");
    // The last bytes are the reorder depth and stop bits: up to there nothing may pass.
    for length in 0..whole.len() - 4 {
        assert_eq!(
            Sps::parse(&whole[..length]),
            Err(SpsError::Malformed),
            "{length} bytes"
        );
    }
}

#[test]
fn annexb_is_split_whatever_its_start_codes() {
    let data = [
        0, 0, 0, 1, 9, 0x10, 0, 0, 1, 0x67, 1, 0, 0, 0, 0, 1, 0x65, 0, 0, 3, 1, 0, 0, 1, 0, 0, 1,
        0x41, 7, 0, 0,
    ];
    let units: Vec<_> = annexb_units(&data).collect();
    let expected: [&[u8]; 4] = [&[9, 0x10], &[0x67, 1], &[0x65, 0, 0, 3, 1], &[0x41, 7]];
    assert_eq!(units, expected);
    assert!(is_key(&data));
    assert_eq!(
        annexb_units(&[]).count()
            + annexb_units(&[0, 0]).count()
            + annexb_units(&[1, 2, 3]).count(),
        0
    );
    assert_eq!(annexb_units(&[0, 0, 1]).count(), 0);
    let avcc = annexb_to_avcc(&data);
    assert_eq!(avcc_units(&avcc, 4).unwrap(), expected);
    assert_eq!(
        annexb_units(&avcc_to_annexb(&avcc, 4).unwrap()).collect::<Vec<_>>(),
        expected
    );
}

#[test]
fn avcc_lengths_are_checked() {
    assert_eq!(
        avcc_units(&[0, 0, 0, 2, 0x65], 4),
        Err(AvccError::Malformed)
    );
    assert_eq!(avcc_units(&[0, 0, 0], 4), Err(AvccError::Malformed));
    assert_eq!(
        avcc_units(&[0xff, 0xff, 0xff, 0xff, 1], 4),
        Err(AvccError::Malformed)
    );
    assert_eq!(
        avcc_units(&[0, 0, 0, 0, 0, 0, 0, 1, 5], 4).unwrap(),
        [&[5u8]]
    );
    assert_eq!(
        avcc_units(&[2, 7, 8, 1, 9], 1).unwrap(),
        [&[7u8, 8][..], &[9]]
    );
}

fn config_record(sps: &[u8], pps: &[u8]) -> Vec<u8> {
    let mut record = vec![1, sps[1], sps[2], sps[3], 0xff, 0xe1];
    record.extend_from_slice(&(sps.len() as u16).to_be_bytes());
    record.extend_from_slice(sps);
    record.push(1);
    record.extend_from_slice(&(pps.len() as u16).to_be_bytes());
    record.extend_from_slice(pps);
    record
}

#[test]
fn a_configuration_record_gives_its_sets() {
    let (sps, pps) = (
        hex("674d401eda0280bfe5c044000003000400000300c83c58ba80"),
        hex("68ef0fc8"),
    );
    let record = config_record(&sps, &pps);
    let config = AvcConfig::parse(&record).unwrap();
    assert_eq!(
        (config.length_size, &config.sps[..], &config.pps[..]),
        (4, &[sps][..], &[pps][..])
    );
    for length in 0..record.len() {
        assert_eq!(
            AvcConfig::parse(&record[..length]),
            Err(AvccError::Malformed)
        );
    }
    let mut three = record.clone();
    three[4] = 0xfe;
    assert_eq!(
        AvcConfig::parse(&three),
        Err(AvccError::Malformed),
        "lengths of three bytes"
    );
}

#[test]
fn key_frames_are_given_their_parameter_sets_once() {
    let (sps, pps) = (
        hex("674d401eda0280bfe5c044000003000400000300c83c58ba80"),
        hex("68ef0fc8"),
    );
    let (idr, slice, aud) = (vec![0x65, 0x88], vec![0x41, 0x9a], vec![9, 0x10]);
    let mut sets = ParameterSets::default();
    assert!(!sets.ready());
    sets.observe(&sps).unwrap();
    sets.observe(&pps).unwrap();
    assert!(sets.ready());
    let types = |data: &[u8]| annexb_units(data).map(nal_type).collect::<Vec<_>>();

    let first = sets.complete([&aud[..], &idr]).unwrap();
    assert_eq!(types(&first.data), vec![9, 7, 8, 5]);
    assert_eq!((first.key, first.new_size), (true, Some((640, 360))));

    let next = sets.complete([&slice[..]]).unwrap();
    assert_eq!(
        (types(&next.data), next.key, next.new_size),
        (vec![1], false, None)
    );

    let own = sets.complete([&sps[..], &pps, &idr]).unwrap();
    assert_eq!(types(&own.data), vec![7, 8, 5], "not twice");

    let half = sets.complete([&sps[..], &idr]).unwrap();
    assert_eq!(types(&half.data), vec![7, 8, 5]);

    let bigger = hex("67640028acb403c0113f2e0220000003002000000641e30654");
    let changed = sets.complete([&bigger[..], &pps, &idr]).unwrap();
    assert_eq!(changed.new_size, Some((1920, 1080)));
    assert_eq!(sets.complete([&idr[..]]).unwrap().new_size, None);
}

#[test]
fn a_changing_sps_never_grows_the_memory_and_a_huge_one_is_refused() {
    let mut sets = ParameterSets::default();
    for n in 0..10_000u64 {
        let sps = plain_sps(66, 0, 1 + n % 100, 1 + n % 90);
        let size = sets
            .complete([&sps[..], &[0x68, 0xce, 0x0f], &[0x65, 1]])
            .unwrap()
            .new_size;
        let _ = size.expect("each changes the size");
    }
    // One set of each kind is known: a key frame without its own still carries just two.
    let data = sets.complete([&[0x65u8, 1][..]]).unwrap().data;
    assert_eq!(annexb_units(&data).count(), 3);
    let huge = plain_sps(66, 0, 1024, 1024);
    assert!(matches!(
        sets.complete([&huge[..]]),
        Err(SpsError::Size { width: 16384, .. })
    ));
}
