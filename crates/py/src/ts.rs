//! Transport streams; documented in `src/roomtape/_core.pyi`.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyBytes;

use std::collections::BTreeMap;

use roomtape_media::ts::{self, Counters, Unit};

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
            data,
        })
        .collect();
    let out = ts::mux(&units, &mut counters).map_err(|e| PyValueError::new_err(e.to_string()))?;
    Ok((PyBytes::new(py, &out), counters))
}

#[pyfunction]
pub fn ts_inspect(data: &[u8], counters: Counters) -> PyResult<BTreeMap<u16, (u64, u64, i64)>> {
    match ts::inspect(data, &counters) {
        Ok(content) => Ok(content
            .into_iter()
            .map(|(pid, of)| (pid, (of.pes, of.es_bytes, of.first_pts)))
            .collect()),
        Err(broken) => Err(PyValueError::new_err(broken.to_string())),
    }
}
