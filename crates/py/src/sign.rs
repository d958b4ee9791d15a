//! Signed requests; documented in `src/roomtape/_core.pyi`.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyString, PyTuple};

use roomtape_sign::{fits, sha256, Request, Signed};

const LONG: usize = 64 << 10; // a payload that takes long enough to let others run meanwhile

/// Bytes of ISO 8859-1; what it has no character for becomes a question mark.
fn latin1(text: &Bound<'_, PyAny>) -> PyResult<Vec<u8>> {
    let text = text.cast::<PyString>()?.to_str()?;
    Ok(if text.is_ascii() {
        text.as_bytes().to_vec()
    } else {
        text.chars()
            .map(|char| u8::try_from(char).unwrap_or(b'?'))
            .collect()
    })
}

#[pyfunction]
#[pyo3(signature = (key, signature, beginning, method, path, query, headers, signed, payload, hosts, /))]
#[allow(clippy::too_many_arguments)] // a call of another language, as cheap as it can be
pub fn tc3_fits(
    py: Python<'_>,
    key: &[u8],
    signature: &str,
    beginning: &str,
    method: &str,
    path: &Bound<'_, PyString>,
    query: &[u8],
    headers: &Bound<'_, PyDict>,
    signed: &Bound<'_, PyTuple>,
    payload: &Bound<'_, PyBytes>,
    hosts: &Bound<'_, PyTuple>,
) -> PyResult<Option<bool>> {
    let mut taken = Vec::with_capacity(signed.len());
    for name in signed.iter() {
        let bytes = latin1(&name)?;
        let value = if bytes == b"host" {
            None
        } else if let Some(value) = headers.get_item(&name)? {
            Some(latin1(&value)?)
        } else {
            return Ok(None);
        };
        taken.push((bytes, value));
    }
    let signed: Vec<Signed<'_>> = taken
        .iter()
        .map(|(name, value)| Signed {
            name,
            value: value.as_deref(),
        })
        .collect();
    let payload = payload.as_bytes();
    let payload = if payload.len() < LONG {
        sha256(payload)
    } else {
        py.detach(|| sha256(payload))
    };
    let path = latin1(path.as_any())?;
    let request = Request {
        method: method.as_bytes(),
        path: &path,
        query,
        headers: &signed,
        payload,
        beginning: beginning.as_bytes(),
    };
    let mut broken = None;
    let texts = hosts.iter().map_while(|host| match latin1(&host) {
        Ok(text) => Some(text),
        Err(error) => {
            broken = Some(error);
            None
        }
    });
    let verdict = fits(key, signature.as_bytes(), &request, texts);
    broken.map_or(Ok(Some(verdict)), Err)
}

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
        let name = name.cast::<PyBytes>()?.as_bytes();
        let value = from_latin1(py, value.cast::<PyBytes>()?.as_bytes());
        match known(py, name) {
            Some(name) => texts.set_item(name, value)?,
            None => texts.set_item(from_latin1(py, name), value)?,
        }
    }
    Ok(texts)
}
