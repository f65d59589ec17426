//! AMX int8: tiles of 16 weight rows by 16 tokens, 64 inputs a multiply.
//!
//! `tdpbusd` wants its left tile as 16 rows of 64 unsigned bytes, which a decoded plane of 16
//! weight rows is, and its right tile as 16 rows of four inputs each of 16 tokens. Rust has no
//! stable intrinsics for it, so one block of inline assembly configures the tiles, runs the loop
//! over the inputs and releases the tiles; no tile state outlives the block.

use std::arch::asm;
use std::arch::x86_64::*;
use std::ops::Range;

use super::job::Job;
use crate::parallel;
use crate::planes::{BLOCK, PLANE, Planes};
use rayon::prelude::*;

/// From this many tokens on tiles beat vectors.
pub(super) const MIN_TOKENS: usize = 16;

/// Rows, and tokens, of a tile.
const SIDE: usize = 16;
/// Weight rows of a strip: two tiles.
const STRIP: usize = 2 * SIDE;
/// Blocks of 256 inputs in a panel: the decoded codes of a strip (32 KiB) stay in the level-1
/// cache while the tokens pass over them.
const PANEL: usize = 4;
/// Strips of one task.
const TASK_ROWS: usize = 4 * STRIP;

/// A tile of bytes, or of 16 × 16 i32.
#[repr(C, align(64))]
#[derive(Clone, Copy)]
struct Tile([u8; 1024]);

const EMPTY: Tile = Tile([0; 1024]);

/// Whether the processor has AMX int8 and the kernel lets this process use it, after asking for
/// the permission.
pub(crate) fn enable() -> bool {
    const AMX_TILE: u32 = 1 << 24;
    const AMX_INT8: u32 = 1 << 25;
    const OSXSAVE: u32 = 1 << 27;
    const TILE_STATE: u32 = 0b11 << 17;
    if __cpuid(0).eax < 7 || __cpuid(1).ecx & OSXSAVE == 0 {
        return false;
    }
    let features = __cpuid_count(7, 0).edx;
    if features & AMX_TILE == 0 || features & AMX_INT8 == 0 {
        return false;
    }
    let state: u32;
    // SAFETY: OSXSAVE says that xgetbv exists; it reads register 0 of the extended states.
    unsafe {
        asm!("xgetbv", in("ecx") 0, out("eax") state, out("edx") _, options(nomem, nostack));
    }
    state & TILE_STATE == TILE_STATE && request_permission()
}

/// Asks Linux for the tile data state, for all threads of the process.
#[cfg(target_os = "linux")]
fn request_permission() -> bool {
    const SYS_ARCH_PRCTL: isize = 158;
    const ARCH_REQ_XCOMP_PERM: usize = 0x1023;
    const XFEATURE_XTILEDATA: usize = 18;
    let result: isize;
    // SAFETY: a system call without pointers; it clobbers rcx and r11 only.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") SYS_ARCH_PRCTL => result,
            in("rdi") ARCH_REQ_XCOMP_PERM,
            in("rsi") XFEATURE_XTILEDATA,
            out("rcx") _,
            out("r11") _,
            options(nostack),
        );
    }
    result == 0
}

#[cfg(not(target_os = "linux"))]
fn request_permission() -> bool {
    false
}

/// Computes all outputs of a job of `tokens` tokens whose rows have one scale each.
///
/// Needs [`enable`] to have said yes.
pub(super) fn run(job: &Job<'_>, tokens: usize, parallel: bool) {
    let activations = Activations::new(job.planes, tokens, parallel);
    parallel::for_ranges(parallel, job.out_features(), STRIP, TASK_ROWS, |rows| {
        let mut weights = vec![EMPTY; PANEL * 4 * 2];
        let mut sums = vec![EMPTY; activations.groups() * 2];
        for row in rows.clone().step_by(STRIP) {
            let strip = row..(row + STRIP).min(rows.end);
            // SAFETY: AMX implies the vector set; tasks own disjoint rows.
            unsafe { self::strip(job, &activations, strip, &mut weights, &mut sums) };
        }
    });
}

/// Activations as right tiles, `[token / 16][input / 64]`, zero past the last token.
struct Activations {
    tiles: Vec<Tile>,
    steps: usize,
    tokens: usize,
}

impl Activations {
    fn new(planes: &Planes, tokens: usize, parallel: bool) -> Self {
        let steps = planes.blocks() * BLOCK / PLANE;
        let mut tiles = vec![EMPTY; tokens.div_ceil(SIDE) * steps];
        let fill = |(group, tiles): (usize, &mut [Tile])| {
            let first = group * SIDE;
            for token in first..tokens.min(first + SIDE) {
                for (step, tile) in tiles.iter_mut().enumerate() {
                    let (quads, _) = planes.line(token, step).as_chunks::<4>();
                    let (cells, _) = tile.0.as_chunks_mut::<4>();
                    for (kk, quad) in quads.iter().enumerate() {
                        cells[kk * SIDE + token - first] = *quad;
                    }
                }
            }
        };
        match parallel {
            true => tiles.par_chunks_exact_mut(steps).enumerate().for_each(fill),
            false => tiles.chunks_exact_mut(steps).enumerate().for_each(fill),
        }
        Self {
            tiles,
            steps,
            tokens,
        }
    }

    /// Groups of 16 tokens.
    fn groups(&self) -> usize {
        self.tokens.div_ceil(SIDE)
    }

    /// Tiles of a group from a step on.
    fn tiles(&self, group: usize, steps: Range<usize>) -> &[Tile] {
        &self.tiles[group * self.steps..][steps]
    }
}

/// Computes up to 32 rows for all tokens. `weights` holds a panel of decoded codes
/// `[step][row / 16]`, `sums` the accumulators `[token / 16][row / 16]`.
///
/// # Safety
/// AMX and AVX-512 BW are available, `rows` is inside the job, and no other task writes its
/// outputs.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn strip(
    job: &Job<'_>,
    activations: &Activations,
    rows: Range<usize>,
    weights: &mut [Tile],
    sums: &mut [Tile],
) {
    sums.fill(EMPTY);
    let blocks = job.planes.blocks();
    for first in (0..blocks).step_by(PANEL) {
        let panel = first..(first + PANEL).min(blocks);
        for (r, row) in rows.clone().enumerate() {
            // SAFETY: the row is inside the job.
            unsafe { decode(job, row, r, panel.clone(), weights) };
        }
        let steps = 4 * panel.start..4 * panel.end;
        let weights = &weights[..2 * steps.len()];
        for pair in (0..activations.groups()).step_by(2) {
            let left = activations.tiles(pair, steps.clone());
            let both = pair + 1 < activations.groups();
            let right = match both {
                true => activations.tiles(pair + 1, steps.clone()),
                false => left,
            };
            let sums = &mut sums[2 * pair..];
            // SAFETY: AMX is available; the slices hold what the loops read, a tile a step of
            // each operand and two accumulators a group.
            unsafe {
                match both {
                    true => multiply_2x2(weights, left, right, &mut sums[..4]),
                    false => multiply_2x1(weights, left, &mut sums[..2]),
                }
            }
        }
    }
    for token in 0..activations.tokens {
        let group = 2 * (token / SIDE);
        for (half, first) in rows.clone().step_by(SIDE).enumerate() {
            let (cells, _) = sums[group + half].0.as_chunks::<4>();
            let cell = |r: usize| i32::from_le_bytes(cells[r * SIDE + token % SIDE]);
            let count = SIDE.min(rows.end - first);
            for r in (0..count / 4 * 4).step_by(4) {
                let raw = [cell(r), cell(r + 1), cell(r + 2), cell(r + 3)];
                // SAFETY: the caller's promise.
                unsafe { job.store(token, first + r, raw) };
            }
            for r in count / 4 * 4..count {
                // SAFETY: the caller's promise.
                unsafe { job.store(token, first + r, [cell(r)]) };
            }
        }
    }
}

/// Decodes the blocks of `panel` of one weight row into row `r` of the strip's tiles.
///
/// # Safety
/// AVX-512 BW is available and `row` is inside the job.
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn decode(job: &Job<'_>, row: usize, r: usize, panel: Range<usize>, weights: &mut [Tile]) {
    let words = job.row(row);
    let mask = _mm512_set1_epi8(3);
    for (at, block) in panel.enumerate() {
        let done = block * SIDE;
        let valid = (job.words_per_row - done).min(SIDE);
        // SAFETY: lanes past the end of the row are masked off.
        let raw = unsafe {
            _mm512_maskz_loadu_epi32(((1u32 << valid) - 1) as u16, words.add(done).cast())
        };
        let planes = [
            raw,
            _mm512_srli_epi16::<2>(raw),
            _mm512_srli_epi16::<4>(raw),
            _mm512_srli_epi16::<6>(raw),
        ];
        for (plane, codes) in planes.into_iter().enumerate() {
            let tile = &mut weights[(4 * at + plane) * 2 + r / SIDE].0;
            let line = &mut tile[r % SIDE * PLANE..][..PLANE];
            // SAFETY: the line has 64 bytes.
            unsafe { _mm512_storeu_si512(line.as_mut_ptr().cast(), _mm512_and_si512(codes, mask)) };
        }
    }
}

/// Palette 1 with all eight tiles of 16 rows by 64 bytes.
#[repr(C, align(64))]
struct Config([u8; 64]);

static CONFIG: Config = {
    let mut bytes = [0; 64];
    bytes[0] = 1;
    let mut tile = 0;
    while tile < 8 {
        bytes[16 + 2 * tile] = PLANE as u8;
        bytes[48 + tile] = SIDE as u8;
        tile += 1;
    }
    Config(bytes)
};

/// `sums[g][h] += weights[.][h] · tokens_g` for two groups of tokens and two tiles of rows.
///
/// # Safety
/// AMX int8 is available and permitted; `weights` has `2·steps` tiles, `left` and `right` have
/// `steps > 0`, `sums` has 4.
unsafe fn multiply_2x2(weights: &[Tile], left: &[Tile], right: &[Tile], sums: &mut [Tile]) {
    // SAFETY: reads and writes what the caller promised, and releases the tiles it configured.
    unsafe {
        asm!(
            "ldtilecfg [{config}]",
            "tileloadd tmm0, [{sums} + {stride}]",
            "tileloadd tmm1, [{sums} + {stride} + 1024]",
            "tileloadd tmm2, [{sums} + {stride} + 2048]",
            "tileloadd tmm3, [{sums} + {stride} + 3072]",
            "2:",
            "tileloadd tmm4, [{weights} + {stride}]",
            "tileloadd tmm6, [{left} + {stride}]",
            "tdpbusd tmm0, tmm4, tmm6",
            "tileloadd tmm5, [{weights} + {stride} + 1024]",
            "tdpbusd tmm1, tmm5, tmm6",
            "tileloadd tmm7, [{right} + {stride}]",
            "tdpbusd tmm2, tmm4, tmm7",
            "tdpbusd tmm3, tmm5, tmm7",
            "add {weights}, 2048",
            "add {left}, 1024",
            "add {right}, 1024",
            "dec {steps}",
            "jnz 2b",
            "tilestored [{sums} + {stride}], tmm0",
            "tilestored [{sums} + {stride} + 1024], tmm1",
            "tilestored [{sums} + {stride} + 2048], tmm2",
            "tilestored [{sums} + {stride} + 3072], tmm3",
            "tilerelease",
            config = in(reg) &CONFIG,
            sums = in(reg) sums.as_mut_ptr(),
            weights = inout(reg) weights.as_ptr() => _,
            left = inout(reg) left.as_ptr() => _,
            right = inout(reg) right.as_ptr() => _,
            steps = inout(reg) left.len() => _,
            stride = in(reg) PLANE,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        );
    }
}

/// [`multiply_2x2`] for one group of tokens.
///
/// # Safety
/// As there; `sums` has 2 tiles.
unsafe fn multiply_2x1(weights: &[Tile], tokens: &[Tile], sums: &mut [Tile]) {
    // SAFETY: reads and writes what the caller promised, and releases the tiles it configured.
    unsafe {
        asm!(
            "ldtilecfg [{config}]",
            "tileloadd tmm0, [{sums} + {stride}]",
            "tileloadd tmm1, [{sums} + {stride} + 1024]",
            "2:",
            "tileloadd tmm4, [{weights} + {stride}]",
            "tileloadd tmm6, [{tokens} + {stride}]",
            "tdpbusd tmm0, tmm4, tmm6",
            "tileloadd tmm5, [{weights} + {stride} + 1024]",
            "tdpbusd tmm1, tmm5, tmm6",
            "add {weights}, 2048",
            "add {tokens}, 1024",
            "dec {steps}",
            "jnz 2b",
            "tilestored [{sums} + {stride}], tmm0",
            "tilestored [{sums} + {stride} + 1024], tmm1",
            "tilerelease",
            config = in(reg) &CONFIG,
            sums = in(reg) sums.as_mut_ptr(),
            weights = inout(reg) weights.as_ptr() => _,
            tokens = inout(reg) tokens.as_ptr() => _,
            steps = inout(reg) tokens.len() => _,
            stride = in(reg) PLANE,
            out("tmm0") _, out("tmm1") _, out("tmm4") _, out("tmm5") _, out("tmm6") _,
            options(nostack),
        );
    }
}
