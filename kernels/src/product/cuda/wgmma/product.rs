//! The `wgmma` instruction, its accumulator registers and its shared-memory descriptors.

use cubecl::prelude::*;
use tritburn_formats::WeightCode;

use super::base::WgmmaBlueprint;
use crate::device_code::MmaType;
use crate::device_code::fragments::{decode_half, decode_int8};

/// Issues the wgmmas of `plan.slices()` slices of 32 columns, beginning with slice `slice`, as one
/// group, and waits for all earlier groups. `right` is the descriptor of the column tile.
#[cube]
pub(crate) fn products(
    held: &Array<Vector<u32, Const<4>>>,
    right: u32,
    #[comptime] slice: usize,
    first: bool,
    #[comptime] code: WeightCode,
    #[comptime] types: MmaType,
    #[comptime] plan: WgmmaBlueprint,
) {
    let (steps, slices) = comptime!((types.size(), plan.slices()));
    let per_tile = comptime!(slices * steps * 4);
    let mut registers = Array::<u32>::new(comptime!(plan.tiles * per_tile));
    #[unroll]
    for tile in 0..comptime!(plan.tiles) {
        #[unroll]
        for register in 0..per_tile {
            let word = held[tile].extract(comptime!(slice + register / (steps * 4)));
            let within = comptime!((register % (steps * 4)) as u32);
            registers[comptime!(tile * per_tile + register)] = match comptime!(types) {
                MmaType::Int8 => decode_int8(word, within, code),
                _ => decode_half(word, within, code, types),
            };
        }
    }
    gpu_asm!("wgmma.fence.sync.aligned;");
    #[unroll]
    for step in 0..comptime!(slices * steps) {
        // 32 columns are 32 bytes of int8, or 64 of half types, of which two slices fill a 128-byte row.
        let offset = comptime!({
            let byte = (slice * steps + step) * 32;
            (byte / 128) * plan.tokens * 128 + byte % 128
        });
        let descriptor = right + comptime!((offset >> 4) as u32);
        let more = u32::cast_from(!(first && comptime!(step == 0).runtime()));
        #[unroll]
        for tile in 0..comptime!(plan.tiles) {
            let at = comptime!(tile * per_tile + step * 4);
            start(
                registers[at],
                registers[comptime!(at + 1)],
                registers[comptime!(at + 2)],
                registers[comptime!(at + 3)],
                descriptor,
                more,
                tile,
                SharedOperand::DepthInner,
                types,
                plan,
            );
        }
    }
    gpu_asm!("wgmma.commit_group.sync.aligned; wgmma.wait_group.sync.aligned 1;");
}

/// Waits until all wgmmas of this warp are complete.
#[cube]
pub(crate) fn finish_products() {
    gpu_asm!("wgmma.wait_group.sync.aligned 0;");
}

/// Layout of an operand in shared memory, in rows of 128 bytes. Depth is the contracted dimension.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum SharedOperand {
    /// Depth is contiguous (K-major): a row of 128 bytes belongs to one token, or one row of the left
    /// operand.
    DepthInner,
    /// Tokens are contiguous (MN-major): a row of 128 bytes is 64 half-precision tokens at one depth. The
    /// next 64 tokens follow after 8192 bytes.
    DepthOuter,
}

/// The low word of the descriptor (PTX ISA, "Matrix descriptor format") of an operand at
/// `address`. Only the low 18 bits of the address are used: the bits above hold the cube's rank in
/// its cluster. The descriptor of an operand `n` bytes later is larger by `n / 16`.
#[cube]
pub(crate) fn descriptor(address: u32, #[comptime] right: SharedOperand) -> u32 {
    let leading = comptime!(match right {
        SharedOperand::DepthInner => 1u32,
        SharedOperand::DepthOuter => 8192 >> 4,
    });
    ((address & 0x3FFFFu32) >> 4u32) | comptime!(leading << 16)
}

/// Issues one wgmma: 64 rows from registers, `plan.tokens` tokens from shared memory. The high word
/// of the descriptor selects the 128-byte swizzle and a stride of 1024 bytes between groups of 8
/// rows.
#[cube]
#[allow(clippy::too_many_arguments, reason = "the operands of an instruction")]
pub(crate) fn start(
    a0: u32,
    a1: u32,
    a2: u32,
    a3: u32,
    descriptor: u32,
    more: u32,
    #[comptime] tile: usize,
    #[comptime] right: SharedOperand,
    #[comptime] types: MmaType,
    #[comptime] plan: WgmmaBlueprint,
) {
    let sums = comptime!(accumulator_list(plan, tile));
    let name = comptime!(instruction(plan, types));
    let modifiers = comptime!(match (types, right) {
        (MmaType::Int8, _) => "",
        (_, SharedOperand::DepthInner) => ", 1, 1, 0",
        (_, SharedOperand::DepthOuter) => ", 1, 1, 1",
    });
    let high = comptime!(64u32 | (1 << 30)).runtime();
    gpu_asm!(
        "{{ .reg .b64 d; .reg .pred p; mov.b64 d, {{{descriptor}, {high}}}; setp.ne.u32 p, {more}, 0; ",
        "{name} {sums}, {{{a0}, {a1}, {a2}, {a3}}}, d, p{modifiers}; }}",
        descriptor = in(_) descriptor, high = in(_) high, more = in(_) more,
        a0 = in(_) a0, a1 = in(_) a1, a2 = in(_) a2, a3 = in(_) a3,
    );
}

/// The descriptor offset of slice `slice`: 32 bytes of the depth, or 16 rows of half-precision floats.
pub(crate) fn slice_offset(operand: SharedOperand, slice: usize) -> u32 {
    let bytes = match operand {
        SharedOperand::DepthInner => 32,
        SharedOperand::DepthOuter => 16 * 128,
    };
    (slice * bytes / 16) as u32
}

/// Issues one wgmma of operands in shared memory: 64 rows of the left one, `plan.tokens` of the right one,
/// 32 bytes of the depth. int8 operands have their depth inside. `left` and `right` are the low words of descriptors;
/// `orders` are the operands' layouts.
#[cube]
pub(crate) fn start_shared(
    left: u32,
    right: u32,
    more: u32,
    #[comptime] orders: [SharedOperand; 2],
    #[comptime] types: MmaType,
    #[comptime] plan: WgmmaBlueprint,
) {
    let sums = comptime!(accumulator_list(plan, 0));
    let name = comptime!(instruction(plan, types));
    let modifiers = comptime!(match types {
        MmaType::Int8 => String::new(),
        _ => {
            let [left, right] = orders.map(|order| u32::from(order == SharedOperand::DepthOuter));
            format!(", 1, 1, {left}, {right}")
        }
    });
    let high = comptime!(64u32 | (1 << 30)).runtime();
    gpu_asm!(
        "{{ .reg .b64 a, b; .reg .pred p; mov.b64 a, {{{left}, {high}}}; \
         mov.b64 b, {{{right}, {high}}}; setp.ne.u32 p, {more}, 0; ",
        "{name} {sums}, a, b, p{modifiers}; }}",
        left = in(_) left, right = in(_) right, high = in(_) high, more = in(_) more,
    );
}

/// One accumulator register.
#[cube]
pub(crate) fn accumulator<A: Numeric>(#[comptime] index: usize, #[comptime] types: MmaType) -> A {
    let kind = comptime!(register_type(types));
    let out: A;
    gpu_asm!("mov.{kind} {out}, q{index};", out = out(_) out);
    out
}

fn register_type(types: MmaType) -> &'static str {
    match types {
        MmaType::Int8 => "b32",
        _ => "f32",
    }
}

/// Declares the accumulators as PTX registers. A wgmma updates them in place, which the operands of
/// an inline block cannot express, so later blocks refer to them by name.
pub(crate) fn declare_accumulators(plan: WgmmaBlueprint, types: MmaType) -> String {
    format!(".reg .{} q<{}>;", register_type(types), plan.accumulators())
}

fn accumulator_list(plan: WgmmaBlueprint, tile: usize) -> String {
    let per_tile = plan.tokens / 2;
    let names: Vec<String> = (tile * per_tile..(tile + 1) * per_tile)
        .map(|i| format!("q{i}"))
        .collect();
    format!("{{{}}}", names.join(", "))
}

fn instruction(plan: WgmmaBlueprint, types: MmaType) -> String {
    let n = plan.tokens;
    let (k, types) = match types {
        MmaType::Int8 => (32, "s32.s8.s8"),
        MmaType::Bf16 => (16, "f32.bf16.bf16"),
        MmaType::F16 => (16, "f32.f16.f16"),
    };
    format!("wgmma.mma_async.sync.aligned.m64n{n}k{k}.{types}")
}
