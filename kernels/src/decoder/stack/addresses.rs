//! Addresses of the operands of all layers, as a kernel finds them.

use cubecl::prelude::*;

use super::base::StackShape;
use crate::device_code::ptx::global_address;
use crate::error::KernelError;
use crate::operand::{Buffer, FloatType, FloatVector, KvCache};
use crate::prepack::{FragmentOrder, PrepackedWeights};

/// Addresses of a layer.
pub const ENTRIES: usize = 16;

/// The operands of a layer.
#[derive(Clone, Copy, Debug)]
pub struct StackLayer<'a> {
    /// Queries, keys and values: `[(heads + 2·kv_heads)·dim, hidden]`.
    pub qkv: &'a PrepackedWeights,
    /// `[hidden, heads·dim]`.
    pub output: &'a PrepackedWeights,
    /// Gate, then up: `[2·inner, hidden]`.
    pub gate_up: &'a PrepackedWeights,
    /// `[hidden, inner]`.
    pub down: &'a PrepackedWeights,
    /// F32 gains `[hidden]` of the norm in front of q|k|v.
    pub input_norm: &'a FloatVector,
    /// F32 gains `[heads·dim]` in front of the output projection; any where there are no sub-norms.
    pub attention_sub_norm: &'a FloatVector,
    /// F32 gains `[hidden]` in front of gate and up.
    pub post_attention_norm: &'a FloatVector,
    /// F32 gains `[inner]` in front of down; any where there are no sub-norms.
    pub ffn_sub_norm: &'a FloatVector,
    /// Cosines and sines, f32 `[positions, dim]`.
    pub rotary: &'a Buffer,
    /// Keys and values.
    pub cache: &'a KvCache,
}

impl StackLayer<'_> {
    fn check(&self, client: &Client, shape: &StackShape) -> Result<(), KernelError> {
        let width = shape.heads * shape.dim;
        let products = [
            (
                "q|k|v",
                self.qkv,
                [width + 2 * shape.kv_heads * shape.dim, shape.hidden],
            ),
            ("output projection", self.output, [shape.hidden, width]),
            ("gate and up", self.gate_up, [2 * shape.inner, shape.hidden]),
            ("down", self.down, [shape.hidden, shape.inner]),
        ];
        for (operand, weights, expected) in products {
            let layout = weights.layout();
            let found = [layout.out_features(), layout.in_features()];
            if found != expected {
                return Err(KernelError::Shape {
                    operand,
                    expected,
                    found,
                });
            }
            if weights.fragment_layout().order != FragmentOrder::Int8 || layout.code() != shape.code
            {
                return Err(KernelError::NotPrepackable {
                    layout: Box::new(layout.clone()),
                });
            }
        }
        let mut gains = vec![
            ("input norm", self.input_norm, shape.hidden),
            (
                "post-attention norm",
                self.post_attention_norm,
                shape.hidden,
            ),
        ];
        if shape.sub_norms {
            gains.push(("attention sub-norm", self.attention_sub_norm, width));
            gains.push(("feed-forward sub-norm", self.ffn_sub_norm, shape.inner));
        }
        for (operand, gains, len) in gains {
            gains.check(client, operand, len)?;
            FloatType::F32.expect(operand, gains.dtype())?;
            if gains.line_width(8) == 1 {
                let reason = format!("{operand} does not start at a multiple of 16 bytes");
                return Err(KernelError::Plan { reason });
            }
        }
        shape.dtype.expect("key-value cache", self.cache.dtype())?;
        let (expected, found) = (
            [shape.kv_heads, shape.dim],
            [self.cache.heads(), self.cache.dim()],
        );
        match found == expected {
            true => Ok(()),
            false => Err(KernelError::Shape {
                operand: "key-value cache",
                expected,
                found,
            }),
        }
    }
}

/// Writes the addresses of `layer`, number `index`, to `table` u32 `[layers · 2 · ENTRIES]`.
///
/// CubeCL may move buffers between launches, but not those that a recorded graph names while the graph lives:
/// record these launches in one, replay it once and keep it for as long as stacks read the table.
///
/// # Errors
/// [`KernelError`] if shapes, types or code tables are not those of `shape`, or the table is too short.
pub fn record(
    client: &Client,
    shape: &StackShape,
    layer: &StackLayer<'_>,
    index: usize,
    table: &Buffer,
) -> Result<(), KernelError> {
    layer.check(client, shape)?;
    let words = 2 * ENTRIES;
    if table.len() < (index + 1) * words {
        return Err(KernelError::Length {
            operand: "address table",
            expected: (index + 1) * words,
            found: table.len(),
        });
    }
    // SAFETY: the kernel takes addresses alone, and writes the words of the layer, which the table has.
    unsafe {
        write_addresses::launch_unchecked(
            client,
            CubeCount::new_single(),
            CubeDim::new_1d(1),
            layer.qkv.words().arg(),
            layer.qkv.row_scales().arg(),
            layer.output.words().arg(),
            layer.output.row_scales().arg(),
            layer.gate_up.words().arg(),
            layer.gate_up.row_scales().arg(),
            layer.down.words().arg(),
            layer.down.row_scales().arg(),
            layer.input_norm.arg(),
            layer.attention_sub_norm.arg(),
            layer.post_attention_norm.arg(),
            layer.ffn_sub_norm.arg(),
            layer.cache.key_lines(1),
            layer.cache.value_lines(1),
            layer.rotary.arg(),
            table.arg(),
            index * words,
        );
    }
    Ok(())
}

/// Entries of the table.
pub(super) mod entry {
    pub const QKV: usize = 0;
    pub const OUTPUT: usize = 2;
    pub const GATE_UP: usize = 4;
    pub const DOWN: usize = 6;
    pub const INPUT_NORM: usize = 8;
    pub const ATTENTION_SUB_NORM: usize = 9;
    pub const POST_ATTENTION_NORM: usize = 10;
    pub const FFN_SUB_NORM: usize = 11;
    pub const KEYS: usize = 12;
    pub const VALUES: usize = 13;
    pub const ROTARY: usize = 14;
}

#[cube(launch_unchecked)]
#[allow(
    clippy::too_many_arguments,
    reason = "a kernel's signature is its binding list"
)]
fn write_addresses(
    qkv: &[u32],
    qkv_scales: &[u32],
    output: &[u32],
    output_scales: &[u32],
    gate_up: &[u32],
    gate_up_scales: &[u32],
    down: &[u32],
    down_scales: &[u32],
    input_norm: &[u32],
    attention_sub_norm: &[u32],
    post_attention_norm: &[u32],
    ffn_sub_norm: &[u32],
    keys: &[u32],
    values: &[u32],
    rotary: &[u32],
    table: &mut [u32],
    start: usize,
) {
    write(table, start, entry::QKV, global_address::<u32>(qkv));
    write(
        table,
        start,
        comptime!(entry::QKV + 1),
        global_address::<u32>(qkv_scales),
    );
    write(table, start, entry::OUTPUT, global_address::<u32>(output));
    write(
        table,
        start,
        comptime!(entry::OUTPUT + 1),
        global_address::<u32>(output_scales),
    );
    write(table, start, entry::GATE_UP, global_address::<u32>(gate_up));
    write(
        table,
        start,
        comptime!(entry::GATE_UP + 1),
        global_address::<u32>(gate_up_scales),
    );
    write(table, start, entry::DOWN, global_address::<u32>(down));
    write(
        table,
        start,
        comptime!(entry::DOWN + 1),
        global_address::<u32>(down_scales),
    );
    write(
        table,
        start,
        entry::INPUT_NORM,
        global_address::<u32>(input_norm),
    );
    write(
        table,
        start,
        entry::ATTENTION_SUB_NORM,
        global_address::<u32>(attention_sub_norm),
    );
    write(
        table,
        start,
        entry::POST_ATTENTION_NORM,
        global_address::<u32>(post_attention_norm),
    );
    write(
        table,
        start,
        entry::FFN_SUB_NORM,
        global_address::<u32>(ffn_sub_norm),
    );
    write(table, start, entry::KEYS, global_address::<u32>(keys));
    write(table, start, entry::VALUES, global_address::<u32>(values));
    write(table, start, entry::ROTARY, global_address::<u32>(rotary));
}

#[cube]
fn write(table: &mut [u32], start: usize, #[comptime] index: usize, address: u64) {
    table[start + comptime!(2 * index)] = u32::cast_from(address & 0xFFFF_FFFFu64);
    table[start + comptime!(2 * index + 1)] = u32::cast_from(address >> 32u64);
}
