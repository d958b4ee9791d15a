//! Class `Core`; documented in `src/roomtape/_core.pyi`.

use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use roomtape_core::{Command, PeerId, PeerKind, Seat};
use roomtape_io::engine::{Engine, EngineConfig};

use crate::events::to_tuple;

const MEGABYTE: usize = 1 << 20;

#[pyclass(frozen)]
pub struct Core {
    engine: Mutex<Option<Engine>>,
    fd: i32,
    #[pyo3(get)]
    webrtc_addrs: Vec<String>,
    #[pyo3(get)]
    rtmp_port: u16,
}

impl Core {
    fn engine(&self) -> MutexGuard<'_, Option<Engine>> {
        match self.engine.lock() {
            Ok(engine) => engine,
            Err(poisoned) => poisoned.into_inner(),
        }
    }

    fn with<T>(&self, run: impl FnOnce(&Engine) -> T) -> PyResult<T> {
        match self.engine().as_ref() {
            Some(engine) => Ok(run(engine)),
            None => Err(PyRuntimeError::new_err("the core has been stopped")),
        }
    }
}

#[pymethods]
impl Core {
    #[new]
    #[pyo3(signature = (*, boot_id, webrtc_host, webrtc_port, rtmp_host, rtmp_port, tap_path, lanes=1, advertise=Vec::new(),
                        log_max_track_mb=64, log_max_mb=1024, allow_bframes=false, lost_after_ms=5000,
                        rtmp_connections_per_address=256, rtmp_publish_within_ms=10_000))]
    #[allow(clippy::too_many_arguments)]
    fn new(
        py: Python<'_>,
        boot_id: String,
        webrtc_host: String,
        webrtc_port: u16,
        rtmp_host: String,
        rtmp_port: u16,
        tap_path: PathBuf,
        lanes: u16,
        advertise: Vec<String>,
        log_max_track_mb: usize,
        log_max_mb: usize,
        allow_bframes: bool,
        lost_after_ms: u64,
        rtmp_connections_per_address: usize,
        rtmp_publish_within_ms: u64,
    ) -> PyResult<Self> {
        let config = EngineConfig {
            boot_id,
            webrtc_host,
            webrtc_port,
            lanes,
            advertise,
            rtmp_host,
            rtmp_port,
            tap_path,
            log_max_track_bytes: log_max_track_mb * MEGABYTE,
            log_max_bytes: log_max_mb * MEGABYTE,
            allow_bframes,
            rtmp_connections_per_address,
            rtmp_publish_within: Duration::from_millis(rtmp_publish_within_ms),
            lost_after: Duration::from_millis(lost_after_ms),
        };
        let engine = py.detach(|| Engine::start(config))?;
        Ok(Self {
            fd: engine.events().as_raw_fd(),
            webrtc_addrs: engine
                .webrtc_addrs()
                .iter()
                .map(ToString::to_string)
                .collect(),
            rtmp_port: engine.rtmp_port(),
            engine: Mutex::new(Some(engine)),
        })
    }

    fn fileno(&self) -> i32 {
        self.fd
    }

    fn poll<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let events = match self.engine().as_ref() {
            Some(engine) => engine.events().drain(),
            None => Vec::new(),
        };
        let list = PyList::empty(py);
        for event in events {
            list.append(to_tuple(py, event)?)?;
        }
        Ok(list)
    }

    #[pyo3(signature = (ticket, room, user, seat, sdp, *, kind, watch_user=None, watch_stream="main", entered_ns=0))]
    #[allow(clippy::too_many_arguments)]
    fn accept_offer(
        &self,
        ticket: u64,
        room: String,
        user: String,
        seat: &str,
        sdp: String,
        kind: &str,
        watch_user: Option<String>,
        watch_stream: &str,
        entered_ns: i64,
    ) -> PyResult<()> {
        let seat =
            Seat::of(seat).ok_or_else(|| PyValueError::new_err("seat is main, aux or play"))?;
        let kind = match (kind, watch_stream) {
            ("publish", _) => PeerKind::Publish,
            ("play", "main" | "aux") => PeerKind::Play {
                user: watch_user.map(Into::into),
                aux: watch_stream == "aux",
            },
            ("play", _) => return Err(PyValueError::new_err("watch_stream is main or aux")),
            _ => return Err(PyValueError::new_err("kind is publish or play")),
        };
        let command = Command::Offer {
            ticket,
            room: room.as_str().into(),
            user: user.into(),
            seat,
            kind,
            sdp,
            entered_ns,
        };
        self.with(|engine| engine.to_room(&room, command))
    }

    fn patch(&self, ticket: u64, peer: u64, fragment: String) -> PyResult<()> {
        let peer = PeerId(peer);
        let command = Command::Patch {
            ticket,
            peer,
            fragment,
        };
        let known = self.with(|engine| engine.to_peer(peer, command))?;
        if known {
            Ok(())
        } else {
            Err(PyValueError::new_err("no lane has such a peer"))
        }
    }

    fn remove_peer(&self, peer: u64) -> PyResult<()> {
        let peer = PeerId(peer);
        self.with(|engine| {
            engine.to_peer(peer, Command::RemovePeer(peer));
        })
    }

    fn block(&self, room: &str, user: &str, audio: bool, video: bool) -> PyResult<()> {
        self.with(|engine| engine.block(room, user, audio, video))
    }

    fn dismiss(&self, room: &str) -> PyResult<()> {
        self.with(|engine| engine.dismiss(room))
    }

    fn rtmp_accept(&self, conn: u64, room: &str, user: &str, entered_ns: i64) -> PyResult<()> {
        self.with(|engine| engine.rtmp_accept(conn, room, user, entered_ns))
    }

    fn rtmp_refuse(&self, conn: u64, description: String) -> PyResult<()> {
        self.with(|engine| engine.rtmp_refuse(conn, description))
    }

    fn rtmp_close(&self, conn: u64) -> PyResult<()> {
        self.with(|engine| engine.rtmp_close(conn))
    }

    fn forget_reader(&self, name: &str) -> PyResult<()> {
        self.with(|engine| engine.forget_reader(name))
    }

    fn keyframe(&self, track: u64) -> PyResult<()> {
        self.with(|engine| engine.keyframe(track))
    }

    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let (lanes, log) = self.with(|engine| (engine.lane_stats(), engine.log_stats()))?;
        let result = PyDict::new(py);
        let list = PyList::empty(py);
        for lane in lanes {
            let entry = PyDict::new(py);
            entry.set_item("peers", lane.peers)?;
            entry.set_item("tracks", lane.tracks)?;
            entry.set_item("datagrams_in", lane.datagrams_in)?;
            entry.set_item("datagrams_out", lane.datagrams_out)?;
            entry.set_item("dropped", lane.dropped)?;
            list.append(entry)?;
        }
        result.set_item("lanes", list)?;
        let entry = PyDict::new(py);
        entry.set_item("bytes", log.bytes)?;
        entry.set_item("tracks", log.tracks)?;
        entry.set_item("readers", log.readers)?;
        entry.set_item("frames_in", log.frames_in)?;
        entry.set_item("frames_out", log.frames_out)?;
        entry.set_item("overrun_frames", log.overrun_frames)?;
        result.set_item("log", entry)?;
        Ok(result)
    }

    fn stop(&self, py: Python<'_>) {
        let engine = self.engine().take();
        if let Some(mut engine) = engine {
            py.detach(|| engine.stop());
        }
    }
}
