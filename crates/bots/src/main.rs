//! Load and mischief: WebRTC clients in one thread.
//!
//!     roomtape-bots publish URL --count 50 --seconds 20 --token T --pictures a.h264 --sounds a.opus20
//!     roomtape-bots play URL --count 100 --seconds 20 --token T
//!
//! `{n}` in URL and token is the client's number. Pictures: Annex B H.264 streams (the option may be
//! repeated, see --switch-s) or IVF files of VP8; `--answers`: the first of them again with key frames in other places (may
//! be repeated), so that requests for one are answered, as an encoder does; sounds: 20 ms Opus packets, each led by its length (u16, big endian);
//! all loop. `--via HOST:PORT` sends through a link, `--linger-ms` answers requests after the last
//! picture, `--payload-bytes` is what a packet of a picture holds at most, `--vanish` says no goodbye, `--reconnect-s` begins a new session that often. What goes
//! wrong on purpose: `mischief::Mischief::option`. One JSON object on stdout tells what was sent and
//! received; a line "up" on it says that all are connected.

use std::io::Write;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use roomtape_bots::bot::{Bot, Trip};
use roomtape_bots::media::{Loop, PAYLOAD_BYTES};
use roomtape_bots::mischief::Mischief;
use roomtape_io::clock::now_ns;
use roomtape_io::poll::PollSet;

struct Options {
    publish: bool,
    url: String,
    token: String,
    count: usize,
    seconds: f64,
    fps: u32,
    payload_bytes: usize,
    pictures: Vec<String>,
    answers: Vec<String>,
    sounds: Option<String>,
    via: Option<std::net::SocketAddr>,
    linger: Duration,
    vanish: bool,
    reconnect: Option<Duration>,
    mischief: Mischief,
}

fn options() -> Result<Options, String> {
    let mut args = std::env::args().skip(1);
    let publish = match args.next().as_deref() {
        Some("publish") => true,
        Some("play") => false,
        _ => return Err("publish or play?".into()),
    };
    let mut options = Options {
        publish,
        url: args.next().ok_or("which URL?")?,
        token: String::new(),
        count: 1,
        seconds: 10.0,
        fps: 30,
        payload_bytes: PAYLOAD_BYTES,
        pictures: Vec::new(),
        answers: Vec::new(),
        sounds: None,
        via: None,
        linger: Duration::ZERO,
        vanish: false,
        reconnect: None,
        mischief: Mischief::default(),
    };
    while let Some(name) = args.next() {
        if name == "--vanish" {
            options.vanish = true;
            continue;
        }
        let value = args.next().ok_or_else(|| format!("{name} needs a value"))?;
        let number = || value.parse::<u64>().map_err(|e| format!("{name}: {e}"));
        match name.as_str() {
            "--token" => options.token = value,
            "--count" => options.count = number()? as usize,
            "--seconds" => options.seconds = value.parse().map_err(|e| format!("{name}: {e}"))?,
            "--fps" => options.fps = number()? as u32,
            "--payload-bytes" => options.payload_bytes = (number()? as usize).max(3),
            "--pictures" => options.pictures.push(value),
            "--answers" => options.answers.push(value),
            "--sounds" => options.sounds = Some(value),
            "--via" => options.via = Some(value.parse().map_err(|e| format!("{name}: {e}"))?),
            "--linger-ms" => options.linger = Duration::from_millis(number()?),
            "--reconnect-s" => {
                options.reconnect = Some(Duration::from_secs_f64(
                    value.parse().map_err(|e| format!("{name}: {e}"))?,
                ))
            }
            _ => options
                .mischief
                .option(&name, &value)
                .ok_or_else(|| format!("what is {name} {value}?"))?,
        }
    }
    Ok(options)
}

fn file(path: Option<&String>) -> Result<Vec<u8>, String> {
    match path {
        Some(path) => std::fs::read(path).map_err(|e| format!("{path}: {e}")),
        None => Ok(Vec::new()),
    }
}

fn run() -> Result<(), String> {
    let options = options()?;
    let media = if options.publish {
        let files = |paths: &[String]| {
            let files = paths.iter().map(|p| file(Some(p)));
            files.collect::<Result<Vec<_>, _>>()
        };
        Some(Loop::new(
            &files(&options.pictures)?,
            &files(&options.answers)?,
            &file(options.sounds.as_ref())?,
            options.fps,
            options.payload_bytes,
        ))
    } else {
        None
    };
    let mut bots: Vec<Bot> = Vec::new();
    let mut poll = PollSet::default();
    for n in 0..options.count {
        let number = n.to_string();
        let url = options.url.replace("{n}", &number);
        let token = options.token.replace("{n}", &number);
        let trip = Trip {
            url,
            token,
            via: options.via,
            media: media.clone(),
            mischief: options.mischief.clone(),
            ..Trip::default()
        };
        let bot = Bot::join(trip).map_err(|e| format!("client {n}: {e}"))?;
        bots.push(bot);
        turn(&mut bots, &mut poll, Instant::now());
    }
    let patience = Instant::now() + Duration::from_secs(30);
    let is_up = |b: &Bot| b.counts.connected_after.is_some();
    while !bots.iter().all(is_up) {
        if Instant::now() > patience {
            let up = bots.iter().filter(|b| is_up(b)).count();
            return Err(format!("only {up} of {} are connected", bots.len()));
        }
        turn(
            &mut bots,
            &mut poll,
            Instant::now() + Duration::from_millis(20),
        );
    }
    println!("up");
    let _ = std::io::stdout().flush();
    let end = Instant::now() + Duration::from_secs_f64(options.seconds);
    let mut reconnects = 0;
    let mut sent = (0, 0);
    while Instant::now() < end {
        let soon = Instant::now() + Duration::from_millis(50);
        turn(
            &mut bots,
            &mut poll,
            options.reconnect.map_or(end, |_| end.min(soon)),
        );
        let Some(every) = options.reconnect else {
            continue;
        };
        for bot in &mut bots {
            let due = bot.age(Instant::now()).is_some_and(|age| age >= every);
            if !(due || bot.dead) {
                continue;
            }
            if !options.vanish {
                bot.leave()?;
            }
            sent = (
                sent.0 + bot.counts.sent_pictures,
                sent.1 + bot.counts.sent_sounds,
            );
            *bot = Bot::join(bot.next_trip())?;
            reconnects += 1;
        }
    }
    bots.iter_mut().for_each(Bot::fall_silent);
    let end = Instant::now() + options.linger;
    while Instant::now() < end {
        turn(&mut bots, &mut poll, end);
    }
    if !options.vanish {
        bots.iter().try_for_each(Bot::leave)?;
    }
    bots.iter_mut().for_each(Bot::count_losses);
    let sum = |f: fn(&Bot) -> u64| bots.iter().map(f).sum::<u64>();
    let ms = |f: fn(&Bot) -> Option<Duration>| {
        let mut all: Vec<u128> = bots.iter().filter_map(f).map(|d| d.as_millis()).collect();
        all.sort_unstable();
        serde_json::json!({"median": all.get(all.len() / 2), "max": all.last(), "count": all.len()})
    };
    let report = serde_json::json!({
        "clients": bots.len(),
        "dead": sum(|b| u64::from(b.dead)),
        "sent_packets": sum(|b| b.counts.sent_packets),
        "sent_pictures": sent.0 + sum(|b| b.counts.sent_pictures),
        "sent_sounds": sent.1 + sum(|b| b.counts.sent_sounds),
        "reconnects": reconnects,
        "received_packets": sum(|b| b.counts.received_packets),
        "received_bytes": sum(|b| b.counts.received_bytes),
        "lost_packets": sum(|b| b.counts.lost_packets),
        "keyframe_requests": sum(|b| b.counts.keyframe_requests),
        "connected_ms": ms(|b| b.counts.connected_after),
        "first_picture_ms": ms(|b| b.counts.first_picture_after),
    });
    println!("{report}");
    Ok(())
}

/// Waits for the network or the next deadline, at most until `end`; then every client has its turn.
fn turn(bots: &mut [Bot], poll: &mut PollSet, end: Instant) {
    poll.clear();
    let now = Instant::now();
    let mut until = end;
    for bot in bots.iter().filter(|b| !b.dead) {
        poll.add(bot.socket.as_raw_fd(), false);
        until = until.min(bot.next());
    }
    let left = until.saturating_duration_since(now).as_nanos() as i64;
    let start = now_ns();
    if let Err(error) = poll.wait(start, Some(start + left)) {
        eprintln!("roomtape-bots: {error}");
    }
    let now = Instant::now();
    for (place, bot) in bots.iter_mut().filter(|b| !b.dead).enumerate() {
        if poll.readable(place) || bot.next() <= now {
            bot.turn(now);
        }
    }
}

fn main() {
    if let Err(message) = run() {
        eprintln!("roomtape-bots: {message}");
        std::process::exit(1);
    }
}
