//! Commands one after the other, and what they leave.

use serde_json::Value;
use tritburn_models::VisionTransformer;

use crate::bench::{Bench, TINY, eval, program, succeed};

const LEARN: [&str; 10] = [
    "--steps",
    "150",
    "--checkpoint-steps",
    "50",
    "--learning-rate",
    "1e-2",
    "--crop",
    "1",
    "--drop-path",
    "0",
];

#[test]
fn a_trained_model_knows_its_classes_packed_and_not_and_the_report_says_so() {
    let bench = Bench::new();
    let run = bench.path("run");
    let said = succeed(&mut bench.train("run", &LEARN));
    assert!(said.contains("held-out images after step 50/150"), "{said}");
    let said = succeed(&mut eval(&run));
    assert!(said.contains("| accuracy, packed"), "{said}");
    let text = std::fs::read(run.join("report.json")).unwrap();
    let report: Value = serde_json::from_slice(&text).unwrap();
    let scores = &report["scores"];
    assert!(scores["accuracy"].as_f64().unwrap() > 0.9, "{scores}");
    assert!(scores["auc"].as_f64().unwrap() > 0.95, "{scores}");
    assert_eq!(report["predictions_equal"], true);
    assert!(
        report["max_abs_logit_diff_packed_vs_trained"]
            .as_f64()
            .unwrap()
            <= 1e-3
    );
    assert_eq!(report["packed_speed"].as_array().unwrap().len(), 2);
    assert!(report["packed_bytes"].as_u64() < report["float_bytes"].as_u64());
    for name in [
        "confusion.svg",
        "curves.svg",
        "predictions.svg",
        "losses.svg",
    ] {
        let drawing = std::fs::read_to_string(run.join(name)).unwrap();
        assert!(
            drawing.starts_with("<svg") && !drawing.contains("NaN"),
            "{name}"
        );
    }
    let epochs = std::fs::read_to_string(run.join("epochs.jsonl")).unwrap();
    assert_eq!(epochs.lines().count(), 3);
    let device = burn::tensor::Device::default();
    let dtype = burn::tensor::DType::F32;
    for (folder, packed) in [("model", false), ("packed", true)] {
        let model = VisionTransformer::load(run.join(folder), dtype, &device).unwrap();
        assert_eq!(model.is_packed(), packed, "{folder}");
    }
}

#[test]
fn the_bench_measures_a_model_of_any_size() {
    let sizes = ["--image-size", "8", "--channels", "1", "--json"];
    let model = &TINY[..10];
    let said = succeed(program("bench").args(model).args(sizes));
    let costs: Value = serde_json::from_str(&said).unwrap();
    assert!(costs["packed_speed"][0]["microseconds"].as_f64().unwrap() > 0.0);
    assert_eq!(costs["float_speed"][1]["batch"], 256);
    let batches = ["--batch", "2,3,5"];
    let said = succeed(program("bench").args(model).args(sizes).args(batches));
    let costs: Value = serde_json::from_str(&said).unwrap();
    let speeds = costs["packed_speed"].as_array().unwrap();
    let measured: Vec<_> = speeds.iter().map(|speed| &speed["batch"]).collect();
    assert_eq!(measured, [2, 3, 5]);
    let refused = program("bench").args(["--batch", "0"]).output().unwrap();
    assert!(!refused.status.success());
}
