//! Events as tuples whose first element is their name.

use pyo3::prelude::*;
use pyo3::types::PyTuple;

use roomtape_io::event::CoreEvent;

/// The tuple of an event; its elements are listed in `src/roomtape/_core.pyi`.
pub fn to_tuple<'py>(py: Python<'py>, event: CoreEvent) -> PyResult<Bound<'py, PyTuple>> {
    match event {
        CoreEvent::Answer { ticket, peer, sdp } => ("answer", ticket, peer, sdp).into_pyobject(py),
        CoreEvent::Refused {
            ticket,
            reason,
            message,
        } => ("refused", ticket, reason, message).into_pyobject(py),
        CoreEvent::Patched { ticket, fragment } => ("patched", ticket, fragment).into_pyobject(py),
        CoreEvent::PeerUp {
            peer,
            room,
            user,
            seat,
        } => ("peer_up", peer, &*room, &*user, seat).into_pyobject(py),
        CoreEvent::PeerLost {
            peer,
            room,
            user,
            seat,
        } => ("peer_lost", peer, &*room, &*user, seat).into_pyobject(py),
        CoreEvent::PeerClosed {
            peer,
            room,
            user,
            seat,
            reason,
        } => ("peer_closed", peer, &*room, &*user, seat, reason).into_pyobject(py),
        CoreEvent::TrackStart {
            track,
            room,
            user,
            kind,
            codec,
            at_ns,
        } => (
            "track_start",
            track.0,
            &*room,
            &*user,
            kind.as_str(),
            codec.as_str(),
            at_ns,
        )
            .into_pyobject(py),
        CoreEvent::TrackStop {
            track,
            room,
            user,
            kind,
            at_ns,
            cause,
        } => (
            "track_stop",
            track.0,
            &*room,
            &*user,
            kind.as_str(),
            at_ns,
            cause.as_str(),
        )
            .into_pyobject(py),
        CoreEvent::TrackSize {
            track,
            room,
            user,
            kind,
            width,
            height,
            at_ns,
        } => (
            "track_size",
            track.0,
            &*room,
            &*user,
            kind.as_str(),
            width,
            height,
            at_ns,
        )
            .into_pyobject(py),
        CoreEvent::RtmpPublish {
            conn,
            app,
            key,
            remote,
        } => ("rtmp_publish", conn, app, key, remote).into_pyobject(py),
        CoreEvent::RtmpClosed {
            conn,
            room,
            user,
            reason,
        } => ("rtmp_closed", conn, &*room, &*user, reason).into_pyobject(py),
        CoreEvent::Stats(tracks) => {
            let rows: Vec<_> = tracks
                .iter()
                .map(|t| (t.track.0, t.packets, t.bytes, t.lost, t.jitter_ms))
                .collect();
            ("stats", rows).into_pyobject(py)
        }
        CoreEvent::Log { level, text } => ("log", level, text).into_pyobject(py),
    }
}
