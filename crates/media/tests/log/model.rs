//! Random walks beside a model of one durable reader.

use std::collections::BTreeMap;

use crate::bench::*;

/// Numbers that look random and are the same each time (splitmix64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }
}

/// One durable reader as a worker would be: it knows what it has made safe and expects the rest.
#[derive(Default)]
struct Model {
    key: Option<ReaderKey>,
    /// Per track: next fresh number expected, and made safe.
    expected: BTreeMap<TrackId, u64>,
    safe: BTreeMap<TrackId, u64>,
    watermark: i64,
    lost: u64,
    fresh: u64,
}

impl Model {
    fn take(&mut self, deliveries: &[Delivery], content: &BTreeMap<(TrackId, u64), i64>) {
        for delivery in deliveries {
            match delivery {
                Delivery::Gap {
                    track, from, to, ..
                } => {
                    let expected = self.expected.get_mut(track).unwrap();
                    assert_eq!(*expected, *from, "a gap begins where the frames ended");
                    self.lost += to - from;
                    *expected = *to;
                }
                Delivery::Track { .. } => {}
                Delivery::Batch {
                    frames,
                    watermark_ns,
                } => {
                    for f in frames {
                        assert_eq!(content[&(f.track, f.seq)], f.pts, "another frame's content");
                        let expected = self.expected.get_mut(&f.track).unwrap();
                        if f.flags & flags::PREROLL != 0 {
                            assert!(f.seq < *expected);
                            continue;
                        }
                        assert_eq!(f.seq, *expected, "a hole or a double");
                        assert!(f.capture_ns >= self.watermark, "behind the watermark");
                        *expected += 1;
                        self.fresh += 1;
                    }
                    assert!(*watermark_ns >= self.watermark);
                    self.watermark = *watermark_ns;
                }
            }
        }
    }
}

fn walk(seed: u64, limits: Limits) -> (u64, u64, LogStats) {
    let mut dice = Dice(seed);
    let mut b = Bench::new(limits);
    let mut content = BTreeMap::new();
    let mut sent: BTreeMap<TrackId, u64> = BTreeMap::from([(SOUND, 0), (PICTURE, 0)]);
    let mut model = Model::default();
    let mut keys = 10;
    for step in 0..3_000i64 {
        b.now += (dice.roll(30) as i64) * MS;
        let at_ms = b.now / MS;
        if model.key.is_none() && (step == 0 || dice.roll(4) == 0) {
            let key = ReaderKey(keys);
            keys += 1;
            b.logs.open(
                b.now,
                key,
                OpenSpec {
                    credit: 50_000,
                    ..spec("task", true)
                },
            );
            model.key = Some(key);
            // A new connection starts its watermark anew, as a new worker would.
            model.watermark = 0;
            for track in [SOUND, PICTURE] {
                let from = model.safe.get(&track).copied();
                b.logs
                    .read(b.now, key, track, from.map_or(-1, |s| s as i64), 220 * MS)
                    .unwrap();
                model.expected.insert(track, from.unwrap_or(0));
            }
        }
        match dice.roll(10) {
            0..=4 => {
                for (track, key) in [(SOUND, true), (PICTURE, sent[&PICTURE].is_multiple_of(17))] {
                    let seq = sent.get_mut(&track).unwrap();
                    content.insert((track, *seq), at_ms * 90);
                    *seq += 1;
                    let bits = if key { flags::KEY } else { 0 };
                    let size = dice.roll(2_000) as usize;
                    b.logs
                        .input(b.now, TapInput::Frame(frame_of(track, at_ms, bits, size)));
                }
                let (room, source) = (ROOM.into(), Source::Lane(0));
                b.logs.input(
                    b.now,
                    TapInput::Watermark {
                        room,
                        t_ns: b.now,
                        source,
                    },
                );
            }
            5 | 6 => {
                if let Some(key) = model.key {
                    let budget = dice.roll(40_000) as usize;
                    let got = b.logs.collect(b.now, key, budget);
                    model.take(&got, &content);
                }
            }
            7 | 8 => {
                if let Some(key) = model.key {
                    let acks: Vec<_> = model.expected.iter().map(|(t, s)| (*t, *s)).collect();
                    b.logs.ack(b.now, key, &acks);
                    model.safe.extend(acks);
                }
            }
            _ => {
                b.logs.tick(b.now);
                if let (Some(key), 0) = (model.key, dice.roll(5)) {
                    b.logs.detach(b.now, key);
                    model.key = None;
                }
            }
        }
        let held = b.logs.stats().bytes;
        assert!(held <= limits.max_bytes, "seed {seed}: {held} bytes held");
    }
    (model.fresh, model.lost, b.logs.stats())
}

#[test]
fn any_walk_delivers_each_frame_once_in_order_or_names_the_gap() {
    for seed in 0..60 {
        let (fresh, lost, _) = walk(seed, ROOMY);
        assert!(fresh > 500, "seed {seed}: only {fresh} frames came through");
        assert_eq!(lost, 0, "seed {seed}: there was room for all");
    }
}

#[test]
fn any_walk_within_small_caps_names_every_gap() {
    let small = Limits {
        max_track_bytes: 30_000,
        max_bytes: 45_000,
    };
    let mut lost_anywhere = 0;
    for seed in 100..160 {
        let (fresh, lost, stats) = walk(seed, small);
        assert!(fresh > 100, "seed {seed}");
        assert!(stats.overrun_frames >= lost, "seed {seed}");
        lost_anywhere += lost;
    }
    assert!(
        lost_anywhere > 0,
        "the caps were never reached: the test tests nothing"
    );
}
