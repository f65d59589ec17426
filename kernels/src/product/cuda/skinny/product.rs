//! The products of a column tile, and the load of their right operand.

use cubecl::prelude::*;
use tritburn_formats::WeightCode;

use crate::device_code::MmaType;
use crate::device_code::fragments::{decode_half, decode_int8};
use crate::device_code::ptx::{load_matrices, mma};
use crate::product::cuda::MmaInput;

/// Registers of a lane for the activations of 8 tokens and one column tile.
const fn right_registers(operand: MmaInput) -> usize {
    8 * operand.types.size()
}

/// Loads the activations of 8 tokens from shared memory as right operands of `mma`. `line` is the address
/// that this lane passes to `ldmatrix`: row `lane mod 8`, 16-byte line `lane div 8`.
#[cube]
pub(crate) fn load_staged(line: u32, #[comptime] operand: MmaInput) -> Array<u32> {
    let registers = comptime!(right_registers(operand));
    let mut right = Array::<u32>::new(registers);
    #[unroll]
    for load in 0..comptime!(registers / 4) {
        let part = load_matrices(line + comptime!(64 * load as u32));
        #[unroll]
        for i in 0..4usize {
            right[comptime!(4 * load + i)] = part.extract(i);
        }
    }
    right
}

/// Adds the products of a column tile with 8 tokens.
#[cube]
pub(super) fn multiply<A: Numeric>(
    words: Vector<u32, Const<4>>,
    right: &Array<u32>,
    sum: Vector<A, Const<4>>,
    #[comptime] code: WeightCode,
    #[comptime] operand: MmaInput,
) -> Vector<A, Const<4>> {
    let mut sum = sum;
    #[unroll]
    for step in 0..comptime!(right_registers(operand) / 2) {
        sum = multiply_step::<A>(words, right, sum, step, code, operand);
    }
    sum
}

/// One instruction of [`multiply`]: 32 columns of int8, 16 of a half type.
#[cube]
pub(crate) fn multiply_step<A: Numeric>(
    words: Vector<u32, Const<4>>,
    right: &Array<u32>,
    sum: Vector<A, Const<4>>,
    #[comptime] step: usize,
    #[comptime] code: WeightCode,
    #[comptime] operand: MmaInput,
) -> Vector<A, Const<4>> {
    // A word holds one int8 fragment, or two half ones.
    let word = words.extract(comptime!(step / operand.types.size()));
    let mut a = Array::<u32>::new(4usize);
    #[unroll]
    for register in 0..4usize {
        a[register] = match comptime!(operand.types) {
            MmaType::Int8 => decode_int8(word, comptime!(register as u32), code),
            _ => decode_half(
                word,
                comptime!((4 * (step % 2) + register) as u32),
                code,
                comptime!(operand.types),
            ),
        };
    }
    mma::<A>(
        a[0],
        a[1],
        a[2],
        a[3],
        right[comptime!(2 * step)],
        right[comptime!(2 * step + 1)],
        sum,
        comptime!(operand.types),
    )
}
