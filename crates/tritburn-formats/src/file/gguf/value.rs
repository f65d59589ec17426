//! Metadata of GGUF files: typed values under names.

use std::path::Path;

use super::wire::{HeaderReader, ToWire};
use crate::file::FileError;

/// Levels of arrays in arrays that are read. ggml's own reader takes one.
const MAX_DEPTH: usize = 4;

/// A metadata value.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
#[allow(missing_docs)]
pub enum Value {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    U64(u64),
    I64(i64),
    F32(f32),
    F64(f64),
    Bool(bool),
    String(String),
    Array(Array),
}

/// Values of one type.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
#[allow(missing_docs)]
pub enum Array {
    U8(Vec<u8>),
    I8(Vec<i8>),
    U16(Vec<u16>),
    I16(Vec<i16>),
    U32(Vec<u32>),
    I32(Vec<i32>),
    U64(Vec<u64>),
    I64(Vec<i64>),
    F32(Vec<f32>),
    F64(Vec<f64>),
    Bool(Vec<bool>),
    String(Vec<String>),
    Array(Vec<Array>),
}

/// Calls a macro with every value type but arrays and its number.
macro_rules! for_types {
    ($call:ident) => {
        $call! {
            0 U8, 1 I8, 2 U16, 3 I16, 4 U32, 5 I32, 6 F32, 7 Bool, 8 String, 10 U64, 11 I64, 12 F64
        }
    };
}

const ARRAY: u32 = 9;

macro_rules! type_ids {
    ($($id:literal $name:ident),*) => {
        fn value_id(value: &Value) -> u32 {
            match value {
                $(Value::$name(_) => $id,)*
                Value::Array(_) => ARRAY,
            }
        }

        fn array_id(array: &Array) -> u32 {
            match array {
                $(Array::$name(_) => $id,)*
                Array::Array(_) => ARRAY,
            }
        }

        fn read_plain(id: u32, reader: &mut HeaderReader, what: &str) -> Result<Value, FileError> {
            Ok(match id {
                $($id => Value::$name(reader.take(what)?),)*
                _ => return Err(unknown(reader, id, what)),
            })
        }

        fn read_array(reader: &mut HeaderReader, what: &str, depth: usize) -> Result<Array, FileError> {
            if depth > MAX_DEPTH {
                let (found, max) = (depth as u64, MAX_DEPTH as u64);
                return Err(FileError::limit(reader.path(), format!("nesting of {what}"), found, max));
            }
            let id: u32 = reader.take(what)?;
            let count: u64 = reader.take(what)?;
            Ok(match id {
                $($id => Array::$name(reader.take_many(count, what)?),)*
                ARRAY => {
                    // An array is at least its type and its count.
                    let count = reader.check_count(count, 12, what)?;
                    let mut inner = Vec::new();
                    for _ in 0..count {
                        inner.push(read_array(reader, what, depth + 1)?);
                    }
                    Array::Array(inner)
                }
                _ => return Err(unknown(reader, id, what)),
            })
        }

        fn write_plain(value: &Value, out: &mut Vec<u8>) {
            match value {
                $(Value::$name(v) => v.write(out),)*
                Value::Array(array) => write_array(array, out),
            }
        }

        fn write_array(array: &Array, out: &mut Vec<u8>) {
            array_id(array).write(out);
            (array.len() as u64).write(out);
            match array {
                $(Array::$name(items) => items.iter().for_each(|v| v.write(out)),)*
                Array::Array(items) => items.iter().for_each(|a| write_array(a, out)),
            }
        }

        impl Array {
            /// Number of values.
            pub fn len(&self) -> usize {
                match self {
                    $(Self::$name(items) => items.len(),)*
                    Self::Array(items) => items.len(),
                }
            }
        }
    };
}
for_types!(type_ids);

fn unknown(reader: &HeaderReader, id: u32, what: &str) -> FileError {
    let reason = format!("{what} has the unknown value type {id}");
    FileError::header(reader.path(), reader.offset(), reason)
}

impl Array {
    /// The values of an array of integers of any width; `None` for other arrays, and for a number
    /// over `i64::MAX`.
    pub fn to_integers(&self) -> Option<Vec<i64>> {
        fn all<T: Copy + TryInto<i64>>(items: &[T]) -> Option<Vec<i64>> {
            items.iter().map(|&item| item.try_into().ok()).collect()
        }
        match self {
            Self::U8(items) => all(items),
            Self::I8(items) => all(items),
            Self::U16(items) => all(items),
            Self::I16(items) => all(items),
            Self::U32(items) => all(items),
            Self::I32(items) => all(items),
            Self::U64(items) => all(items),
            Self::I64(items) => all(items),
            _ => None,
        }
    }

    /// Whether there are no values.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Value {
    /// The value as an unsigned number, whatever integer type it is stored in.
    pub fn as_u64(&self) -> Option<u64> {
        Some(match *self {
            Self::U8(v) => v.into(),
            Self::U16(v) => v.into(),
            Self::U32(v) => v.into(),
            Self::U64(v) => v,
            Self::I8(v) => v.try_into().ok()?,
            Self::I16(v) => v.try_into().ok()?,
            Self::I32(v) => v.try_into().ok()?,
            Self::I64(v) => v.try_into().ok()?,
            _ => return None,
        })
    }

    /// The value as a float, if it is stored as one.
    pub fn as_f64(&self) -> Option<f64> {
        match *self {
            Self::F32(v) => Some(v.into()),
            Self::F64(v) => Some(v),
            _ => None,
        }
    }

    /// The value, if it is a string.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(v) => Some(v),
            _ => None,
        }
    }

    /// The value, if it is a boolean.
    pub fn as_bool(&self) -> Option<bool> {
        match *self {
            Self::Bool(v) => Some(v),
            _ => None,
        }
    }

    /// The value, if it is an array.
    pub fn as_array(&self) -> Option<&Array> {
        match self {
            Self::Array(v) => Some(v),
            _ => None,
        }
    }

    /// The values of an array of integers, whatever integer type they are stored in: token types and
    /// ids, whose width differs from writer to writer. `None` as for [`Array::to_integers`].
    pub fn to_integers(&self) -> Option<Vec<i64>> {
        self.as_array()?.to_integers()
    }

    pub(super) fn read(reader: &mut HeaderReader, what: &str) -> Result<Self, FileError> {
        match reader.take(what)? {
            ARRAY => Ok(Self::Array(read_array(reader, what, 1)?)),
            id => read_plain(id, reader, what),
        }
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        value_id(self).write(out);
        write_plain(self, out);
    }
}

/// The metadata of a GGUF file, in file order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metadata {
    entries: Vec<(String, Value)>,
}

impl Metadata {
    /// No metadata.
    pub fn new() -> Self {
        Self::default()
    }

    /// The value under `key`.
    pub fn get(&self, key: &str) -> Option<&Value> {
        let entry = self.entries.iter().find(|entry| entry.0 == key);
        entry.map(|entry| &entry.1)
    }

    /// Sets the value of `key`; a new key goes to the end.
    pub fn set(&mut self, key: impl Into<String>, value: Value) {
        let key = key.into();
        match self.entries.iter_mut().find(|entry| entry.0 == key) {
            Some(entry) => entry.1 = value,
            None => self.entries.push((key, value)),
        }
    }

    /// All keys and values.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Value)> {
        self.entries
            .iter()
            .map(|(key, value)| (key.as_str(), value))
    }

    /// `general.architecture`, empty if there is none.
    pub fn architecture(&self) -> &str {
        let value = self.get("general.architecture").and_then(Value::as_str);
        value.unwrap_or_default()
    }

    pub(super) fn read(reader: &mut HeaderReader, count: u64) -> Result<Self, FileError> {
        // A key is at least its length, a value its type and one byte.
        let count = reader.check_count(count, 13, "the metadata")?;
        let mut entries: Vec<(String, Value)> = Vec::new();
        let mut seen = std::collections::HashSet::new();
        for _ in 0..count {
            let key: String = reader.take("a metadata key")?;
            let value = Value::read(reader, &key)?;
            if !seen.insert(key.clone()) {
                return Err(duplicate(reader.path(), "metadata key", key));
            }
            entries.push((key, value));
        }
        Ok(Self { entries })
    }
}

pub(super) fn duplicate(path: &Path, what: &'static str, name: String) -> FileError {
    FileError::Duplicate {
        path: path.to_path_buf(),
        what,
        name,
    }
}
