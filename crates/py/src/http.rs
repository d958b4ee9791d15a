//! Requests and their headers; documented in `src/roomtape/_core.pyi`.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyString, PyTuple};

use roomtape_http::{plain, Plain, MAX_NAME};

/// The name of a header as a text that is made once, for those that nearly every request has.
fn known<'py>(py: Python<'py>, name: &[u8]) -> Option<&'py Bound<'py, PyString>> {
    Some(match name {
        b"host" => intern!(py, "host"),
        b"accept" => intern!(py, "accept"),
        b"accept-encoding" => intern!(py, "accept-encoding"),
        b"authorization" => intern!(py, "authorization"),
        b"connection" => intern!(py, "connection"),
        b"content-length" => intern!(py, "content-length"),
        b"content-type" => intern!(py, "content-type"),
        b"user-agent" => intern!(py, "user-agent"),
        b"x-tc-action" => intern!(py, "x-tc-action"),
        b"x-tc-content-sha256" => intern!(py, "x-tc-content-sha256"),
        b"x-tc-language" => intern!(py, "x-tc-language"),
        b"x-tc-region" => intern!(py, "x-tc-region"),
        b"x-tc-requestclient" => intern!(py, "x-tc-requestclient"),
        b"x-tc-timestamp" => intern!(py, "x-tc-timestamp"),
        b"x-tc-token" => intern!(py, "x-tc-token"),
        b"x-tc-traceid" => intern!(py, "x-tc-traceid"),
        b"x-tc-version" => intern!(py, "x-tc-version"),
        _ => return None,
    })
}

fn from_latin1<'py>(py: Python<'py>, bytes: &[u8]) -> Bound<'py, PyString> {
    match std::str::from_utf8(bytes) {
        Ok(text) if text.is_ascii() => PyString::new(py, text),
        _ => PyString::new(
            py,
            &bytes
                .iter()
                .map(|byte| char::from(*byte))
                .collect::<String>(),
        ),
    }
}

/// Note a header; when they are noted from the last to the first, the first of a name stays.
fn set_first(py: Python<'_>, texts: &Bound<'_, PyDict>, name: &[u8], value: &[u8]) -> PyResult<()> {
    let value = from_latin1(py, value);
    match known(py, name) {
        Some(name) => texts.set_item(name, value),
        None => texts.set_item(from_latin1(py, name), value),
    }
}

#[pyfunction]
#[pyo3(signature = (headers, /))]
pub fn header_texts<'py>(
    py: Python<'py>,
    headers: &Bound<'py, PyList>,
) -> PyResult<Bound<'py, PyDict>> {
    let texts = PyDict::new(py);
    for place in (0..headers.len()).rev() {
        let header = headers.get_item(place)?;
        let header = header.cast::<PyTuple>()?;
        let (name, value) = (header.get_item(0)?, header.get_item(1)?);
        let (name, value) = (name.cast::<PyBytes>()?, value.cast::<PyBytes>()?);
        set_first(py, &texts, name.as_bytes(), value.as_bytes())?;
    }
    Ok(texts)
}

#[pyfunction]
#[pyo3(signature = (data, /))]
pub fn plain_request<'py>(py: Python<'py>, data: &[u8]) -> PyResult<Option<Bound<'py, PyAny>>> {
    let request = match plain(data) {
        None => return Ok(None),
        Some(Plain::Begun { target, length }) => {
            return Ok(Some(
                (from_latin1(py, target), length)
                    .into_pyobject(py)?
                    .into_any(),
            ))
        }
        Some(Plain::Whole(request)) => request,
    };
    let headers = PyDict::new(py);
    let mut lower = [0; MAX_NAME]; // no allocation per name
    for (name, value) in request.headers.iter().rev() {
        let lower = &mut lower[..name.len()];
        lower.copy_from_slice(name);
        lower.make_ascii_lowercase();
        set_first(py, &headers, lower, value)?;
    }
    let told = (
        from_latin1(py, request.target),
        headers,
        PyBytes::new(py, request.body),
        request.keep_alive,
    );
    Ok(Some(told.into_pyobject(py)?.into_any()))
}
