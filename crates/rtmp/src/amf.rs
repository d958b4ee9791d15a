//! AMF0, the argument coding of RTMP commands (AMF 0 specification, 2007). Our own, because it
//! meets strangers' bytes first: depth, number of values and sizes are bounded.

/// Objects within objects; a real client needs two.
const MAX_DEPTH: u32 = 16;
/// Values in one message, members and elements included.
const MAX_VALUES: u32 = 1024;

/// A value; what no RTMP command carries becomes `Other`.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Number(f64),
    Boolean(bool),
    String(String),
    /// Members in their order; also ECMA arrays.
    Object(Vec<(String, Value)>),
    Array(Vec<Value>),
    Null,
    Other,
}

impl Value {
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    pub fn as_number(&self) -> Option<f64> {
        match self {
            Value::Number(n) => Some(*n),
            _ => None,
        }
    }

    /// A member of an object.
    pub fn get(&self, name: &str) -> Option<&Value> {
        match self {
            Value::Object(members) => members.iter().find(|(n, _)| n == name).map(|(_, v)| v),
            _ => None,
        }
    }
}

/// Why bytes are no AMF0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AmfError {
    Truncated,
    TooDeep,
    TooMany,
    /// A type marker that cannot stand there.
    Marker(u8),
}

/// All values of a message.
///
/// # Errors
/// See [`AmfError`]; a message that is not understood whole is not understood.
pub fn decode(bytes: &[u8]) -> Result<Vec<Value>, AmfError> {
    let mut reader = Reader {
        rest: bytes,
        values: 0,
    };
    let mut values = Vec::new();
    while !reader.rest.is_empty() {
        values.push(reader.value(0)?);
    }
    Ok(values)
}

struct Reader<'a> {
    rest: &'a [u8],
    values: u32,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], AmfError> {
        if count > self.rest.len() {
            return Err(AmfError::Truncated);
        }
        let (head, rest) = self.rest.split_at(count);
        self.rest = rest;
        Ok(head)
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], AmfError> {
        let (head, rest) = self
            .rest
            .split_first_chunk::<N>()
            .ok_or(AmfError::Truncated)?;
        self.rest = rest;
        Ok(*head)
    }

    fn text(&mut self, length: usize) -> Result<String, AmfError> {
        Ok(String::from_utf8_lossy(self.take(length)?).into_owned())
    }

    fn short_text(&mut self) -> Result<String, AmfError> {
        let length = u16::from_be_bytes(self.fixed()?);
        self.text(usize::from(length))
    }

    fn value(&mut self, depth: u32) -> Result<Value, AmfError> {
        if depth > MAX_DEPTH {
            return Err(AmfError::TooDeep);
        }
        self.values += 1;
        if self.values > MAX_VALUES {
            return Err(AmfError::TooMany);
        }
        let [marker] = self.fixed()?;
        Ok(match marker {
            0x00 => Value::Number(f64::from_be_bytes(self.fixed()?)),
            0x01 => Value::Boolean(self.fixed::<1>()? != [0]),
            0x02 => Value::String(self.short_text()?),
            0x03 => Value::Object(self.members(depth)?),
            0x05 | 0x06 => Value::Null,
            0x07 => {
                self.take(2)?;
                Value::Other
            }
            0x08 => {
                self.take(4)?; // the count is a hint only
                Value::Object(self.members(depth)?)
            }
            0x0a => {
                let count = u32::from_be_bytes(self.fixed()?);
                let mut items = Vec::new();
                for _ in 0..count {
                    items.push(self.value(depth + 1)?);
                }
                Value::Array(items)
            }
            0x0b => {
                self.take(10)?;
                Value::Other
            }
            0x0c | 0x0f => {
                let length = u32::from_be_bytes(self.fixed()?);
                Value::String(self.text(length as usize)?)
            }
            0x0d => Value::Other,
            0x10 => {
                self.short_text()?;
                Value::Object(self.members(depth)?)
            }
            other => return Err(AmfError::Marker(other)),
        })
    }

    fn members(&mut self, depth: u32) -> Result<Vec<(String, Value)>, AmfError> {
        let mut members = Vec::new();
        loop {
            let name = self.short_text()?;
            if name.is_empty() && self.rest.first() == Some(&0x09) {
                self.rest = &self.rest[1..];
                return Ok(members);
            }
            members.push((name, self.value(depth + 1)?));
        }
    }
}

/// The bytes of `values`. Strings longer than 65535 bytes become long strings.
pub fn encode(values: &[Value]) -> Vec<u8> {
    let mut out = Vec::new();
    values.iter().for_each(|value| put(&mut out, value));
    out
}

fn put(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Number(n) => {
            out.push(0x00);
            out.extend_from_slice(&n.to_be_bytes());
        }
        Value::Boolean(b) => out.extend_from_slice(&[0x01, u8::from(*b)]),
        Value::String(text) => match u16::try_from(text.len()) {
            Ok(length) => {
                out.push(0x02);
                out.extend_from_slice(&length.to_be_bytes());
                out.extend_from_slice(text.as_bytes());
            }
            Err(_) => {
                out.push(0x0c);
                out.extend_from_slice(&(text.len() as u32).to_be_bytes());
                out.extend_from_slice(text.as_bytes());
            }
        },
        Value::Object(members) => {
            out.push(0x03);
            for (name, member) in members {
                // Names are ours and short.
                out.extend_from_slice(&(name.len() as u16).to_be_bytes());
                out.extend_from_slice(name.as_bytes());
                put(out, member);
            }
            out.extend_from_slice(&[0, 0, 0x09]);
        }
        Value::Array(items) => {
            out.push(0x0a);
            out.extend_from_slice(&(items.len() as u32).to_be_bytes());
            items.iter().for_each(|item| put(out, item));
        }
        Value::Null | Value::Other => out.push(0x05),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(s: &str) -> Value {
        Value::String(s.into())
    }

    #[test]
    fn what_is_written_is_read() {
        let values = vec![
            text("connect"),
            Value::Number(1.0),
            Value::Object(vec![
                ("app".into(), text("push")),
                ("fpad".into(), Value::Boolean(false)),
                (
                    "inner".into(),
                    Value::Object(vec![("n".into(), Value::Null)]),
                ),
            ]),
            Value::Array(vec![Value::Number(-2.5), text("x")]),
            text(&"y".repeat(70_000)),
        ];
        assert_eq!(decode(&encode(&values)).unwrap(), values);
    }

    #[test]
    fn every_cut_is_truncated() {
        let whole = encode(&[
            text("publish"),
            Value::Object(vec![("a".into(), Value::Number(1.0))]),
        ]);
        let first = encode(&[text("publish")]).len();
        for length in 1..whole.len() {
            let cut = decode(&whole[..length]);
            if length == first {
                assert_eq!(cut.unwrap().len(), 1);
            } else {
                assert_eq!(cut, Err(AmfError::Truncated), "{length}");
            }
        }
    }

    #[test]
    fn endless_nesting_and_endless_arrays_end() {
        let object = [0x03, 0x00, 0x01, b'a'].repeat(100_000);
        assert_eq!(decode(&object), Err(AmfError::TooDeep));
        let array = [0x0a, 0xff, 0xff, 0xff, 0xff].repeat(100_000);
        assert_eq!(decode(&array), Err(AmfError::TooDeep));
        let mut wide = vec![0x0a, 0xff, 0xff, 0xff, 0xff];
        wide.extend(std::iter::repeat_n(0x05, 1 << 20));
        assert_eq!(decode(&wide), Err(AmfError::TooMany));
        assert_eq!(decode(&[0x0e]), Err(AmfError::Marker(0x0e)));
    }
}
