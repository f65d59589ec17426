//! Learning from a teacher.

use crate::bench::{Bench, eval, fail, succeed};

const STEPS: [&str; 4] = ["--steps", "8", "--checkpoint-steps", "4"];

#[test]
fn a_float_model_teaches_by_its_features_and_by_a_file_of_its_logits() {
    let bench = Bench::new();
    let float = ["--ternary", "none", "--width", "24", "--heads", "4"];
    // The options of the tiny model come first; the last one given counts nowhere, so they are not repeated.
    let mut teacher = crate::bench::program("train");
    teacher.arg("--output").arg(bench.path("teacher"));
    teacher
        .arg("--data")
        .arg(bench.path("idx"))
        .args(STEPS)
        .args(float);
    teacher.args([
        "--patch",
        "4",
        "--layers",
        "1",
        "--inner",
        "32",
        "--batch-size",
        "8",
    ]);
    succeed(&mut teacher);
    let logits = bench.path("logits.safetensors");
    let said = succeed(eval(&bench.path("teacher")).arg("--logits").arg(&logits));
    assert!(said.contains("logits of 88 training images"), "{said}");

    let model = bench.path("teacher/model");
    let taught = |run: &str, more: &[&str]| {
        let mut command = bench.train(run, &STEPS);
        command.args(more);
        command
    };
    let of_model = |run: &str| {
        let mut command = taught(run, &[]);
        command.arg("--teacher").arg(&model);
        command
    };
    succeed(&mut of_model("features"));
    succeed(of_model("logits-alone").args(["--feature-weight", "0"]));
    let mut of_file = taught("file", &["--feature-weight", "0"]);
    succeed(of_file.arg("--teacher").arg(&logits));
    succeed(&mut taught("plain", &[]));
    let runs = ["features", "logits-alone", "file", "plain"];
    for (index, run) in runs.iter().enumerate() {
        for other in &runs[..index] {
            assert_ne!(bench.losses(run), bench.losses(other), "{run} and {other}");
        }
    }
    // What was learned by is no part of the model.
    let config = std::fs::read(bench.path("features/model/model.safetensors")).unwrap();
    assert!(!String::from_utf8_lossy(&config[..4000]).contains("matcher"));
    // A resumed student has the same teacher.
    let said = succeed(of_model("features").arg("--resume"));
    assert!(said.contains("resumed after step 8"), "{said}");
}

#[test]
fn a_teacher_of_other_classes_images_or_patches_is_refused() {
    let bench = Bench::new();
    let few = ["--steps", "1"];
    let two = crate::bench::npz(&crate::bench::arrays(1, |index| {
        vec![u8::from(index % 3 == 1)]
    }));
    bench.write("two.npz", &two);
    succeed(&mut bench.train_on("two.npz", "two", &few));
    let colour = crate::bench::npz(&crate::bench::arrays(3, |index| vec![(index % 3) as u8]));
    bench.write("colour.npz", &colour);
    succeed(&mut bench.train_on("colour.npz", "colour", &few));
    let student = |teacher: &str, more: &[&str]| {
        let mut command = bench.train("student", &few);
        command.arg("--teacher").arg(bench.path(teacher)).args(more);
        command
    };
    let said = fail(&mut student("two/model", &[]));
    assert!(said.contains("has 2 classes, the data have 3"), "{said}");
    let said = fail(&mut student("colour/model", &[]));
    assert!(
        said.contains("images of [3, 8, 8], the data have [1, 8, 8]"),
        "{said}"
    );
    let said = fail(&mut student("idx", &[]));
    assert!(
        said.contains("cannot read") && said.contains("config.json"),
        "{said}"
    );
    bench.write("logits.safetensors", b"no tensors");
    let said = fail(&mut student("logits.safetensors", &[]));
    assert!(said.contains("pass --feature-weight 0"), "{said}");
    let said = fail(&mut student(
        "logits.safetensors",
        &["--feature-weight", "0"],
    ));
    assert!(said.contains("is no file of logits"), "{said}");
    assert!(!bench.path("student").exists());
}
