//! The pickle of a checkpoint: a dictionary of names to tensors, as `torch.save` writes it.

use crate::file::{DType, TensorSpec};

/// Opcodes of pickle protocol 2 (Python's `pickletools`).
mod op {
    pub const PROTO: u8 = 0x80;
    pub const EMPTY_DICT: u8 = b'}';
    pub const EMPTY_TUPLE: u8 = b')';
    pub const MARK: u8 = b'(';
    pub const TUPLE: u8 = b't';
    pub const GLOBAL: u8 = b'c';
    pub const REDUCE: u8 = b'R';
    pub const BINPERSID: u8 = b'Q';
    pub const BINUNICODE: u8 = b'X';
    pub const BININT: u8 = b'J';
    pub const LONG1: u8 = 0x8a;
    pub const NEWFALSE: u8 = 0x89;
    pub const SETITEMS: u8 = b'u';
    pub const STOP: u8 = b'.';
}

/// Torch's name for a storage of `dtype`; `None` for types that torch keeps otherwise or not at all.
pub(super) fn storage_class(dtype: DType) -> Option<&'static str> {
    Some(match dtype {
        DType::F64 => "DoubleStorage",
        DType::F32 => "FloatStorage",
        DType::F16 => "HalfStorage",
        DType::BF16 => "BFloat16Storage",
        DType::I64 => "LongStorage",
        DType::I32 => "IntStorage",
        DType::I16 => "ShortStorage",
        DType::I8 => "CharStorage",
        DType::U8 => "ByteStorage",
        DType::Bool => "BoolStorage",
        _ => return None,
    })
}

/// The pickle of `tensors`, each with its storage class. Tensor `i` is all of storage `i`.
pub(super) fn state_dict(tensors: &[(&TensorSpec, &'static str)]) -> Vec<u8> {
    let mut out = vec![op::PROTO, 2, op::EMPTY_DICT, op::MARK];
    for (index, (tensor, class)) in tensors.iter().enumerate() {
        text(&mut out, &tensor.name);
        // _rebuild_tensor_v2(storage, offset, shape, strides, requires_grad, hooks)
        global(&mut out, "torch._utils", "_rebuild_tensor_v2");
        out.push(op::MARK);
        out.push(op::MARK);
        text(&mut out, "storage");
        global(&mut out, "torch", class);
        text(&mut out, &index.to_string());
        text(&mut out, "cpu");
        int(&mut out, tensor.shape.iter().product());
        out.extend([op::TUPLE, op::BINPERSID]);
        int(&mut out, 0);
        tuple(&mut out, &tensor.shape);
        tuple(&mut out, &strides(&tensor.shape));
        out.push(op::NEWFALSE);
        global(&mut out, "collections", "OrderedDict");
        out.extend([op::EMPTY_TUPLE, op::REDUCE, op::TUPLE, op::REDUCE]);
    }
    out.extend([op::SETITEMS, op::STOP]);
    out
}

/// Strides of a row-major tensor, in elements. An extent of 0 counts as 1, as torch has it.
fn strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for i in (1..shape.len()).rev() {
        strides[i - 1] = strides[i] * shape[i].max(1);
    }
    strides
}

fn global(out: &mut Vec<u8>, module: &str, name: &str) {
    out.push(op::GLOBAL);
    out.extend(format!("{module}\n{name}\n").bytes());
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.push(op::BINUNICODE);
    out.extend((text.len() as u32).to_le_bytes());
    out.extend(text.bytes());
}

fn int(out: &mut Vec<u8>, value: usize) {
    match i32::try_from(value) {
        Ok(small) => {
            out.push(op::BININT);
            out.extend(small.to_le_bytes());
        }
        Err(_) => {
            // Two's complement: a ninth byte keeps the number positive.
            out.extend([op::LONG1, 9]);
            out.extend((value as u64).to_le_bytes());
            out.push(0);
        }
    }
}

fn tuple(out: &mut Vec<u8>, values: &[usize]) {
    out.push(op::MARK);
    values.iter().for_each(|&value| int(out, value));
    out.push(op::TUPLE);
}
