//! Every target for `ROOMTAPE_FUZZ_SECONDS` (default 1), always with the same seed.

use std::time::Duration;

use roomtape_fuzz::{run, targets};

fn seconds() -> Duration {
    let told = std::env::var("ROOMTAPE_FUZZ_SECONDS").ok();
    Duration::from_secs_f64(told.and_then(|t| t.parse().ok()).unwrap_or(1.0))
}

fn fuzz(name: &str) {
    let target = targets::ALL.iter().find(|t| t.name == name).unwrap();
    match run(target, seconds(), 1) {
        Ok(report) => assert!(report.inputs > 100, "only {} inputs", report.inputs),
        Err(words) => panic!("{words}"),
    }
}

macro_rules! targets {
    ($($name:ident),*) => {
        $(#[test] fn $name() { fuzz(stringify!($name)); })*

        #[test]
        fn each_target_is_tested_here() {
            let here = [$(stringify!($name)),*];
            let all: Vec<_> = targets::ALL.iter().map(|t| t.name).collect();
            assert_eq!(all, here);
        }
    };
}

targets!(sps, avcc, aac, vp8, opus, amf, rtmp, tap, stun, sdp, depack, ts, http);

#[test]
fn a_parser_that_panics_is_found_and_can_be_repeated() {
    let broken = targets::Target {
        name: "broken",
        samples: || vec![vec![1, 2, 3, 4]],
        run: |data| assert!(data.first() != Some(&0xff), "planted"),
    };
    let found = run(&broken, Duration::from_secs(30), 7).unwrap_err();
    assert!(
        found.starts_with("panic at broken seed 7 input ") && found.contains(": ff"),
        "{found}"
    );
    assert_eq!(run(&broken, Duration::from_secs(30), 7).unwrap_err(), found);
}
