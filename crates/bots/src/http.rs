//! Offers to a WHIP or WHEP address, and the end of a session. Plain HTTP/1.1: load is made on one machine.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// An answered offer.
pub struct Answered {
    pub sdp: String,
    /// Address of the session, as the server wrote it.
    pub location: Option<String>,
}

/// Offers. `Err`: what went wrong, with the status where there was one.
pub fn post_offer(url: &str, token: &str, sdp: &str) -> Result<Answered, String> {
    let (status, head, body) = request("POST", url, token, sdp)?;
    if !matches!(status.as_str(), "200" | "201") {
        return Err(format!("{status}: {}", body.trim()));
    }
    let location = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("location")
            .then(|| value.trim().to_owned())
    });
    Ok(Answered {
        sdp: body,
        location,
    })
}

/// Ends the session at `location`, an address or a path at the server of `url`.
pub fn delete(url: &str, location: &str, token: &str) -> Result<(), String> {
    let whole = if location.starts_with("http://") {
        location.to_owned()
    } else {
        let host = url.split('/').take(3).collect::<Vec<_>>().join("/");
        host + location
    };
    let (status, _, body) = request("DELETE", &whole, token, "")?;
    if !status.starts_with('2') {
        return Err(format!("{status}: {}", body.trim()));
    }
    Ok(())
}

/// Status, head and body.
fn request(
    method: &str,
    url: &str,
    token: &str,
    sdp: &str,
) -> Result<(String, String, String), String> {
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
        "{method} /{path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/sdp\r\n\
         Authorization: Bearer {token}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{sdp}",
        sdp.len()
    )
    .map_err(io)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).map_err(io)?;
    let text = String::from_utf8_lossy(&answer);
    let (head, body) = text.split_once("\r\n\r\n").ok_or("no HTTP answer")?;
    let status = head.split_whitespace().nth(1).unwrap_or_default();
    let chunked = head
        .to_ascii_lowercase()
        .contains("transfer-encoding: chunked");
    let body = if chunked {
        unchunk(body).ok_or("a chunked body that ends early")?
    } else {
        body.to_owned()
    };
    Ok((status.to_owned(), head.to_owned(), body))
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
