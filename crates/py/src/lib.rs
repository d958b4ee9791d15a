//! The binding: converts arguments and events, releases the GIL, maps errors. No decisions.

mod core;
mod events;
mod http;
mod sign;
mod ts;

use pyo3::prelude::*;

#[pymodule]
fn _core(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_class::<core::Core>()?;
    m.add_function(wrap_pyfunction!(ts::ts_mux, m)?)?;
    m.add_function(wrap_pyfunction!(ts::ts_inspect, m)?)?;
    m.add_function(wrap_pyfunction!(ts::ts_piece, m)?)?;
    m.add_function(wrap_pyfunction!(http::header_texts, m)?)?;
    m.add_function(wrap_pyfunction!(http::plain_request, m)?)?;
    m.add_function(wrap_pyfunction!(sign::tc3_fits, m)?)?;
    Ok(())
}
