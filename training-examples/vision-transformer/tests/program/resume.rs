//! A training that is killed goes on as if nothing had happened.

use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::bench::{Bench, succeed};

const STEPS: [&str; 6] = [
    "--steps",
    "60",
    "--checkpoint-steps",
    "4",
    "--mixing",
    "cutmix",
];

fn lines(losses: &str) -> usize {
    losses.matches('\n').count()
}

#[test]
fn a_training_killed_again_and_again_gives_the_losses_of_an_unbroken_one() {
    let bench = Bench::new();
    succeed(&mut bench.train("unbroken", &STEPS));
    for reached in [1, 14, 33] {
        let mut command = bench.train("killed", &STEPS);
        let child = command
            .arg("--resume")
            .stdout(Stdio::null())
            .stderr(Stdio::inherit());
        let mut child = child.spawn().unwrap();
        let begun = Instant::now();
        while lines(&bench.losses("killed")) < reached {
            assert!(
                child.try_wait().unwrap().is_none(),
                "the kill at {reached} came too late"
            );
            assert!(
                begun.elapsed() < Duration::from_secs(120),
                "the training does not move"
            );
            sleep(Duration::from_micros(200));
        }
        child.kill().unwrap();
        assert!(
            !child.wait().unwrap().success(),
            "the kill at {reached} came too late"
        );
    }
    let said = succeed(bench.train("killed", &STEPS).arg("--resume"));
    assert!(said.contains("resumed after step"), "{said}");
    assert_eq!(lines(&bench.losses("unbroken")), 60);
    assert_eq!(bench.losses("killed"), bench.losses("unbroken"));
    let epochs = |run: &str| std::fs::read_to_string(bench.path(run).join("epochs.jsonl")).unwrap();
    assert_eq!(lines(&epochs("killed")), 15);
    assert_eq!(epochs("killed"), epochs("unbroken"));
}

#[test]
fn the_same_seed_gives_the_same_losses_and_another_seed_others() {
    let bench = Bench::new();
    let few = ["--steps", "4"];
    succeed(&mut bench.train("one", &few));
    succeed(&mut bench.train("two", &few));
    succeed(bench.train("three", &few).args(["--seed", "43"]));
    assert_eq!(bench.losses("one"), bench.losses("two"));
    assert_ne!(bench.losses("one"), bench.losses("three"));
}
