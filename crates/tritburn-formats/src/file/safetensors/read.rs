//! Reading safetensors files.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use super::header::Header;
use super::{INDEX_FILE, SINGLE_FILE, ShardIndex};
use crate::file::escape::shown;
use crate::file::input::{OpenFile, ReadAt, read_at};
use crate::file::source::{buffer_range, require_range};
use crate::file::{FileError, TensorInfo, TensorSource};

/// Largest index that is read.
const MAX_INDEX: u64 = 64 << 20;

/// One open file.
struct Shard {
    path: PathBuf,
    input: Box<dyn ReadAt>,
}

/// A model in safetensors files. The headers are in memory, the tensors are not.
///
/// A tensor that Python's `save_model` left out because it shares its data with another one can be
/// asked for by its name all the same: `__metadata__` says under which name the data is. It is found
/// by [`info`](TensorSource::info) and the methods that read, but not listed, see
/// [`aliases`](Self::aliases).
///
/// # Examples
///
/// ```
/// use tritburn_formats::file::{DType, Safetensors, TensorSource};
///
/// let header = br#"{"t":{"dtype":"U8","shape":[3],"data_offsets":[0,3]}}"#;
/// let bytes = [&(header.len() as u64).to_le_bytes()[..], header, &[7, 8, 9]].concat();
/// let file = Safetensors::from_bytes("example", bytes)?; // `open` for files and folders
/// assert_eq!(file.require("t")?.dtype, DType::U8);
/// assert_eq!(file.read("t")?, [7, 8, 9]);
/// assert!(file.read("u").is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Safetensors {
    path: PathBuf,
    shards: Vec<Shard>,
    metadata: BTreeMap<String, String>,
    tensors: Vec<TensorInfo>,
    /// Shard and offset of each tensor.
    locations: Vec<(usize, u64)>,
    by_name: HashMap<String, usize>,
    /// Other names of tensors: whose index, and the tensor under that name.
    aliases: BTreeMap<String, (usize, TensorInfo)>,
    /// What the folder has beside the file that was opened.
    unread: Option<PathBuf>,
}

impl Safetensors {
    /// Opens a file, an index (`*.json`), or a folder: its `model.safetensors`, else its
    /// `model.safetensors.index.json`, else its only `.safetensors` file.
    ///
    /// # Errors
    /// [`FileError`] for anything but complete, consistent headers that describe whole files.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, FileError> {
        let path = path.as_ref();
        if path.is_dir() {
            let (file, unread) = model_file(path)?;
            let mut model = Self::open_file(&file)?;
            model.path = path.to_path_buf();
            model.unread = unread;
            return Ok(model);
        }
        Self::open_file(path)
    }

    fn open_file(path: &Path) -> Result<Self, FileError> {
        match path
            .extension()
            .is_some_and(|ext| ext.eq_ignore_ascii_case("json"))
        {
            true => Self::open_index(path),
            false => Self::from_input(path, Box::new(OpenFile::open(path)?)),
        }
    }

    /// Reads the header of a file in memory; `name` stands for its path in errors.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn from_bytes(name: impl AsRef<Path>, bytes: Vec<u8>) -> Result<Self, FileError> {
        Self::from_input(name.as_ref(), Box::new(bytes))
    }

    fn from_input(path: &Path, input: Box<dyn ReadAt>) -> Result<Self, FileError> {
        let mut model = Self::empty(path);
        let header = Header::read(path, input.as_ref())?;
        model.metadata = header.metadata;
        for (info, offset) in header.tensors.into_iter().zip(header.offsets) {
            model.add(info, 0, offset);
        }
        model.find_aliases();
        model.shards.push(Shard {
            path: path.to_path_buf(),
            input,
        });
        Ok(model)
    }

    fn open_index(path: &Path) -> Result<Self, FileError> {
        let input = OpenFile::open(path)?;
        if input.size() > MAX_INDEX {
            return Err(FileError::limit(
                path,
                "the size of the index",
                input.size(),
                MAX_INDEX,
            ));
        }
        let mut json = vec![0; input.size() as usize];
        read_at(path, &input, 0, &mut json, "the index")?;
        let index = ShardIndex::parse(path, &json)?;
        let mut model = Self::empty(path);
        for (number, name) in index.shards.iter().enumerate() {
            let file = path.with_file_name(name);
            let input = OpenFile::open(&file)?;
            let header = Header::read(&file, &input)?;
            model.metadata.extend(header.metadata);
            for (info, offset) in header.tensors.into_iter().zip(header.offsets) {
                match index.tensors.get(&info.name) {
                    Some(&shard) if shard == number => model.add(info, number, offset),
                    _ => tracing::warn!(
                        "{}: tensor {:?} is left out, the index does not put it here",
                        file.display(),
                        info.name
                    ),
                }
            }
            model.shards.push(Shard {
                path: file,
                input: Box::new(input),
            });
        }
        model.find_aliases();
        for (tensor, &shard) in &index.tensors {
            if model.info(tensor).is_none() {
                return Err(FileError::ShardTensor {
                    path: path.to_path_buf(),
                    tensor: tensor.clone(),
                    shard: index.shards[shard].clone(),
                });
            }
        }
        Ok(model)
    }

    fn empty(path: &Path) -> Self {
        Self {
            path: path.to_path_buf(),
            shards: Vec::new(),
            metadata: BTreeMap::new(),
            tensors: Vec::new(),
            locations: Vec::new(),
            by_name: HashMap::new(),
            aliases: BTreeMap::new(),
            unread: None,
        }
    }

    /// Metadata whose key is the name of no tensor and whose value is one.
    fn find_aliases(&mut self) {
        for (alias, target) in &self.metadata {
            if let Some(&index) = self.by_name.get(target)
                && !self.by_name.contains_key(alias)
            {
                let name = alias.clone();
                let info = TensorInfo {
                    name,
                    ..self.tensors[index].clone()
                };
                self.aliases.insert(alias.clone(), (index, info));
            }
        }
    }

    fn add(&mut self, info: TensorInfo, shard: usize, offset: u64) {
        self.by_name.insert(info.name.clone(), self.tensors.len());
        self.tensors.push(info);
        self.locations.push((shard, offset));
    }

    /// The text under `__metadata__`, of all shards together.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// Names that stand for another tensor's data, and that tensor's name. They are not among
    /// [`tensors`](TensorSource::tensors).
    pub fn aliases(&self) -> impl Iterator<Item = (&str, &str)> {
        let name = |index: usize| self.tensors[index].name.as_str();
        let aliases = self.aliases.iter();
        aliases.map(move |(alias, &(index, _))| (alias.as_str(), name(index)))
    }

    /// The index that lies beside the single file which was read, of a folder that has both: they
    /// may be two models.
    pub fn unread(&self) -> Option<&Path> {
        self.unread.as_deref()
    }

    /// The files that the tensors come from.
    pub fn files(&self) -> impl ExactSizeIterator<Item = &Path> {
        self.shards.iter().map(|shard| shard.path.as_path())
    }
}

/// The file or index to open in a folder, and the index that is passed over for the file.
fn model_file(folder: &Path) -> Result<(PathBuf, Option<PathBuf>), FileError> {
    let [single, index] = [SINGLE_FILE, INDEX_FILE].map(|name| {
        let file = folder.join(name);
        file.is_file().then_some(file)
    });
    match (single, index) {
        (Some(single), index) => return Ok((single, index)),
        (None, Some(index)) => return Ok((index, None)),
        (None, None) => {}
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(FileError::io(folder))? {
        let file = entry.map_err(FileError::io(folder))?.path();
        if file.extension().is_some_and(|ext| ext == "safetensors") {
            files.push(file);
        }
    }
    match (files.pop(), files.len()) {
        (Some(file), 0) => Ok((file, None)),
        (_, others) => Err(FileError::Folder {
            path: folder.to_path_buf(),
            reason: match others {
                0 => format!("no {SINGLE_FILE}, no {INDEX_FILE}"),
                _ => format!("{} .safetensors files, but no {INDEX_FILE}", others + 1),
            },
        }),
    }
}

impl TensorSource for Safetensors {
    fn path(&self) -> &Path {
        &self.path
    }

    fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }

    fn info(&self, name: &str) -> Option<&TensorInfo> {
        match self.by_name.get(name) {
            Some(&index) => Some(&self.tensors[index]),
            None => self.aliases.get(name).map(|(_, info)| info),
        }
    }

    fn problems(&self) -> Vec<String> {
        let unread = self.unread.iter();
        let problem = |index: &PathBuf| {
            format!(
                "{SINGLE_FILE} is read, {} beside it is not: they may be two models",
                shown(index)
            )
        };
        unread.map(problem).collect()
    }

    fn read_into(&self, name: &str, start: usize, buffer: &mut [u8]) -> Result<(), FileError> {
        require_range(self, name, &buffer_range(start, buffer))?;
        let index = match self.by_name.get(name) {
            Some(&index) => index,
            // A name that was found is one or the other.
            None => self.aliases[name].0,
        };
        let (shard, offset) = self.locations[index];
        let shard = &self.shards[shard];
        read_at(
            &shard.path,
            shard.input.as_ref(),
            offset + start as u64,
            buffer,
            name,
        )
    }
}
