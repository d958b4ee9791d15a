//! What a reader is sent: batches, news between them, and the watermark behind.

use std::collections::BTreeMap;

use super::reader::{Delivery, Interest, OutFrame, Reader, ReaderKey, TrackEvent, TrackView};
use super::track::TrackLog;
use super::{LogStats, Logs, DECIDE_NS};
use crate::types::{flags, TapDemand, TrackId};

/// How far the watermark stays behind now when no source says better.
const IDLE_LAG_NS: i64 = 300_000_000;
/// How long a freshly demanded room waits for the first word of a source.
const FIRST_WORD_NS: i64 = 1_000_000_000;
/// One pass over the tracks takes this much media of each, so that none starves the others.
const SLICE_NS: i64 = 2_000_000_000;
/// No message carries more payload than this (one frame may).
const MESSAGE_BYTES: usize = 4 << 20;

impl Logs {
    /// What `key` is to be sent now, in order, at most about `max_bytes` of payload.
    pub fn collect(&mut self, now: i64, key: ReaderKey, max_bytes: usize) -> Vec<Delivery> {
        self.urgent.remove(&key);
        let Some(reader) = self.readers.get_mut(&key) else {
            return Vec::new();
        };
        let mut out = Collector::new(reader.last_watermark);
        while let Some((id, event, at_ns, cause)) = reader.told.pop_front() {
            if let Some(track) = self.tracks.get(&id) {
                if event == TrackEvent::Start {
                    reader
                        .shown
                        .insert(id, track.config_at(track.first_seq()).0);
                }
                out.push(Delivery::Track {
                    event,
                    track: TrackView::of(track),
                    at_ns,
                    cause,
                });
            }
        }
        reader.starved = false;
        let mut budget = max_bytes;
        while Self::slice(
            &self.tracks,
            reader,
            &mut out,
            &mut budget,
            &mut self.demands,
            &mut self.stats,
        ) {}

        let on_time = reader.next_flush_ns <= now;
        let watermark = self.watermark(now, key).unwrap_or(0);
        let Some(reader) = self.readers.get_mut(&key) else {
            return Vec::new();
        };
        reader.last_watermark = reader.last_watermark.max(watermark);
        if on_time || reader.flush_asked || out.has_frames() {
            out.finish(reader.last_watermark);
            reader.flush_asked = false;
            self.timers.remove(&(reader.next_flush_ns, key));
            reader.next_flush_ns = reader.flush_after(now);
            self.timers.insert((reader.next_flush_ns, key));
        }
        self.stats.frames_out += out.frames_out;
        out.deliveries
    }

    /// Sends of each track up to [`SLICE_NS`] of media from the oldest unsent frame of all.
    /// True when there may be more.
    fn slice(
        tracks: &BTreeMap<TrackId, TrackLog>,
        reader: &mut Reader,
        out: &mut Collector,
        budget: &mut usize,
        demands: &mut Vec<TapDemand>,
        stats: &mut LogStats,
    ) -> bool {
        let mut oldest = i64::MAX;
        for (id, interest) in &reader.tracks {
            let Interest::Reading(reading) = interest else {
                continue;
            };
            let Some(track) = tracks.get(id) else {
                continue;
            };
            let unsent = track.get(reading.next.max(track.first_seq()));
            oldest = oldest.min(unsent.map_or(i64::MAX, |e| e.capture_ns));
        }
        let until = oldest.saturating_add(SLICE_NS);
        let mut more = false;
        let (mut outstanding, credit) = (reader.outstanding, reader.credit);
        let mut starved = false;
        for (id, interest) in &mut reader.tracks {
            let Interest::Reading(reading) = interest else {
                continue;
            };
            let Some(track) = tracks.get(id) else {
                continue;
            };
            loop {
                if reading.next < track.first_seq() {
                    reading.overtaken(track);
                    if reading.need_key {
                        demands.push(TapDemand::Keyframe { track: *id });
                    }
                }
                let Some(entry) = track.get(reading.next) else {
                    break;
                };
                if reading.need_key && entry.flags & flags::KEY == 0 {
                    reading.next += 1;
                    reading.from = reading.next;
                    continue;
                }
                reading.need_key = false;
                if entry.capture_ns > until {
                    more = true;
                    break;
                }
                let size = entry.data.len();
                let warming = reading.next < reading.from;
                if *budget == 0 || (outstanding >= credit && !warming) {
                    starved = true;
                    break;
                }
                if let Some(gap) = reading.take_gap(*id) {
                    stats.overrun_frames += gap.1;
                    out.push(gap.0);
                }
                let (config, info) = track.config_at(reading.next);
                if reader.shown.insert(*id, config) != Some(config) {
                    let view = TrackView {
                        info: info.clone(),
                        ..TrackView::of(track)
                    };
                    out.push(Delivery::Track {
                        event: TrackEvent::Config,
                        track: view,
                        at_ns: entry.capture_ns,
                        cause: None,
                    });
                }
                *budget = budget.saturating_sub(size);
                out.frame(reading.out_frame(*id, entry));
                if !warming && reader.durable {
                    reading.sent.push_back((reading.next, size));
                    reading.outstanding += size;
                    outstanding += size;
                }
                reading.first_pending = false;
                reading.next += 1;
            }
            if let Some(stopped) = track.stopped {
                if reading.next >= track.next_seq() && !reading.stop_told {
                    reading.stop_told = true;
                    if let Some(gap) = reading.take_gap(*id) {
                        stats.overrun_frames += gap.1;
                        out.push(gap.0);
                    }
                    out.push(Delivery::Track {
                        event: TrackEvent::ReadOut,
                        track: TrackView::of(track),
                        at_ns: stopped.at_ns,
                        cause: Some(stopped.cause),
                    });
                }
            }
        }
        reader.outstanding = outstanding;
        reader.starved |= starved;
        more && !starved
    }

    /// The time before which `key` will be sent nothing more; `None` when nothing can be said.
    fn watermark(&self, now: i64, key: ReaderKey) -> Option<i64> {
        let reader = self.readers.get(&key)?;
        let room = self.rooms.get(&reader.room)?;
        let mut mark = match room.watermarks.values().min() {
            Some(t) => (*t).min(now),
            None if now - room.demanded_ns < FIRST_WORD_NS && !room.tracks.is_empty() => {
                return None
            }
            None => now - IDLE_LAG_NS,
        };
        for id in &room.tracks {
            let Some(track) = self.tracks.get(id) else {
                continue;
            };
            match reader.tracks.get(id) {
                Some(Interest::Declined) => {}
                Some(Interest::Reading(reading)) => {
                    if let Some(unsent) = track.get(reading.next.max(track.first_seq())) {
                        mark = mark.min(unsent.capture_ns);
                    } else if reading.first_pending
                        && track.stopped.is_none()
                        && now - reading.since_ns < DECIDE_NS
                    {
                        return None;
                    }
                }
                None if reader.may_decide(now, track) => match track.get(track.first_seq()) {
                    Some(first) => mark = mark.min(first.capture_ns),
                    None if now - reader.opened_ns.max(track.known_ns) < DECIDE_NS => return None,
                    None => {}
                },
                None => {}
            }
        }
        Some(mark)
    }
}

/// Puts frames into batches, and other news between them where they belong.
struct Collector {
    deliveries: Vec<Delivery>,
    frames: Vec<OutFrame>,
    bytes: usize,
    /// Batches before the last one repeat the watermark already known.
    old_watermark: i64,
    frames_out: u64,
}

impl Collector {
    fn new(old_watermark: i64) -> Self {
        Self {
            deliveries: Vec::new(),
            frames: Vec::new(),
            bytes: 0,
            old_watermark,
            frames_out: 0,
        }
    }

    fn has_frames(&self) -> bool {
        self.frames_out > 0
    }

    fn frame(&mut self, frame: OutFrame) {
        if self.bytes + frame.data.len() > MESSAGE_BYTES && !self.frames.is_empty() {
            self.close_batch(self.old_watermark);
        }
        self.bytes += frame.data.len();
        self.frames_out += 1;
        self.frames.push(frame);
    }

    fn push(&mut self, delivery: Delivery) {
        if !self.frames.is_empty() {
            self.close_batch(self.old_watermark);
        }
        self.deliveries.push(delivery);
    }

    fn close_batch(&mut self, watermark_ns: i64) {
        let frames = std::mem::take(&mut self.frames);
        self.bytes = 0;
        self.deliveries.push(Delivery::Batch {
            frames,
            watermark_ns,
        });
    }

    fn finish(&mut self, watermark_ns: i64) {
        self.close_batch(watermark_ns);
    }
}
