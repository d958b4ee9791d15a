//! A bad network between WebRTC clients and a server, from a seed.
//!
//!     roomtape-link SERVER:PORT --seed 7 --loss 5 --delay-ms 40
//!
//! The first line on stdout is the address to send to. When stdin ends it prints what became of the
//! datagrams of each direction as one JSON object, and is done. Options: --loss PERCENT; --burst N (lost
//! in stretches of N on average); --delay-ms; --jitter-ms; --reorder PERCENT, --reorder-ms;
//! --duplicate PERCENT; --rate-kbps, --queue-ms; --cut FROM_S:SECONDS (may be repeated); --calm-s (no loss
//! before). Times count from a client's first datagram.

use std::time::Duration;

use roomtape_bots::link::{Link, Loss, Passed, Weather};

fn weather(mut args: impl Iterator<Item = String>) -> Result<(Weather, u64), String> {
    let mut weather = Weather::default();
    let (mut seed, mut loss, mut burst) = (0, 0.0, 0.0);
    while let Some(name) = args.next() {
        let value = args.next().ok_or_else(|| format!("{name} needs a value"))?;
        if name == "--cut" {
            weather
                .dead
                .push(cut(&value).ok_or("--cut takes FROM_S:SECONDS")?);
            continue;
        }
        let number: f64 = value.parse().map_err(|e| format!("{name}: {e}"))?;
        let ms = Duration::from_secs_f64(number.max(0.0) / 1000.0);
        match name.as_str() {
            "--seed" => seed = number as u64,
            "--loss" => loss = number / 100.0,
            "--burst" => burst = number,
            "--delay-ms" => weather.delay = ms,
            "--jitter-ms" => weather.jitter = ms,
            "--reorder" => weather.reorder = number / 100.0,
            "--reorder-ms" => weather.reorder_by = ms,
            "--duplicate" => weather.duplicate = number / 100.0,
            "--rate-kbps" => weather.rate = Some((number * 1000.0) as u64),
            "--queue-ms" => weather.queue = ms,
            "--calm-s" => weather.calm = Duration::from_secs_f64(number),
            _ => return Err(format!("what is {name}?")),
        }
    }
    weather.loss = if burst > 1.0 {
        let end = 1.0 / burst;
        Loss::Bursts {
            begin: end * loss / (1.0 - loss),
            end,
        }
    } else {
        Loss::Even(loss)
    };
    Ok((weather, seed))
}

fn cut(value: &str) -> Option<(Duration, Duration)> {
    let (from, seconds) = value.split_once(':')?;
    let from = Duration::try_from_secs_f64(from.parse().ok()?).ok()?;
    Some((
        from,
        from + Duration::try_from_secs_f64(seconds.parse().ok()?).ok()?,
    ))
}

fn json(passed: Passed) -> serde_json::Value {
    serde_json::json!({
        "offered": passed.offered,
        "lost": passed.lost,
        "doubled": passed.doubled,
        "reordered": passed.reordered,
        "delivered": passed.delivered,
    })
}

fn run() -> Result<(), String> {
    let mut args = std::env::args().skip(1);
    let server = args.next().ok_or("which server?")?;
    let server = server.parse().map_err(|e| format!("{server}: {e}"))?;
    let (weather, seed) = weather(args)?;
    let mut link = Link::open(server, weather, seed).map_err(|e| e.to_string())?;
    println!("{}", link.address().map_err(|e| e.to_string())?);
    link.run(&std::io::stdin()).map_err(|e| e.to_string())?;
    let (up, down) = link.passed();
    println!(
        "{}",
        serde_json::json!({"seed": seed, "up": json(up), "down": json(down)})
    );
    Ok(())
}

fn main() {
    if let Err(message) = run() {
        eprintln!("roomtape-link: {message}");
        std::process::exit(1);
    }
}
