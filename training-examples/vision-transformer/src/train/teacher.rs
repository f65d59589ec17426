//! Who is learned from besides the labels.

use std::fs;
use std::path::Path;

use burn::tensor::{DType, Device};
use safetensors::{Dtype, SafeTensors};
use tritburn_models::vision::{Labelling, VisionConfig, VisionTransformer};

use super::config::TeacherConfig;
use crate::error::{Error, TeacherError};

/// Name of the logits in a file.
pub const LOGITS: &str = "logits";

/// A model, or what one said of every training image.
#[derive(Clone, Debug)]
pub enum Teacher {
    /// A model, on the device of the training.
    Model(Box<VisionTransformer>),
    /// Logits.
    Logits(TeacherLogits),
}

impl Teacher {
    /// Reads the teacher of a model with the configuration `student`, of `images` training images.
    ///
    /// # Errors
    /// [`TeacherError`] for one of other classes, images or features; errors of its files.
    pub fn load(
        config: &TeacherConfig,
        student: &VisionConfig,
        images: usize,
        dtype: DType,
        device: &Device,
    ) -> Result<Self, Error> {
        let path = &config.path;
        if !path.is_dir() {
            if config.features > 0.0 {
                return Err(TeacherError::NoFeatures { path: path.clone() }.into());
            }
            let logits = TeacherLogits::load(path, images, student.num_classes())?;
            return Ok(Self::Logits(logits));
        }
        let teacher = VisionTransformer::load(path, dtype, device)?;
        let own = teacher.config();
        let (found, classes) = (own.num_classes(), student.num_classes());
        if found != classes || own.labelling != student.labelling {
            return Err(TeacherError::Classes {
                path: path.clone(),
                found,
                classes,
            }
            .into());
        }
        let same = own.image_shape() == student.image_shape();
        if !same || own.mean != student.mean || own.std != student.std {
            return Err(TeacherError::Images {
                path: path.clone(),
                found: own.image_shape(),
                expected: student.image_shape(),
            }
            .into());
        }
        if config.features > 0.0 && own.tokens() != student.tokens() {
            return Err(TeacherError::Patches {
                path: path.clone(),
                found: own.tokens(),
                expected: student.tokens(),
            }
            .into());
        }
        Ok(Self::Model(Box::new(teacher)))
    }
}

/// The logits of a teacher for every training image.
#[derive(Clone, Debug, PartialEq)]
pub struct TeacherLogits {
    classes: usize,
    values: Vec<f32>,
}

impl TeacherLogits {
    /// Reads the tensor `logits`, F32 `[images, classes]`, of a safetensors file.
    ///
    /// # Errors
    /// [`TeacherError`].
    pub fn load(path: &Path, images: usize, classes: usize) -> Result<Self, TeacherError> {
        let bytes = fs::read(path).map_err(|reason| TeacherError::Unreadable {
            path: path.into(),
            reason,
        })?;
        let damaged = |reason: String| TeacherError::Damaged {
            path: path.into(),
            reason,
        };
        let file = SafeTensors::deserialize(&bytes).map_err(|error| damaged(error.to_string()))?;
        let tensor = file
            .tensor(LOGITS)
            .map_err(|error| damaged(error.to_string()))?;
        if tensor.dtype() != Dtype::F32 || tensor.shape().len() != 2 {
            let (dtype, shape) = (tensor.dtype(), tensor.shape());
            return Err(damaged(format!(
                "{LOGITS} is {dtype:?} {shape:?}, not F32 of two axes"
            )));
        }
        let (found, own) = (tensor.shape()[0], tensor.shape()[1]);
        if own != classes {
            return Err(TeacherError::Classes {
                path: path.into(),
                found: own,
                classes,
            });
        }
        if found != images {
            return Err(TeacherError::Count {
                path: path.into(),
                found,
                images,
            });
        }
        let values = tensor.data().chunks_exact(4);
        let values: Vec<f32> = values
            .map(|bytes| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
            .collect();
        match values.iter().position(|value| !value.is_finite()) {
            Some(at) => Err(damaged(format!("value {at} of {LOGITS} is {}", values[at]))),
            None => Ok(Self { classes, values }),
        }
    }

    /// Writes logits of `classes` each.
    ///
    /// # Errors
    /// [`TeacherError::Damaged`] if the file cannot be written.
    pub fn save(path: &Path, classes: usize, values: &[f32]) -> Result<(), TeacherError> {
        let bytes: Vec<u8> = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        let shape = vec![values.len() / classes.max(1), classes];
        let view = safetensors::tensor::TensorView::new(Dtype::F32, shape, &bytes);
        let written =
            view.and_then(|view| safetensors::serialize_to_file([(LOGITS, view)], None, path));
        written.map_err(|error| TeacherError::Damaged {
            path: path.into(),
            reason: error.to_string(),
        })
    }

    /// What the teacher holds an image for, at a temperature.
    pub fn probabilities(&self, image: usize, temperature: f32, labelling: Labelling) -> Vec<f32> {
        let logits = &self.values[image * self.classes..][..self.classes];
        let cooled = logits.iter().map(|logit| logit / temperature);
        match labelling {
            Labelling::Multi => cooled.map(|logit| 1.0 / (1.0 + (-logit).exp())).collect(),
            _ => {
                let largest = cooled.clone().fold(f32::NEG_INFINITY, f32::max);
                let powers: Vec<f32> = cooled.map(|logit| (logit - largest).exp()).collect();
                let sum: f32 = powers.iter().sum();
                powers.into_iter().map(|power| power / sum).collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logits_come_back_from_their_file_and_others_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("teacher.safetensors");
        TeacherLogits::save(&path, 3, &[0.0, 1.0, 2.0, -1.0, 0.5, 4.0]).unwrap();
        let logits = TeacherLogits::load(&path, 2, 3).unwrap();
        let soft = logits.probabilities(1, 2.0, Labelling::Single);
        let powers = [-0.5f32, 0.25, 2.0].map(f32::exp);
        let expected = powers.map(|power| power / powers.iter().sum::<f32>());
        for (found, expected) in soft.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-6, "{soft:?}");
        }
        let each = logits.probabilities(0, 1.0, Labelling::Multi);
        assert_eq!(each[0], 0.5);

        let classes = TeacherLogits::load(&path, 2, 4).unwrap_err();
        assert!(matches!(
            classes,
            TeacherError::Classes {
                found: 3,
                classes: 4,
                ..
            }
        ));
        let count = TeacherLogits::load(&path, 5, 3).unwrap_err();
        assert!(matches!(count, TeacherError::Count { found: 2, .. }));
        TeacherLogits::save(&path, 1, &[f32::NAN]).unwrap();
        let nan = TeacherLogits::load(&path, 1, 1).unwrap_err().to_string();
        assert!(nan.contains("value 0 of logits is NaN"), "{nan}");
        fs::write(&path, b"no tensors").unwrap();
        let damaged = TeacherLogits::load(&path, 1, 1).unwrap_err();
        assert!(matches!(damaged, TeacherError::Damaged { .. }));
    }
}
