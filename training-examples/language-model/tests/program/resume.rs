//! A training that is killed goes on as if nothing had happened.

use std::fs;
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::bench::{Bench, fail, succeed};

const STEPS: [&str; 4] = ["--steps", "40", "--checkpoint-steps", "2"];

fn lines(losses: &str) -> usize {
    losses.matches('\n').count()
}

/// Waits until `reached`, then kills the training with SIGKILL; false if it ended before.
fn kill_when(child: &mut Child, mut reached: impl FnMut() -> bool) -> bool {
    let begun = Instant::now();
    while !reached() {
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        assert!(
            begun.elapsed() < Duration::from_secs(120),
            "the training does not move"
        );
        sleep(Duration::from_micros(200));
    }
    child.kill().unwrap();
    !child.wait().unwrap().success()
}

/// Kills a training again and again, each time at the moment `when` gives, and lets it end.
fn train_with_kills(bench: &Bench, run: &str, more: &[&str], when: &[&dyn Fn() -> bool]) {
    for (index, reached) in when.iter().enumerate() {
        let mut command = bench.train(run, &STEPS);
        command.args(more).arg("--resume");
        let mut child = command
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        assert!(kill_when(&mut child, reached), "kill {index} came too late");
    }
    let said = succeed(bench.train(run, &STEPS).args(more).arg("--resume"));
    assert!(said.contains("resumed after step"), "{said}");
}

#[test]
fn a_training_killed_between_steps_gives_the_losses_of_an_unbroken_one() {
    let bench = Bench::new();
    succeed(&mut bench.train("unbroken", &STEPS));
    let reaches = |steps: usize| {
        let bench = &bench;
        move || lines(&bench.losses("killed")) >= steps
    };
    train_with_kills(
        &bench,
        "killed",
        &[],
        &[&reaches(1), &reaches(7), &reaches(18), &reaches(31)],
    );
    assert_eq!(lines(&bench.losses("unbroken")), 40);
    assert_eq!(bench.losses("killed"), bench.losses("unbroken"));
}

#[test]
fn a_training_killed_while_it_writes_a_checkpoint_does_too() {
    let bench = Bench::new();
    succeed(&mut bench.train("unbroken", &STEPS));
    // The folder of a checkpoint is there before its seal is.
    let writing = |epoch: usize| {
        let folder = bench
            .path("killed")
            .join("checkpoint")
            .join(epoch.to_string());
        move || folder.exists() && !folder.join("complete.json").exists()
    };
    train_with_kills(
        &bench,
        "killed",
        &[],
        &[&writing(3), &writing(8), &writing(13)],
    );
    assert_eq!(bench.losses("killed"), bench.losses("unbroken"));
}

#[test]
fn muon_resumes_exactly_as_well() {
    let bench = Bench::new();
    let muon = ["--optimizer", "muon"];
    succeed(bench.train("unbroken", &STEPS).args(muon));
    let reaches = || lines(&bench.losses("killed")) >= 13;
    train_with_kills(&bench, "killed", &muon, &[&reaches]);
    assert_eq!(bench.losses("killed"), bench.losses("unbroken"));
    succeed(&mut bench.train("adamw", &STEPS));
    assert_ne!(bench.losses("adamw"), bench.losses("unbroken"));
}

#[test]
fn the_float_twin_resumes_exactly_as_well() {
    let bench = Bench::new();
    succeed(bench.train("unbroken", &STEPS).arg("--dense"));
    let reaches = || lines(&bench.losses("killed")) >= 13;
    train_with_kills(&bench, "killed", &["--dense"], &[&reaches]);
    assert_eq!(bench.losses("killed"), bench.losses("unbroken"));
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

#[test]
fn a_damaged_checkpoint_is_passed_over_and_two_of_them_are_an_error() {
    let bench = Bench::new();
    succeed(&mut bench.train("run", &STEPS));
    let losses = bench.losses("run");
    let damage = |epoch: &str, name: &str| {
        let path = bench.path("run").join("checkpoint").join(epoch).join(name);
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    };
    damage("20", "optimizer.bpk");
    let output = bench.train("run", &STEPS).arg("--resume").output().unwrap();
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("20/optimizer.bpk is damaged"));
    assert!(String::from_utf8_lossy(&output.stdout).contains("resumed after step 38"));
    assert_eq!(bench.losses("run"), losses);

    damage("20", "model.bpk");
    damage("19", "model.bpk");
    let said = fail(bench.train("run", &STEPS).arg("--resume"));
    assert!(
        said.contains("20/model.bpk is damaged") && said.contains("expected"),
        "{said}"
    );
}
