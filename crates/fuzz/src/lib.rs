//! Parsers against mutated input, on a stable compiler: `cargo run --release -p roomtape-fuzz
//! --bin <target> -- <seconds> [seed]`, or all of them for a second each by `cargo test`.
//!
//! Input is made from valid samples (`targets`) by `mutate`; every run can be repeated by its
//! seed. A parser fails by a panic, by keeping more than it may, or by not ending.
#![forbid(unsafe_code)]

pub mod mutate;
pub mod targets;

use std::panic::{catch_unwind, AssertUnwindSafe};
use std::time::{Duration, Instant};

use mutate::Dice;
use targets::Target;

/// One input may take this long; the slowest valid one takes a thousandth of it.
const TOO_LONG: Duration = Duration::from_secs(2);

/// What a run did.
#[derive(Clone, Copy, Debug)]
pub struct Report {
    pub inputs: u64,
}

/// Runs a target for `time`.
///
/// # Errors
/// The words to repeat the failure by: seed, number of the input and the input in hex.
pub fn run(target: &Target, time: Duration, seed: u64) -> Result<Report, String> {
    let until = Instant::now() + time;
    let seeds = (target.samples)();
    let mut dice = Dice::new(seed);
    let mut inputs = 0;
    loop {
        let data = if inputs < seeds.len() as u64 {
            seeds[inputs as usize].clone()
        } else {
            mutate::mutated(&mut dice, &seeds)
        };
        let began = Instant::now();
        let result = catch_unwind(AssertUnwindSafe(|| (target.run)(&data)));
        let place = || format!("{} seed {seed} input {inputs}: {}", target.name, hex(&data));
        if result.is_err() {
            return Err(format!("panic at {}", place()));
        }
        if began.elapsed() > TOO_LONG {
            return Err(format!("{:?} for {}", began.elapsed(), place()));
        }
        inputs += 1;
        if Instant::now() >= until {
            return Ok(Report { inputs });
        }
    }
}

/// The input for a reader; the seed and its number make a long one again.
fn hex(data: &[u8]) -> String {
    const SHOWN: usize = 2000;
    let mut text: String = data
        .iter()
        .take(SHOWN)
        .map(|b| format!("{b:02x}"))
        .collect();
    if data.len() > SHOWN {
        text.push_str(&format!("... ({} bytes)", data.len()));
    }
    text
}

/// The whole of a target's program.
pub fn main(name: &str) -> std::process::ExitCode {
    let mut arguments = std::env::args().skip(1);
    let number =
        |text: Option<String>, otherwise: u64| text.map_or(Some(otherwise), |t| t.parse().ok());
    let (Some(seconds), Some(seed)) = (
        number(arguments.next(), 60),
        number(arguments.next(), clock_seed()),
    ) else {
        eprintln!("usage: {name} [seconds] [seed]");
        return std::process::ExitCode::from(2);
    };
    let Some(target) = targets::ALL.iter().find(|t| t.name == name) else {
        eprintln!("no target {name}");
        return std::process::ExitCode::from(2);
    };
    match run(target, Duration::from_secs(seconds), seed) {
        Ok(report) => {
            println!("{name}: {} inputs, seed {seed}: no failure", report.inputs);
            std::process::ExitCode::SUCCESS
        }
        Err(words) => {
            eprintln!("{words}");
            std::process::ExitCode::FAILURE
        }
    }
}

/// Another one for each long run; it is printed with the result.
fn clock_seed() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(1, |d| d.as_nanos() as u64)
}
