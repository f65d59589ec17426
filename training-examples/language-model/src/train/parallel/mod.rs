//! One model on several devices.

mod agreement;
mod exchange;
mod strategy;

pub use exchange::Exchange;
pub use strategy::DataParallel;

// Two replicas on one device: Burn's fusion loses tensors that two threads share.
#[cfg(all(test, feature = "flex"))]
mod tests {
    use std::fs;
    use std::path::Path;

    use burn::tensor::Device;

    use crate::error::Error;
    use crate::model::ModelConfig;
    use crate::train::{Place, RunError, RunFolder, StepRecord, TrainConfig, train};

    /// Seven windows a step, which two devices cannot share evenly.
    fn config(folder: &Path) -> TrainConfig {
        let text = folder.join("text.txt");
        let lines = (0..4000).map(|n| format!("{n} times {} is {}\n", n % 7, n * (n % 7)));
        fs::write(&text, lines.collect::<String>()).unwrap();
        let sizes = ModelConfig::new().with_d_model(32).with_d_ff(64);
        let sizes = sizes.with_layers(2).with_heads(2).with_context(32);
        TrainConfig {
            data: Some(text),
            batch_size: 7,
            steps: 8,
            checkpoint_steps: 4,
            ..TrainConfig::new(sizes)
        }
    }

    fn losses(run: &Path) -> Vec<f64> {
        let text = fs::read_to_string(RunFolder::at(run).losses()).unwrap();
        let records = text.lines().map(serde_json::from_str::<StepRecord>);
        records.map(|record| record.unwrap().loss).collect()
    }

    #[test]
    fn two_devices_do_what_one_does_and_resume_exactly() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path());
        let device = Device::flex();
        let (one, two) = (folder.path().join("one"), folder.path().join("two"));
        train(&one, &config, &Place::One(device.clone()), false).unwrap();
        let both = Place::Joined(vec![device.clone(), device]);
        train(&two, &config, &both, false).unwrap();
        let (alone, together) = (losses(&one), losses(&two));
        assert_eq!((alone.len(), together.len()), (8, 8));
        for (step, (alone, together)) in alone.iter().zip(&together).enumerate() {
            assert!(
                (alone - together).abs() < 1e-3,
                "{alone} {together} at {step}"
            );
        }
        // As if a kill had come before the second checkpoint.
        fs::remove_dir_all(RunFolder::at(&two).checkpoints().join("2")).unwrap();
        let resumed = train(&two, &config, &both, true).unwrap();
        assert_eq!(resumed.resumed_at, 4);
        assert_eq!(losses(&two), together);
    }

    #[test]
    fn a_loss_that_is_no_number_stops_all_devices() {
        let folder = tempfile::tempdir().unwrap();
        let config = TrainConfig {
            learning_rate: 1e30,
            steps: 200,
            checkpoint_steps: 200,
            ..config(folder.path())
        };
        let device = Device::flex();
        let both = Place::Joined(vec![device.clone(), device]);
        let error = train(&folder.path().join("run"), &config, &both, false).err();
        assert!(
            matches!(error, Some(Error::Run(RunError::Diverged { .. }))),
            "{error:?}"
        );
    }
}
