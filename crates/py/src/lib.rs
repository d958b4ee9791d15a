//! The binding: converts arguments and events, releases the GIL, maps errors. No decisions.

mod core;
mod events;

use pyo3::prelude::*;

#[pymodule]
fn _core(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_class::<core::Core>()?;
    Ok(())
}
