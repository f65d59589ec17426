//! Each thing that a user can get wrong has an error that says so.

use std::fs;

use crate::bench::{Bench, arrays, eval, fail, npy, npz, pixels, png, succeed};

#[test]
fn options_that_make_no_training_are_refused_by_name() {
    let bench = Bench::new();
    for (option, value, said) in [
        ("--steps", "0", "steps is 0"),
        ("--subset", "0", "subset is 0"),
        ("--subset", "1000", "88 images in train, 1000 are needed"),
        ("--crop", "0", "--crop is 0"),
        ("--drop-path", "1.5", "--drop-path is 1.5"),
        ("--label-smoothing", "NaN", "--label-smoothing is NaN"),
        ("--device", "tpu", "unknown device `tpu`"),
        ("--image-size", "16", "images of 8 pixels, asked for are 16"),
        (
            "--classes",
            "one,two",
            "has the label 2, classes are 0 to 1",
        ),
        ("--classes", "a,b,c,d", "class d has no images"),
        (
            "--key-value-heads",
            "3",
            "num_attention_heads 2 is not a multiple",
        ),
    ] {
        let said_found = fail(&mut bench.train("run", &[option, value]));
        assert!(said_found.contains(said), "{option} {value}: {said_found}");
        assert!(!bench.path("run").exists(), "{option} {value}");
    }
}

#[test]
fn paths_that_are_no_data_are_refused_by_name() {
    let bench = Bench::new();
    fs::create_dir(bench.path("empty")).unwrap();
    bench.write("text.txt", b"text");
    bench.write("text.npz", b"no archive");
    for (name, said) in [
        ("missing", "cannot read"),
        ("empty", "is no data"),
        ("text.txt", "is no data"),
        ("text.npz", "is damaged"),
    ] {
        let found = fail(&mut bench.train_on(name, "run", &[]));
        assert!(found.contains(said) && found.contains(name), "{found}");
    }
}

#[test]
fn damaged_idx_files_are_refused_with_what_was_expected() {
    let bench = Bench::new();
    let path = bench.path("idx/train-images-idx3-ubyte");
    let whole = fs::read(&path).unwrap();
    let mut other = whole.clone();
    other[3] = 1;
    let mut endless = whole.clone();
    endless[4..16].fill(0xff);
    let mut oblong = whole.clone();
    oblong[11] = 16;
    oblong[15] = 4;
    let longer = [whole.as_slice(), &[0]].concat();
    for (bytes, said) in [
        (&whole[..whole.len() - 1], "are 6144 bytes, and it has 6143"),
        (&longer, "are 6144 bytes, and it has more"),
        (&other, "it begins with 0x00000801, not with 0x00000803"),
        (&endless, "are more than 4294967296 bytes"),
        (&oblong, "images of 16 x 4"),
        (&whole[..9], "its header"),
    ] {
        fs::write(&path, bytes).unwrap();
        let found = fail(&mut bench.train("run", &[]));
        assert!(
            found.contains(said) && found.contains("train-images"),
            "{found}"
        );
    }
    fs::write(&path, &whole).unwrap();
    let labels = bench.path("idx/train-labels-idx1-ubyte");
    let mut short = fs::read(&labels).unwrap();
    short.truncate(short.len() - 1);
    short[7] -= 1;
    fs::write(&labels, short).unwrap();
    let found = fail(&mut bench.train("run", &[]));
    assert!(
        found.contains("96 images and 95 labels in train"),
        "{found}"
    );
    fs::remove_file(&labels).unwrap();
    let found = fail(&mut bench.train("run", &[]));
    assert!(found.contains("train-labels-idx1-ubyte: "), "{found}");
    fs::write(bench.path("idx/train-labels-idx1-ubyte.gz"), b"no gzip").unwrap();
    let found = fail(&mut bench.train("run", &[]));
    assert!(found.contains("is damaged"), "{found}");
}

/// What is changed about an archive, and what is said of it.
type Change = (&'static str, fn(&mut Vec<(String, Vec<u8>)>), &'static str);

#[test]
fn archives_with_missing_wrongly_typed_or_misshapen_arrays_are_refused() {
    let bench = Bench::new();
    fn set(arrays: &mut [(String, Vec<u8>)], name: &str, bytes: Vec<u8>) {
        arrays.iter_mut().find(|array| array.0 == name).unwrap().1 = bytes;
    }
    let changes: [Change; 11] = [
        (
            "missing",
            |a| a.retain(|array| array.0 != "val_labels"),
            "has no array val_labels",
        ),
        (
            "floats",
            |a| set(a, "train_images", npy(&[48, 8, 8], vec![0.5f32; 3072])),
            "train_images of",
        ),
        (
            "text",
            |a| set(a, "test_labels", npy(&[15, 1], vec![0.5f64; 15])),
            "expected is a whole number",
        ),
        (
            "flat",
            |a| set(a, "train_images", npy(&[48, 64], vec![0u8; 3072])),
            "has the shape [48, 64]",
        ),
        (
            "oblong",
            |a| set(a, "val_images", npy(&[12, 4, 16], vec![0u8; 768])),
            "has the shape [12, 4, 16]",
        ),
        (
            "solid",
            |a| set(a, "train_images", npy(&[6, 8, 8, 8], vec![0u8; 3072])),
            "has the shape [6, 8, 8, 8]",
        ),
        (
            "fewer",
            |a| set(a, "val_labels", npy(&[11, 1], vec![0u8; 11])),
            "12 images and 11 labels in val",
        ),
        (
            "outside",
            |a| set(a, "test_labels", npy(&[15, 1], vec![7i64; 15])),
            "image 0 of test has the label 7, classes are 0 to 2",
        ),
        (
            "negative",
            |a| set(a, "val_labels", npy(&[12, 1], vec![-1i32; 12])),
            "has the label -1",
        ),
        (
            "gap",
            |a| set(a, "train_labels", npy(&[48, 1], (0..48).map(|i| i % 2 * 2))),
            "class 1 has no images",
        ),
        (
            "cut",
            |a| {
                let images = &mut a[0].1;
                images.truncate(images.len() - 10);
            },
            "is damaged: train_images",
        ),
    ];
    for (name, change, said) in changes {
        let mut arrays = arrays(1, |index| vec![(index % 3) as u8]);
        change(&mut arrays);
        let file = format!("{name}.npz");
        bench.write(&file, &npz(&arrays));
        let found = fail(&mut bench.train_on(&file, "run", &[]));
        assert!(
            found.contains(said) && found.contains(&file),
            "{name}: {found}"
        );
    }
    // Flags that are neither yes nor no, and another number of them.
    let mut flags = arrays(1, |index| {
        vec![u8::from(index % 2 == 0), u8::from(index % 3 == 0), 1]
    });
    set(&mut flags, "val_labels", npy(&[12, 3], vec![2u8; 36]));
    bench.write("flags.npz", &npz(&flags));
    let found = fail(&mut bench.train_on("flags.npz", "run", &[]));
    assert!(
        found.contains("has the label 2, classes are 0 to 1"),
        "{found}"
    );
    set(&mut flags, "val_labels", npy(&[12, 2], vec![1u8; 24]));
    bench.write("fewer-flags.npz", &npz(&flags));
    let found = fail(&mut bench.train_on("fewer-flags.npz", "run", &[]));
    assert!(found.contains("as many columns as train_labels"), "{found}");
    assert!(!bench.path("run").exists());
}

#[test]
fn folders_with_empty_classes_and_images_that_do_not_fit_are_refused() {
    let bench = Bench::new();
    for index in 0..9 {
        let class = ["ant", "bee", "cat"][index % 3];
        bench.write(
            &format!("images/{class}/{index}.png"),
            &png(&pixels(index, 3), 3),
        );
    }
    let train = |more: &[&str]| fail(&mut bench.train_on("images", "run", more));
    fs::create_dir(bench.path("images/dog")).unwrap();
    let found = train(&[]);
    assert!(found.contains("class dog has no images"), "{found}");
    fs::remove_dir(bench.path("images/dog")).unwrap();
    let grey = bench.write("images/bee/grey.png", &png(&pixels(1, 1), 1));
    let found = train(&[]);
    assert!(found.contains("grey.png has pixels of type L8"), "{found}");
    assert!(found.contains("--image-size"), "{found}");
    fs::remove_file(grey).unwrap();
    let whole = png(&pixels(1, 3), 3);
    let cut = bench.write("images/bee/cut.png", &whole[..whole.len() / 2]);
    let found = train(&["--image-size", "8"]);
    assert!(
        found.contains("cut.png is no image that can be read"),
        "{found}"
    );
    fs::remove_file(cut).unwrap();
    bench.write("images/test/ant/1.png", &whole);
    bench.write("images/train/ant/1.png", &whole);
    bench.write("images/train/bee/1.png", &whole);
    bench.write("images/test/wasp/1.png", &whole);
    let found = train(&[]);
    assert!(
        found.contains("wasp is no class of the training images"),
        "{found}"
    );
}

#[test]
fn a_run_keeps_its_options_and_its_data() {
    let bench = Bench::new();
    let few = ["--steps", "2"];
    succeed(&mut bench.train("run", &few));
    let found = fail(&mut bench.train("run", &few));
    assert!(found.contains("holds a training already"), "{found}");
    let found = fail(bench.train("run", &few).args(["--resume", "--seed", "7"]));
    assert!(found.contains("the options differ"), "{found}");
    // Other images under the same name.
    bench.write_idx("idx", 99, 30);
    let found = fail(bench.train("run", &few).arg("--resume"));
    assert!(found.contains("the data (fingerprint"), "{found}");
    let found = fail(&mut eval(&bench.path("nowhere")));
    assert!(
        found.contains("is no configuration of a training"),
        "{found}"
    );
    // A model of other classes than the data have now.
    let two = npz(&arrays(1, |index| vec![u8::from(index % 3 == 1)]));
    bench.write("set.npz", &npz(&arrays(1, |index| vec![(index % 3) as u8])));
    succeed(&mut bench.train_on("set.npz", "other", &few));
    bench.write("set.npz", &two);
    let found = fail(&mut eval(&bench.path("other")));
    assert!(
        found.contains("2 classes") && found.contains("3 classes"),
        "{found}"
    );
}
