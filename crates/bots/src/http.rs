//! One POST of an offer to a WHIP or WHEP address. Plain HTTP/1.1: load is made on one machine.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// The answer's SDP. `Err`: what went wrong, with the status where there was one.
pub fn post_offer(url: &str, token: &str, sdp: &str) -> Result<String, String> {
    let rest = url
        .strip_prefix("http://")
        .ok_or("only http:// is spoken")?;
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let mut stream = TcpStream::connect(host).map_err(|e| format!("{host}: {e}"))?;
    let io = |e: std::io::Error| e.to_string();
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .map_err(io)?;
    write!(
        stream,
        "POST /{path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/sdp\r\n\
         Authorization: Bearer {token}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{sdp}",
        sdp.len()
    )
    .map_err(io)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).map_err(io)?;
    let text = String::from_utf8_lossy(&answer);
    let (head, body) = text.split_once("\r\n\r\n").ok_or("no HTTP answer")?;
    let status = head.split_whitespace().nth(1).unwrap_or_default();
    if !matches!(status, "200" | "201") {
        return Err(format!("{status}: {}", body.trim()));
    }
    if head
        .to_ascii_lowercase()
        .contains("transfer-encoding: chunked")
    {
        return unchunk(body).ok_or_else(|| "a chunked body that ends early".into());
    }
    Ok(body.to_owned())
}

fn unchunk(mut body: &str) -> Option<String> {
    let mut whole = String::new();
    loop {
        let (size, rest) = body.split_once("\r\n")?;
        let size = usize::from_str_radix(size.trim(), 16).ok()?;
        if size == 0 {
            return Some(whole);
        }
        whole.push_str(rest.get(..size)?);
        body = rest.get(size + 2..)?;
    }
}
