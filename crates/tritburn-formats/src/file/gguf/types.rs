//! Type numbers that have meant several things, settled by the sizes of the tensors that have them.
//!
//! The numbers from 39 on were given to new types by ggml while forks, and older files, used them for
//! their own; and Q2_0 had groups of 128 before it had groups of 64. A file does not say which it
//! means, but a tensor must end where the next one starts.

use std::fmt;

use super::GgmlType;
use super::header::Listed;
use crate::file::DType;

/// A tensor with fewer bytes than the type takes that its number stands for. It is listed as
/// [`GgmlType::Unknown`], as are all others of the number in its file, and none of them is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypeProblem {
    /// Tensor.
    pub tensor: String,
    /// Its shape, outermost first.
    pub shape: Vec<u64>,
    /// The type that the number stands for.
    pub kind: GgmlType,
    /// Bytes that the type takes; `None` if the shape is not whole blocks of it.
    pub expected: Option<u64>,
    /// Bytes up to the next tensor or the end of the file.
    pub found: u64,
}

impl fmt::Display for TypeProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            tensor,
            shape,
            kind,
            expected,
            found,
        } = self;
        write!(f, "tensor {tensor:?} {shape:?} has {found} bytes, but ")?;
        match expected {
            Some(expected) => write!(f, "{kind} takes {expected}")?,
            None => write!(f, "the shape is not whole blocks of {kind}")?,
        }
        let id = kind.id();
        write!(
            f,
            ": type {id} means something else in this file, or the file is cut off"
        )
    }
}

/// What a contested number may stand for, the likeliest first; `None` for numbers with one meaning.
fn meanings(dtype: DType) -> Option<&'static [GgmlType]> {
    Some(match dtype {
        DType::Ggml(GgmlType::Mxfp4) => &[GgmlType::Mxfp4],
        DType::Ggml(GgmlType::Nvfp4) => &[GgmlType::Nvfp4],
        DType::Ggml(GgmlType::Q1_0) => &[GgmlType::Q1_0],
        DType::Ggml(GgmlType::Q2_0) => &[GgmlType::Q2_0, GgmlType::Q2_0G128],
        DType::Ggml(GgmlType::Pq2_0) => &[GgmlType::Pq2_0],
        DType::Ggml(GgmlType::Ptq1_0) => &[GgmlType::Ptq1_0],
        _ => return None,
    })
}

/// Gives every tensor of a contested number the first meaning that all tensors of that number have
/// room for, or makes it unknown. `listed` is in the order of offsets, `data_len` bytes in all.
pub(super) fn settle(listed: &mut [Listed], data_len: u64) -> Vec<TypeProblem> {
    let mut contested: Vec<DType> = Vec::new();
    for tensor in listed.iter() {
        if meanings(tensor.dtype).is_some() && !contested.contains(&tensor.dtype) {
            contested.push(tensor.dtype);
        }
    }
    let mut problems = Vec::new();
    for dtype in contested {
        let meanings = meanings(dtype).unwrap_or_default();
        let of_number = || (0..listed.len()).filter(|&i| listed[i].dtype == dtype);
        let fits = |kind: GgmlType| {
            let problem = |i| problem(listed, i, data_len, kind);
            of_number().all(|i| problem(i).is_none())
        };
        let kind = match (meanings.iter().find(|&&kind| fits(kind)), meanings) {
            (Some(&kind), _) => kind,
            (None, &[first, ..]) => {
                problems.extend(of_number().filter_map(|i| problem(listed, i, data_len, first)));
                GgmlType::Unknown(first.id())
            }
            (None, []) => continue,
        };
        for tensor in listed.iter_mut().filter(|tensor| tensor.dtype == dtype) {
            tensor.dtype = DType::Ggml(kind);
        }
    }
    problems
}

/// Why tensor `index` cannot be of `kind`, if it cannot.
fn problem(listed: &[Listed], index: usize, data_len: u64, kind: GgmlType) -> Option<TypeProblem> {
    let tensor = &listed[index];
    let next = listed.get(index + 1).map_or(data_len, |next| next.offset);
    let found = next.min(data_len).saturating_sub(tensor.offset);
    let extents = tensor.extents();
    let expected = extents.and_then(|shape| kind.byte_len(&shape));
    let expected = expected.map(|bytes| bytes as u64);
    if expected.is_some_and(|expected| expected <= found) {
        return None;
    }
    Some(TypeProblem {
        tensor: tensor.name.clone(),
        shape: tensor.shape.clone(),
        kind,
        expected,
        found,
    })
}
