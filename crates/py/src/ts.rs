//! Transport streams; documented in `src/roomtape/_core.pyi`.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyBytes;

use std::collections::BTreeMap;

use roomtape_media::ts::{self, Batch, Content, Counters, Head, Stream, Unit};

type Row = (u16, i64, i64, bool, PyBackedBytes);

#[pyfunction]
pub fn ts_mux<'py>(
    py: Python<'py>,
    units: Vec<Row>,
    mut counters: Counters,
) -> PyResult<(Bound<'py, PyBytes>, Counters)> {
    let units: Vec<Unit<'_>> = units
        .iter()
        .map(|(pid, pts, dts, key, data)| Unit {
            pid: *pid,
            pts: *pts,
            dts: *dts,
            key: *key,
            head: Head::default(),
            data,
        })
        .collect();
    let out = ts::mux(&units, &mut counters).map_err(|e| PyValueError::new_err(e.to_string()))?;
    Ok((PyBytes::new(py, &out), counters))
}

type Contents = BTreeMap<u16, (u64, u64, i64)>;

fn contents(of: BTreeMap<u16, Content>) -> Contents {
    of.into_iter()
        .map(|(pid, of)| (pid, (of.pes, of.es_bytes, of.first_pts)))
        .collect()
}

#[pyfunction]
pub fn ts_inspect(data: &[u8], counters: Counters) -> PyResult<Contents> {
    match ts::inspect(data, &counters) {
        Ok(content) => Ok(contents(content)),
        Err(broken) => Err(PyValueError::new_err(broken.to_string())),
    }
}

type Made<'py> = (
    Bound<'py, PyBytes>,
    Counters,
    Contents,
    usize,
    i128,
    Option<Bound<'py, PyBytes>>,
    Option<u32>,
);

#[pyfunction]
pub fn ts_piece<'py>(
    py: Python<'py>,
    batches: Vec<(PyBackedBytes, PyBackedBytes)>,
    streams: BTreeMap<u32, (i64, Option<u64>)>,
    from_ns: i128,
    to_ns: i128,
    mut counters: Counters,
) -> PyResult<Made<'py>> {
    let batches: Vec<Batch<'_>> = batches
        .iter()
        .map(|(table, payloads)| Batch { table, payloads })
        .collect();
    let streams = streams
        .into_iter()
        .map(|(id, (time_base_den, adts))| {
            (
                id,
                Stream {
                    time_base_den,
                    adts,
                },
            )
        })
        .collect();
    let piece = ts::piece(&batches, &streams, from_ns, to_ns, &mut counters)
        .ok_or_else(|| PyValueError::new_err("a batch whose sizes do not add up"))?;
    Ok((
        PyBytes::new(py, &piece.data),
        counters,
        contents(piece.meant),
        piece.packets,
        piece.end_ns,
        piece.key.map(|key| PyBytes::new(py, key)),
        piece.sound,
    ))
}
