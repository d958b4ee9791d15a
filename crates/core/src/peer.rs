//! One WebRTC client: str0m and what belongs to it.

use std::net::SocketAddr;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::Arc;
use std::time::Instant;

use rustc_hash::FxHashMap;
use str0m::media::{Mid, Pt};
use str0m::net::Protocol;
use str0m::rtp::Ssrc;
use str0m::{Event, Input, Output, Rtc};

use roomtape_media::{Kind, TrackId};

use crate::clock::PeerClock;
use crate::forward::Rebase;
use crate::hold::Hold;
use crate::sdp::{Offer, Role};

/// Which of a user's places in the room a session takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Seat {
    /// Camera and microphone.
    Main,
    /// The second picture.
    Aux,
    /// A viewer.
    Play,
}

impl Seat {
    /// The word used towards Python.
    pub fn as_str(self) -> &'static str {
        match self {
            Seat::Main => "main",
            Seat::Aux => "aux",
            Seat::Play => "play",
        }
    }

    /// The seat of this name.
    pub fn of(name: &str) -> Option<Seat> {
        [Seat::Main, Seat::Aux, Seat::Play]
            .into_iter()
            .find(|s| s.as_str() == name)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Not connected yet; closed if it stays so.
    Connecting,
    Up,
    /// Silent; its tracks have stopped. It may come back.
    Lost,
}

/// Where a viewer's m-line gets its packets from.
pub struct Slot {
    pub mid: Mid,
    pub picture: bool,
    pub track: Option<TrackId>,
    pub payload_type: Option<Pt>,
    pub rebase: Rebase,
    /// The stream (and the one that repairs it) that has sent nothing yet. Until it does str0m has no such
    /// stream: it would report of it, and say that its RTP time is 0.
    pub unsent: Option<(Ssrc, Option<Ssrc>)>,
}

impl Slot {
    /// Takes back what an offer made of this slot, if nothing was sent on it.
    pub fn withdraw(&self, rtc: &mut Rtc) {
        let mut api = rtc.direct_api();
        let made = self.unsent.and(api.stream_tx_by_mid(self.mid, None));
        if let Some(ssrc) = made.map(|stream| stream.ssrc()) {
            api.remove_stream_tx(ssrc);
        }
    }
}

/// What a viewer came to see.
#[derive(Clone, Debug)]
pub struct Watch {
    /// `None`: the first publisher of the room.
    pub user: Option<Arc<str>>,
    /// The second picture instead of the first.
    pub aux: bool,
    /// Whom `None` was resolved to.
    pub resolved: Option<Arc<str>>,
}

/// One incoming stream of a publisher.
pub struct Incoming {
    pub kind: Kind,
    pub track: Option<TrackId>,
    /// Where missing packets are asked for: what waits for them.
    pub hold: Option<Hold>,
}

pub struct Peer {
    pub rtc: Rtc,
    pub room: Arc<str>,
    pub user: Arc<str>,
    pub seat: Seat,
    pub role: Role,
    pub entered_ns: i64,
    pub offer: Offer,
    pub state: State,
    pub created: Instant,
    pub last_heard: Instant,
    /// When str0m wants to be called again.
    pub deadline: Instant,
    /// The time under which it stands in the lane's queue; other entries of it are stale.
    pub queued: Option<Instant>,
    pub ufrags: Vec<String>,
    pub addresses: Vec<(Protocol, SocketAddr)>,
    /// Publisher: what each m-line carries.
    pub kinds: Vec<(Mid, Kind)>,
    pub incoming: FxHashMap<Ssrc, Incoming>,
    pub clock: PeerClock,
    /// Viewer.
    pub watch: Watch,
    pub slots: Vec<Slot>,
    /// Something was written; str0m must be driven before the batch ends.
    pub touched: bool,
    /// A stream's first packets wait for the next turn.
    pub begins: bool,
    /// Tests of isolation: panic at the next turn.
    pub sabotaged: bool,
}

/// True for RTCP that begins with a sender report: the first header is readable also encrypted.
fn is_sender_report(datagram: &[u8]) -> bool {
    const SENDER_REPORT: u8 = 200;
    datagram.get(1) == Some(&SENDER_REPORT)
}

/// Why a peer cannot go on.
pub enum Death {
    /// The library broke an assumption of its own.
    Panic,
    Error(String),
}

impl Peer {
    /// Drives str0m: one input, then everything it has to say. Panics inside are this peer's death.
    pub fn drive(
        &mut self,
        input: Input<'_>,
        transmits: &mut Vec<str0m::net::Transmit>,
        events: &mut Vec<Event>,
    ) -> Result<(), Death> {
        let connected = self.rtc.is_connected();
        let sabotaged = self.sabotaged;
        // The report that str0m makes at once of a new stream says that its RTP time is 0.
        let hushed = self.begins && matches!(input, Input::Timeout(_));
        self.begins &= !hushed;
        let rtc = &mut self.rtc;
        let run = catch_unwind(AssertUnwindSafe(|| {
            assert!(!sabotaged, "sabotaged by a test");
            let input_result = rtc.handle_input(input);
            let deadline = loop {
                match rtc.poll_output() {
                    Ok(Output::Timeout(t)) => break Ok(t),
                    Ok(Output::Transmit(t)) if hushed && is_sender_report(&t.contents) => {}
                    Ok(Output::Transmit(t)) => transmits.push(t),
                    Ok(Output::Event(e)) => events.push(e),
                    Err(e) => break Err(e.to_string()),
                }
            };
            // Garbage from the network is no reason to end a session that stands: an error of
            // the input matters only while the handshake runs.
            match (deadline, input_result) {
                (Ok(_), Err(e)) if !connected => Err(e.to_string()),
                (deadline, _) => deadline,
            }
        }));
        match run {
            Ok(Ok(deadline)) => {
                self.deadline = deadline;
                Ok(())
            }
            Ok(Err(text)) => Err(Death::Error(text)),
            Err(_) => Err(Death::Panic),
        }
    }

    /// The kind of an m-line of a publisher.
    pub fn kind_of(&self, mid: Mid) -> Option<Kind> {
        self.kinds.iter().find(|(m, _)| *m == mid).map(|(_, k)| *k)
    }
}
