//! How the cubes of a stack hand on what they compute: words of 32 bits, each beside the serial number of the
//! layer that it belongs to, stored and loaded 64 bits at once.
//!
//! Who reads a word looks at it until it has the serial number of its layer, so that no counter and no fence
//! stands between a store and the load that waits for it. A word may be overwritten once all cubes have read
//! it. That is so when the next layer writes it: every cube has a share of every product, and a product's
//! input depends on all cubes' shares of the product before it, so that who computes the next layer's word has
//! read something from every cube that the cube computed after it had read this one.

use cubecl::prelude::*;

use crate::device_code::ptx::temporary;

/// Looks at a word before a cube gives up: some seconds.
const PATIENCE: u32 = 1 << 22;

/// What a word holds that was not there in time: two NaNs of a half-precision type, or one of f32.
pub(super) const MISSING: u32 = 0x7FFF_7FFF;

/// The serial number of a layer, and how often its words are looked for.
#[derive(CubeType, Clone, Copy)]
pub(super) struct Serial {
    pub number: u32,
    pub patience: u32,
}

/// The serial number `number`, for a cube that may have given up before: then it waits no more.
#[cube]
pub(super) fn serial(number: u32, failed: bool) -> Serial {
    Serial {
        number,
        patience: select(failed, 1u32, PATIENCE),
    }
}

/// Loads four words of global memory, at a multiple of 32 bytes, as soon as all have the serial number;
/// [`MISSING`] if they do not come.
#[cube]
pub(super) fn receive(address: u64, serial: &Serial) -> Vector<u32, Const<4>> {
    let number = temporary(serial.number);
    let patience = temporary(serial.patience);
    let out: Vector<u32, Const<4>>;
    gpu_asm!(
        "{{ .reg .pred p, q; .reg .b32 a, b, c, d, n; .reg .b64 s, t, u, v; mov.u32 n, 0; ",
        "again: ld.relaxed.gpu.global.v2.b64 {{s, t}}, [{address}]; ",
        "ld.relaxed.gpu.global.v2.b64 {{u, v}}, [{address} + 16]; ",
        "mov.b64 {{%0, a}}, s; mov.b64 {{%1, b}}, t; mov.b64 {{%2, c}}, u; mov.b64 {{%3, d}}, v; ",
        "setp.eq.u32 p, a, {number}; setp.eq.and.u32 p, b, {number}, p; ",
        "setp.eq.and.u32 p, c, {number}, p; setp.eq.and.u32 p, d, {number}, p; @p bra done; ",
        "add.u32 n, n, 1; setp.lt.u32 q, n, {patience}; @q bra again; ",
        "mov.u32 %0, {missing}; mov.u32 %1, {missing}; mov.u32 %2, {missing}; mov.u32 %3, {missing}; ",
        "done: /* {out} */ }}",
        out = out(_) out,
        address = in(_) address,
        number = in(_) number,
        patience = in(_) patience,
        missing = const MISSING,
    );
    out
}

/// Loads four words, and says whether all have the serial number, without waiting.
#[cube]
pub(super) fn glance(address: u64, serial: &Serial) -> (Vector<u32, Const<4>>, bool) {
    let found = load_pairs(address);
    let more = load_pairs(address + 16);
    let there = found.extract(1usize) == serial.number
        && found.extract(3usize) == serial.number
        && more.extract(1usize) == serial.number
        && more.extract(3usize) == serial.number;
    let mut words = Vector::<u32, Const<4>>::empty();
    words.insert(0usize, found.extract(0usize));
    words.insert(1usize, found.extract(2usize));
    words.insert(2usize, more.extract(0usize));
    words.insert(3usize, more.extract(2usize));
    (words, there)
}

#[cube]
fn load_pairs(address: u64) -> Vector<u32, Const<4>> {
    let out: Vector<u32, Const<4>>;
    gpu_asm!(
        "{{ .reg .b64 s, t; ld.relaxed.gpu.global.v2.b64 {{s, t}}, [{address}]; ",
        "mov.b64 {{%0, %1}}, s; mov.b64 {{%2, %3}}, t; /* {out} */ }}",
        out = out(_) out,
        address = in(_) address,
    );
    out
}

/// The sign bit of words that carry the parity of their serial number in it, instead of the whole number beside
/// them: what is handed on at one place has one serial number after the other.
#[cube]
pub(super) fn parity(number: u32) -> u32 {
    number << 31u32
}

/// Loads four words of global memory that carry their parity, and says whether all are those of `serial`,
/// without waiting. The parity is taken out of them.
#[cube]
pub(super) fn glance_parity(address: u64, serial: &Serial) -> (Vector<u32, Const<4>>, bool) {
    let out: Vector<u32, Const<4>>;
    gpu_asm!(
        "ld.relaxed.gpu.global.v4.u32 {out}, [{address}];",
        out = out(_) out,
        address = in(_) address,
    );
    let parity = parity(serial.number);
    let mut words = Vector::<u32, Const<4>>::empty();
    let mut wrong = 0u32;
    #[unroll]
    for i in 0..4usize {
        let word = out.extract(i) ^ parity;
        wrong |= word;
        words.insert(i, word);
    }
    (words, wrong < 0x8000_0000u32)
}

/// Stores a word with its serial number at `address`, a multiple of 8.
#[cube]
pub(super) fn send(address: u64, word: u32, number: u32) {
    let (word, number) = (temporary(word), temporary(number));
    gpu_asm!(
        "{{ .reg .b64 s; mov.b64 s, {{{word}, {number}}}; st.relaxed.gpu.global.b64 [{address}], s; }}",
        address = in(_) address,
        word = in(_) word,
        number = in(_) number,
    );
}

/// Loads a word of global memory that another launch has written.
#[cube]
pub(super) fn load_word(address: u64) -> u32 {
    let out: u32;
    gpu_asm!(
        "ld.relaxed.gpu.global.u32 {out}, [{address}];",
        out = out(_) out,
        address = in(_) address,
    );
    temporary(out)
}

/// Stores a word of global memory.
#[cube]
pub(super) fn store_word(address: u64, value: u32) {
    let value = temporary(value);
    gpu_asm!(
        "st.relaxed.gpu.global.u32 [{address}], {value};",
        address = in(_) address,
        value = in(_) value,
    );
}
