//! Each thing that a user can get wrong has an error that says so.

use std::fs;

use crate::bench::{Bench, TINY, fail, output_of, program, succeed};

#[test]
fn an_unknown_device_is_refused_with_the_devices_there_are() {
    let bench = Bench::new();
    let said = fail(&mut bench.train("run", &["--device", "tpu"]));
    assert!(
        said.contains("unknown device `tpu`; this build has: "),
        "{said}"
    );
    assert!(!bench.path("run").exists());
}

#[test]
fn text_that_cannot_be_trained_on_is_refused_by_name() {
    let bench = Bench::new();
    bench.write("empty", b"");
    bench.write("binary", b"ELF\x7f\0\0\0");
    bench.write("short", b"too short");
    fs::create_dir(bench.path("folder")).unwrap();
    for (name, reason) in [
        ("empty", "is empty"),
        ("binary", "is not text: a NUL byte at offset 4"),
        ("short", "at least 17 are needed"),
        ("missing", "cannot read"),
        ("folder", "no text file in"),
    ] {
        let mut command = program("train");
        command.arg("--output").arg(bench.path("run"));
        let said = fail(command.arg("--data").arg(bench.path(name)).args(TINY));
        assert!(said.contains(reason) && said.contains(name), "{said}");
    }
    assert!(!bench.path("run").exists());
}

#[test]
fn a_folder_that_cannot_be_written_is_refused() {
    let bench = Bench::new();
    bench.write("file", b"");
    let said = fail(&mut bench.train("file/run", &[]));
    assert!(
        said.contains("cannot write") && said.contains("file/run"),
        "{said}"
    );
}

#[test]
fn a_second_training_in_a_folder_and_one_resumed_with_other_options_are_refused() {
    let bench = Bench::new();
    succeed(&mut bench.train("run", &["--steps", "2"]));
    let said = fail(&mut bench.train("run", &["--steps", "2"]));
    assert!(said.contains("pass --resume"), "{said}");
    let said = fail(&mut bench.train("run", &["--steps", "4", "--resume"]));
    assert!(said.contains("config.json"), "{said}");
    bench.write("text.txt", &b"another text ".repeat(100));
    let said = fail(&mut bench.train("run", &["--steps", "2", "--resume"]));
    assert!(said.contains("fingerprint"), "{said}");
}

#[test]
fn sizes_that_make_no_model_are_refused() {
    let bench = Bench::new();
    for (option, value, reason) in [
        ("--heads", "5", "d_model 128 does not split into 5 heads"),
        ("--layers", "0", "layers is 0"),
        ("--context", "1", "a context of 1 tokens"),
        ("--steps", "0", "steps is 0"),
    ] {
        let mut command = program("train");
        let said = fail(
            command
                .arg("--output")
                .arg(bench.path("run"))
                .args([option, value]),
        );
        assert!(said.contains(reason), "{said}");
    }
}

#[test]
fn a_folder_without_a_model_and_a_damaged_model_file_are_refused_by_name() {
    let bench = Bench::new();
    let run = bench.path("run");
    let said = fail(&mut output_of(&run, "generate"));
    assert!(said.contains("config.json"), "{said}");
    succeed(&mut bench.train("run", &["--steps", "2"]));
    succeed(&mut output_of(&run, "pack"));
    for (folder, command) in [("packed", "generate"), ("model", "eval")] {
        let file = run.join(folder).join("model.safetensors");
        let bytes = fs::read(&file).unwrap();
        fs::write(&file, &bytes[..bytes.len() - 100]).unwrap();
        let said = fail(&mut output_of(&run, command));
        assert!(said.contains(file.to_str().unwrap()), "{said}");
    }
}

#[test]
fn a_float_model_has_nothing_to_pack() {
    let bench = Bench::new();
    succeed(&mut bench.train("run", &["--steps", "1", "--dense"]));
    let said = fail(&mut output_of(&bench.path("run"), "pack"));
    assert!(said.contains("--dense"), "{said}");
}
