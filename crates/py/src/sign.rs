//! Signed requests; documented in `src/roomtape/_core.pyi`.

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyString, PyTuple};

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
