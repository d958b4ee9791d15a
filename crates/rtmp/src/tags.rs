//! Media messages (FLV tag bodies) turned into frames: H.264 access units in Annex B and raw AAC
//! frames, on one 64-bit millisecond timeline; and what is refused, with the words for the client.

use roomtape_media::aac::AudioConfig;
use roomtape_media::h264::{avcc_units, AvcConfig, ParameterSets, SpsError, MAX_SIDE};

/// What the client is told about B-frames.
pub const B_FRAMES: &str = "B-frames: set bf=0";
/// What the client is told about H.265.
pub const H265: &str =
    "H.265 is not supported: set the video encoder to H.264 (x264, NVENC H.264, ...)";
const OTHER_VIDEO: &str = "Video codec not supported: set the video encoder to H.264";
const OTHER_AUDIO: &str = "Audio codec not supported: set the audio encoder to AAC";
const CHANNELS: &str = "Audio channels not supported: set 1 or 2";
const BROKEN_VIDEO: &str = "H.264 stream cannot be understood";
const BROKEN_AUDIO: &str = "AAC configuration cannot be understood";

/// A timestamp this far behind the one before is a restart of the sender's clock.
const RESTART_BACK_MS: i64 = 1_000;
/// One that runs ahead of the time of arrival this far is one, too.
const RESTART_AHEAD_MS: i64 = 10_000;

/// A frame in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    pub dts: i64,
    pub pts: i64,
    pub key: bool,
    pub data: Vec<u8>,
}

/// What a media message gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Media {
    Video(Sample),
    /// Comes before the frame that has this size.
    Size {
        width: u32,
        height: u32,
    },
    Audio(Sample),
    /// A first or another configuration; holds for the frames behind it.
    AudioConfig {
        config: AudioConfig,
        extradata: Vec<u8>,
    },
    /// The publisher must be refused with these words.
    Refuse(String),
}

/// What decides about B-frames, besides the SPS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Reorder {
    /// The SPS says there is none: a constant composition time is only an offset.
    Never,
    /// Only the composition times can say.
    #[default]
    Unknown,
}

/// The converter of one publisher.
#[derive(Debug, Default)]
pub struct Tags {
    allow_bframes: bool,
    sets: ParameterSets,
    length_size: Option<usize>,
    reorder: Reorder,
    first_composition: Option<i64>,
    audio: Option<Vec<u8>>,
    clock: Timeline,
    last_video: Option<i64>,
    last_audio: Option<i64>,
}

impl Tags {
    pub fn new(allow_bframes: bool) -> Self {
        Self {
            allow_bframes,
            ..Self::default()
        }
    }

    /// A video message. `now_ms`: time of arrival on any steady clock.
    pub fn video(&mut self, now_ms: i64, timestamp: u32, body: &[u8]) -> Vec<Media> {
        let Some(tag) = VideoTag::parse(body) else {
            return Vec::new();
        };
        match tag {
            VideoTag::Ignored => Vec::new(),
            VideoTag::Unsupported(words) => refuse(words),
            VideoTag::Config(record) => self.video_config(record),
            VideoTag::Frame {
                composition_ms,
                data,
            } => self.video_frame(now_ms, timestamp, composition_ms, data),
        }
    }

    fn video_config(&mut self, record: &[u8]) -> Vec<Media> {
        let Ok(config) = AvcConfig::parse(record) else {
            return refuse(BROKEN_VIDEO);
        };
        self.length_size = Some(config.length_size);
        for unit in config.sps.iter().chain(&config.pps) {
            if let Err(error) = self.sets.observe(unit) {
                return refuse_sps(error);
            }
        }
        self.judge_sps()
    }

    /// Refuses a stream whose SPS announces reordering.
    fn judge_sps(&mut self) -> Vec<Media> {
        match self.sets.sps().map(|sps| sps.reorder_depth()) {
            Some(Some(0)) => self.reorder = Reorder::Never,
            Some(Some(_)) if !self.allow_bframes => return refuse(B_FRAMES),
            _ => self.reorder = Reorder::Unknown,
        }
        Vec::new()
    }

    fn video_frame(
        &mut self,
        now_ms: i64,
        timestamp: u32,
        composition_ms: i64,
        data: &[u8],
    ) -> Vec<Media> {
        let Some(length_size) = self.length_size else {
            // Without a configuration not even the lengths can be read.
            return Vec::new();
        };
        let Ok(units) = avcc_units(data, length_size) else {
            return refuse(BROKEN_VIDEO);
        };
        if units.is_empty() {
            return Vec::new();
        }
        let first = *self.first_composition.get_or_insert(composition_ms);
        let reordered = match self.reorder {
            Reorder::Never => composition_ms != first,
            Reorder::Unknown => composition_ms != 0,
        };
        if reordered && !self.allow_bframes {
            return refuse(B_FRAMES);
        }
        let had = self.sets.sps().copied();
        let whole = match self.sets.complete(units) {
            Ok(whole) => whole,
            Err(error) => return refuse_sps(error),
        };
        if self.sets.sps().copied() != had {
            let refused = self.judge_sps();
            if !refused.is_empty() {
                return refused;
            }
        }
        let mut out = Vec::new();
        if let Some((width, height)) = whole.new_size {
            out.push(Media::Size { width, height });
        }
        let dts = rising(&mut self.last_video, self.clock.extend(now_ms, timestamp));
        out.push(Media::Video(Sample {
            dts,
            pts: dts + composition_ms,
            key: whole.key,
            data: whole.data,
        }));
        out
    }

    /// An audio message.
    pub fn audio(&mut self, now_ms: i64, timestamp: u32, body: &[u8]) -> Vec<Media> {
        let Some((head, rest)) = body.split_first() else {
            return Vec::new();
        };
        if head >> 4 != 10 {
            return refuse(OTHER_AUDIO);
        }
        match rest.split_first() {
            Some((0, record)) => self.audio_config(record),
            Some((1, frame)) if self.audio.is_some() && !frame.is_empty() => {
                let dts = rising(&mut self.last_audio, self.clock.extend(now_ms, timestamp));
                vec![Media::Audio(Sample {
                    dts,
                    pts: dts,
                    key: true,
                    data: frame.to_vec(),
                })]
            }
            _ => Vec::new(),
        }
    }

    fn audio_config(&mut self, record: &[u8]) -> Vec<Media> {
        if self.audio.as_deref() == Some(record) {
            return Vec::new();
        }
        match AudioConfig::parse(record) {
            Ok(config) if config.channels <= 2 => {
                self.audio = Some(record.to_vec());
                let extradata = record.to_vec();
                vec![Media::AudioConfig { config, extradata }]
            }
            Ok(_) | Err(roomtape_media::aac::AacError::Channels) => refuse(CHANNELS),
            Err(_) => refuse(BROKEN_AUDIO),
        }
    }
}

fn refuse(words: &str) -> Vec<Media> {
    vec![Media::Refuse(words.into())]
}

fn refuse_sps(error: SpsError) -> Vec<Media> {
    match error {
        SpsError::Malformed => refuse(BROKEN_VIDEO),
        SpsError::Size { width, height } => refuse(&format!(
            "Picture of {width}x{height}: at most {MAX_SIDE} per side"
        )),
    }
}

/// `dts`, but always later than the one before of the same track.
fn rising(last: &mut Option<i64>, dts: i64) -> i64 {
    let dts = last.map_or(dts, |l| dts.max(l + 1));
    *last = Some(dts);
    dts
}

enum VideoTag<'a> {
    Config(&'a [u8]),
    Frame { composition_ms: i64, data: &'a [u8] },
    Unsupported(&'static str),
    Ignored,
}

impl<'a> VideoTag<'a> {
    /// Classic and enhanced heads (FLV 10.1 E.4.3; Enhanced RTMP v1).
    fn parse(body: &'a [u8]) -> Option<Self> {
        let (head, rest) = body.split_first()?;
        let i24 = |b: &[u8]| i64::from(i32::from_be_bytes([b[0], b[1], b[2], 0]) >> 8);
        if head & 0x80 != 0 {
            let (name, rest) = rest.split_first_chunk::<4>()?;
            return Some(match (name, head & 0x0f) {
                (b"avc1", 0) => VideoTag::Config(rest),
                (b"avc1", 1) => VideoTag::Frame {
                    composition_ms: i24(rest.get(..3)?),
                    data: &rest[3..],
                },
                (b"avc1", 3) => VideoTag::Frame {
                    composition_ms: 0,
                    data: rest,
                },
                (b"avc1", _) => VideoTag::Ignored,
                (b"hvc1" | b"hev1", _) => VideoTag::Unsupported(H265),
                _ => VideoTag::Unsupported(OTHER_VIDEO),
            });
        }
        // Frame type 5 is a command to the player, not a picture.
        match (head >> 4, head & 0x0f) {
            (5, _) => Some(VideoTag::Ignored),
            (_, 7) => {
                let (kind, rest) = rest.split_first()?;
                let time = rest.get(..3)?;
                Some(match kind {
                    0 => VideoTag::Config(&rest[3..]),
                    1 => VideoTag::Frame {
                        composition_ms: i24(time),
                        data: &rest[3..],
                    },
                    _ => VideoTag::Ignored,
                })
            }
            (_, 12) => Some(VideoTag::Unsupported(H265)),
            _ => Some(VideoTag::Unsupported(OTHER_VIDEO)),
        }
    }
}

/// The sender's 32-bit milliseconds as one 64-bit line for sound and picture together; a sender
/// that starts anew is put where it would have been.
#[derive(Debug, Default)]
struct Timeline {
    last: Option<Last>,
    offset: i64,
}

#[derive(Clone, Copy, Debug)]
struct Last {
    raw: u32,
    extended: i64,
    arrived_ms: i64,
}

impl Timeline {
    fn extend(&mut self, now_ms: i64, raw: u32) -> i64 {
        let Some(last) = self.last else {
            self.last = Some(Last {
                raw,
                extended: i64::from(raw),
                arrived_ms: now_ms,
            });
            return i64::from(raw);
        };
        let step = i64::from(raw.wrapping_sub(last.raw) as i32);
        let elapsed = now_ms - last.arrived_ms;
        if step < -RESTART_BACK_MS || step > RESTART_AHEAD_MS.max(elapsed + RESTART_AHEAD_MS) {
            self.offset += elapsed.max(1) - step;
        }
        let extended = last.extended + step;
        self.last = Some(Last {
            raw,
            extended,
            arrived_ms: now_ms,
        });
        extended + self.offset
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        let digit = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
        (0..text.len()).step_by(2).map(digit).collect()
    }

    /// A configuration tag with an SPS of x264 and its PPS.
    fn config(sps: &str) -> Vec<u8> {
        let sps = hex(sps);
        let mut body = vec![0x17, 0, 0, 0, 0, 1, sps[1], sps[2], sps[3], 0xff, 0xe1];
        body.extend_from_slice(&(sps.len() as u16).to_be_bytes());
        body.extend_from_slice(&sps);
        body.extend_from_slice(&[1, 0, 4, 0x68, 0xef, 0x0f, 0xc8]);
        body
    }

    fn frame(key: bool, composition: i32) -> Vec<u8> {
        let mut body = vec![if key { 0x17 } else { 0x27 }, 1];
        body.extend_from_slice(&composition.to_be_bytes()[1..]);
        body.extend_from_slice(&[0, 0, 0, 2, if key { 0x65 } else { 0x41 }, 0x88]);
        body
    }

    const MAIN_BF0: &str = "674d401eda0280bfe5c044000003000400000300c83c58ba80";
    const HIGH_BF3: &str = "6764001facd9405005bb011000000300100000030320f1831960";
    /// Main profile, POC type 0, no VUI: the SPS says nothing about reordering.
    const SILENT: &str = "674d001fe5405017c8";

    fn refused(media: &[Media]) -> Option<&str> {
        match media {
            [Media::Refuse(words)] => Some(words),
            _ => None,
        }
    }

    #[test]
    fn a_stream_without_b_frames_passes() {
        let mut tags = Tags::new(false);
        assert_eq!(tags.video(0, 0, &config(MAIN_BF0)), vec![]);
        let got = tags.video(0, 0, &frame(true, 0));
        assert_eq!(
            got[0],
            Media::Size {
                width: 640,
                height: 360
            }
        );
        let Media::Video(sample) = &got[1] else {
            panic!("{got:?}")
        };
        assert!(sample.key && sample.data.starts_with(&[0, 0, 0, 1, 0x67]));
        assert_eq!(tags.video(40, 40, &frame(false, 0)).len(), 1);
    }

    #[test]
    fn b_frames_are_refused_by_the_sps_or_by_composition_times() {
        let mut tags = Tags::new(false);
        assert_eq!(
            refused(&tags.video(0, 0, &config(HIGH_BF3))),
            Some(B_FRAMES)
        );
        let mut tags = Tags::new(false);
        assert_eq!(
            tags.video(0, 0, &config(SILENT)),
            vec![],
            "nothing known yet"
        );
        assert_eq!(tags.sets.sps().unwrap().reorder_depth(), None);
        assert_eq!(tags.video(0, 0, &frame(true, 0)).len(), 2);
        assert_eq!(
            refused(&tags.video(40, 40, &frame(false, 80))),
            Some(B_FRAMES)
        );
        let mut tags = Tags::new(true);
        assert_eq!(tags.video(0, 0, &config(HIGH_BF3)), vec![]);
        let got = tags.video(0, 0, &frame(true, 80));
        let Media::Video(sample) = &got[1] else {
            panic!("{got:?}")
        };
        assert_eq!((sample.dts, sample.pts), (0, 80));
    }

    #[test]
    fn a_constant_composition_offset_is_no_b_frame_when_the_sps_rules_them_out() {
        let mut tags = Tags::new(false);
        tags.video(0, 0, &config(MAIN_BF0));
        assert_eq!(tags.video(0, 0, &frame(true, 33)).len(), 2);
        assert_eq!(refused(&tags.video(0, 40, &frame(false, 33))), None);
        assert_eq!(
            refused(&tags.video(0, 80, &frame(false, 0))),
            Some(B_FRAMES)
        );
    }

    #[test]
    fn a_negative_composition_time_is_read_as_such() {
        let mut tags = Tags::new(true);
        tags.video(0, 0, &config(HIGH_BF3));
        let got = tags.video(0, 100, &frame(true, -40));
        let Media::Video(sample) = &got[1] else {
            panic!("{got:?}")
        };
        assert_eq!(sample.pts, 60);
    }

    #[test]
    fn other_codecs_are_refused_with_words_that_help() {
        let mut tags = Tags::new(false);
        assert_eq!(refused(&tags.video(0, 0, &[0x1c, 0, 0, 0, 0])), Some(H265));
        assert_eq!(refused(&tags.video(0, 0, b"\x90hvc1\x01")), Some(H265));
        assert_eq!(
            refused(&tags.video(0, 0, b"\x90av01\x01")),
            Some(OTHER_VIDEO)
        );
        assert_eq!(
            refused(&tags.video(0, 0, &[0x12, 0])),
            Some(OTHER_VIDEO),
            "Sorenson"
        );
        assert_eq!(
            refused(&tags.audio(0, 0, &[0x2f, 0])),
            Some(OTHER_AUDIO),
            "MP3"
        );
        assert_eq!(
            refused(&tags.audio(0, 0, &[0xaf, 0, 0x11, 0xb0])),
            Some(CHANNELS),
            "5.1"
        );
        assert_eq!(
            refused(&tags.audio(0, 0, &[0xaf, 0, 0x11])),
            Some(BROKEN_AUDIO)
        );
        assert_eq!(
            refused(&tags.video(0, 0, &config("6742001f"))),
            Some(BROKEN_VIDEO)
        );
        assert_eq!(tags.video(0, 0, &[]), vec![]);
        assert_eq!(tags.video(0, 0, &[0x57, 0]), vec![], "a seek command");
    }

    #[test]
    fn enhanced_heads_of_h264_pass() {
        let mut tags = Tags::new(false);
        let mut head = b"\x90avc1".to_vec();
        head.extend_from_slice(&config(MAIN_BF0)[5..]);
        assert_eq!(tags.video(0, 0, &head), vec![]);
        let mut coded = b"\x91avc1\0\0\0".to_vec();
        coded.extend_from_slice(&frame(true, 0)[5..]);
        assert_eq!(tags.video(0, 0, &coded).len(), 2);
        let mut short = b"\xa3avc1".to_vec();
        short.extend_from_slice(&frame(false, 0)[5..]);
        assert_eq!(tags.video(40, 40, &short).len(), 1);
    }

    #[test]
    fn aac_comes_with_its_configuration_and_changes() {
        let mut tags = Tags::new(false);
        assert_eq!(
            tags.audio(0, 0, &[0xaf, 1, 9, 9]),
            vec![],
            "not without one"
        );
        let first = tags.audio(0, 0, &[0xaf, 0, 0x11, 0x90]);
        assert!(matches!(&first[..], [Media::AudioConfig { config, .. }] if config.is_lc()));
        assert_eq!(
            tags.audio(0, 0, &[0xaf, 0, 0x11, 0x90]),
            vec![],
            "the same again"
        );
        let got = tags.audio(0, 23, &[0xaf, 1, 9, 9]);
        let sample = Sample {
            dts: 23,
            pts: 23,
            key: true,
            data: vec![9, 9],
        };
        assert_eq!(got, vec![Media::Audio(sample)]);
        assert_eq!(tags.audio(0, 30, &[0xaf, 0, 0x12, 0x10]).len(), 1);
    }

    #[test]
    fn time_runs_over_wraps_and_restarts() {
        let mut t = Timeline::default();
        assert_eq!(t.extend(0, u32::MAX - 9), i64::from(u32::MAX) - 9);
        assert_eq!(t.extend(20, 10), i64::from(u32::MAX) + 11);
        assert_eq!(
            t.extend(21, 5),
            i64::from(u32::MAX) + 6,
            "sound a little behind the picture"
        );
        let mut t = Timeline::default();
        assert_eq!(t.extend(0, 100_000), 100_000);
        assert_eq!(
            t.extend(2_000, 0),
            102_000,
            "the sender starts anew, two seconds later"
        );
        assert_eq!(t.extend(2_040, 40), 102_040);
        assert_eq!(
            t.extend(2_050, 3_000_000),
            102_050,
            "a leap far ahead of the time of day"
        );
        let mut t = Timeline::default();
        t.extend(0, 0);
        assert_eq!(t.extend(60_000, 60_000), 60_000, "a true pause is kept");
        assert_eq!(
            t.extend(70_000, 60_020),
            60_020,
            "a stall of the network moves nothing"
        );
    }

    #[test]
    fn frames_of_a_track_never_go_back() {
        let mut tags = Tags::new(false);
        tags.audio(0, 0, &[0xaf, 0, 0x11, 0x90]);
        let times: Vec<_> = [100, 100, 90, 130]
            .iter()
            .flat_map(|t| tags.audio(0, *t, &[0xaf, 1, 1]))
            .map(|m| match m {
                Media::Audio(s) => s.dts,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(times, vec![100, 101, 102, 130]);
    }
}
