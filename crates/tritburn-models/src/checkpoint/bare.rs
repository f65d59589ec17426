//! Folders that were saved from a decoder without a language-model class around it, as embedding
//! models are: their tensors have no `model.` in front.

use std::path::Path;

use tritburn_formats::file::{FileError, Safetensors, TensorInfo, TensorSource};

/// What the names of a decoder's tensors begin with inside of a language model.
const PREFIX: &str = "model.";
/// A tensor that every model has.
const EMBEDDING: &str = "embed_tokens.weight";

/// A file whose tensors are known by their names in a language model, whatever they are stored as.
pub(super) struct Bare {
    file: Safetensors,
    /// All tensors under their names in a language model, where the file has others.
    renamed: Option<Vec<TensorInfo>>,
}

impl Bare {
    pub fn new(file: Safetensors) -> Self {
        let bare =
            file.info(EMBEDDING).is_some() && file.info(&format!("{PREFIX}{EMBEDDING}")).is_none();
        let named = |info: &TensorInfo| TensorInfo {
            name: format!("{PREFIX}{}", info.name),
            ..info.clone()
        };
        let renamed = bare.then(|| file.tensors().iter().map(named).collect());
        Self { file, renamed }
    }

    fn stored<'a>(&self, name: &'a str) -> &'a str {
        match &self.renamed {
            Some(_) => name.strip_prefix(PREFIX).unwrap_or(name),
            None => name,
        }
    }
}

impl TensorSource for Bare {
    fn path(&self) -> &Path {
        self.file.path()
    }

    fn tensors(&self) -> &[TensorInfo] {
        match &self.renamed {
            Some(renamed) => renamed,
            None => self.file.tensors(),
        }
    }

    fn info(&self, name: &str) -> Option<&TensorInfo> {
        match &self.renamed {
            Some(renamed) => renamed.iter().find(|info| info.name == name),
            None => self.file.info(name),
        }
    }

    fn problems(&self) -> Vec<String> {
        self.file.problems()
    }

    fn read_into(&self, name: &str, start: usize, buffer: &mut [u8]) -> Result<(), FileError> {
        self.file.read_into(self.stored(name), start, buffer)
    }
}
