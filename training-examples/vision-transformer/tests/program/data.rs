//! Every kind of data trains.

use serde_json::Value;

use crate::bench::{Bench, arrays, eval, npz, pixels, png, succeed};

const STEPS: [&str; 4] = ["--steps", "6", "--checkpoint-steps", "3"];

fn report(bench: &Bench, run: &str) -> Value {
    succeed(&mut eval(&bench.path(run)));
    let text = std::fs::read(bench.path(run).join("report.json")).unwrap();
    serde_json::from_slice(&text).unwrap()
}

#[test]
fn gzipped_idx_files_are_those_that_were_packed() {
    let bench = Bench::new();
    for name in [
        "train-images-idx3",
        "train-labels-idx1",
        "t10k-images-idx3",
        "t10k-labels-idx1",
    ] {
        let plain = std::fs::read(bench.path(&format!("idx/{name}-ubyte"))).unwrap();
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut packed, &plain).unwrap();
        bench.write(&format!("gz/{name}-ubyte.gz"), &packed.finish().unwrap());
    }
    let said = succeed(&mut bench.train_on("gz", "packed", &STEPS));
    assert!(
        said.contains("3 classes; 88 images to train on, 8 held out, 30 to test on"),
        "{said}"
    );
    succeed(&mut bench.train("plain", &STEPS));
    assert_eq!(bench.losses("packed"), bench.losses("plain"));
}

#[test]
fn archives_of_medmnist_train_with_one_label_two_classes_and_several_labels() {
    let bench = Bench::new();
    bench.write(
        "path.npz",
        &npz(&arrays(3, |index| vec![(index % 3) as u8])),
    );
    bench.write(
        "breast.npz",
        &npz(&arrays(1, |index| vec![u8::from(index % 3 == 1)])),
    );
    let chest = |index: usize| {
        (0..4)
            .map(|class| u8::from((index + class).is_multiple_of(3)))
            .collect()
    };
    bench.write("chest.npz", &npz(&arrays(1, chest)));
    for (name, classes, labelling) in [
        ("path", 3, "single"),
        ("breast", 2, "single"),
        ("chest", 4, "multi"),
    ] {
        let data = format!("{name}.npz");
        let said = succeed(&mut bench.train_on(&data, name, &STEPS));
        assert!(
            said.contains("48 images to train on, 12 held out, 15 to test on"),
            "{said}"
        );
        let report = report(&bench, name);
        assert_eq!(report["model"]["labelling"], labelling);
        assert_eq!(report["model"]["labels"].as_array().unwrap().len(), classes);
        assert_eq!(
            report["scores"]["confusion"].is_null(),
            labelling == "multi"
        );
        let scores = &report["scores"];
        assert!(
            scores["auc"]
                .as_f64()
                .is_some_and(|auc| (0.0..=1.0).contains(&auc))
        );
        assert_eq!(report["predictions_equal"], true);
    }
}

#[test]
fn folders_of_classes_train_and_are_resized_if_asked() {
    let bench = Bench::new();
    for index in 0..60 {
        let class = ["ant", "bee", "cat"][index % 3];
        let image = png(&pixels(index, 3), 3);
        bench.write(&format!("whole/{class}/{index:02}.png"), &image);
        let split = ["train", "train", "train", "val", "test"][index / 3 % 5];
        bench.write(&format!("split/{split}/{class}/{index:02}.PNG"), &image);
    }
    let said = succeed(&mut bench.train_on("whole", "whole-run", &STEPS));
    assert!(
        said.contains("3 classes; 49 images to train on, 5 held out, 6 to test on"),
        "{said}"
    );
    let said = succeed(&mut bench.train_on("split", "split-run", &STEPS));
    assert!(
        said.contains("36 images to train on, 12 held out, 12 to test on"),
        "{said}"
    );
    let report = report(&bench, "split-run");
    assert_eq!(
        report["model"]["labels"],
        serde_json::json!(["ant", "bee", "cat"])
    );
    let fitted = ["--image-size", "12", "--channels", "1", "--steps", "2"];
    succeed(&mut bench.train_on("whole", "fitted", &fitted));
    let config = std::fs::read_to_string(bench.path("fitted/model/config.json")).unwrap();
    assert!(config.contains("\"image_size\": 12") && config.contains("\"num_channels\": 1"));
}

#[test]
fn a_subset_is_as_large_as_asked_for() {
    let bench = Bench::new();
    let said = succeed(bench.train("run", &STEPS).args(["--subset", "20"]));
    assert!(said.contains("20 images to train on, 8 held out"), "{said}");
}
