//! Folders of vision transformers: `config.json` and `model.safetensors`.

use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::{DType, Device};
use serde_json::Value;
use tritburn::store;

use super::config::{MODEL_TYPE, VisionConfig};
use super::error::VisionError;
use super::model::VisionTransformer;
use crate::replace;

const CONFIG: &str = "config.json";
const WEIGHTS: &str = "model.safetensors";
/// Key of the configuration that says what kind of model it is.
const TYPE_KEY: &str = "model_type";

/// Whether `path` is the folder of a vision transformer, going by its `config.json` alone.
pub fn is_folder(path: impl AsRef<Path>) -> bool {
    let text = fs::read(path.as_ref().join(CONFIG));
    let json = text
        .ok()
        .and_then(|text| serde_json::from_slice::<Value>(&text).ok());
    json.is_some_and(|json| json[TYPE_KEY] == MODEL_TYPE)
}

impl VisionConfig {
    /// The configuration in the folder of a model.
    ///
    /// # Errors
    /// [`VisionError::Read`], [`VisionError::NotVision`] or [`VisionError::Config`].
    pub fn load(folder: impl AsRef<Path>) -> Result<Self, VisionError> {
        let path = folder.as_ref().join(CONFIG);
        let text = fs::read(&path).map_err(VisionError::read(&path))?;
        let refused = |reason: String| VisionError::NotVision {
            path: path.clone(),
            reason,
        };
        let mut json: serde_json::Map<String, Value> =
            serde_json::from_slice(&text).map_err(|error| refused(error.to_string()))?;
        match json.remove(TYPE_KEY) {
            Some(Value::String(found)) if found == MODEL_TYPE => {}
            Some(found) => return Err(refused(format!("{TYPE_KEY} is {found}"))),
            None => return Err(refused(format!("it has no {TYPE_KEY}"))),
        }
        let config: Self =
            serde_json::from_value(json.into()).map_err(|error| refused(error.to_string()))?;
        config.validate()?;
        Ok(config)
    }

    fn to_json(&self) -> String {
        let mut json = serde_json::json!(self);
        json[TYPE_KEY] = MODEL_TYPE.into();
        format!("{json:#}\n")
    }
}

impl VisionTransformer {
    /// The model in a folder, trained or packed, with activations in `dtype`.
    ///
    /// # Errors
    /// As [`VisionConfig::load`] and [`new`](Self::new); [`VisionError::Store`] for weights that are damaged
    /// or those of another model.
    pub fn load(
        folder: impl AsRef<Path>,
        dtype: DType,
        device: &Device,
    ) -> Result<Self, VisionError> {
        let folder = folder.as_ref();
        let blank = Self::new(&VisionConfig::load(folder)?, dtype, device)?;
        Ok(store::load(&blank, folder.join(WEIGHTS))?)
    }

    /// Writes the model as a folder of `config.json` and `model.safetensors`: floats of a trained model,
    /// 2-bit codes of a packed one.
    ///
    /// The folder appears when all of it is written. With `replace` it takes the place of an earlier one,
    /// which holds a vision transformer and nothing else.
    ///
    /// # Errors
    /// [`VisionError::Exists`], [`VisionError::Write`], [`VisionError::Store`] or [`VisionError::Device`].
    pub fn save(&self, folder: impl AsRef<Path>, replace: bool) -> Result<(), VisionError> {
        let folder = folder.as_ref();
        check_place(folder, replace)?;
        if let Some(parent) = folder.parent() {
            fs::create_dir_all(parent).map_err(VisionError::write(parent))?;
        }
        let scratch = replace::scratch(folder)?;
        let made = scratch.path().join("made");
        fs::create_dir(&made).map_err(VisionError::write(&made))?;
        let config = made.join(CONFIG);
        fs::write(&config, self.config().to_json()).map_err(VisionError::write(&config))?;
        store::save(&self.stored()?, made.join(WEIGHTS))?;
        Ok(replace::replace(&made, folder, scratch.path())?)
    }
}

/// Refuses to replace what is no earlier result.
fn check_place(folder: &Path, replace: bool) -> Result<(), VisionError> {
    if fs::symlink_metadata(folder).is_err() {
        return Ok(());
    }
    let kept = |reason: &str| VisionError::Exists {
        path: PathBuf::from(folder),
        reason: reason.to_string(),
    };
    if !replace {
        return Err(kept(""));
    }
    let entries = fs::read_dir(folder).map_err(VisionError::read(folder))?;
    let mut empty = true;
    for entry in entries {
        let name = entry.map_err(VisionError::read(folder))?.file_name();
        if name != CONFIG && name != WEIGHTS {
            let reason = format!(" and holds {}, which is no part of a model", name.display());
            return Err(kept(&reason));
        }
        empty = false;
    }
    match empty || is_folder(folder) {
        true => Ok(()),
        false => Err(kept(" and holds another model")),
    }
}
