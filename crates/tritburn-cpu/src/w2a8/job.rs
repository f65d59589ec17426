//! Operands and output of one product, and the epilogue that all instruction sets share.

use tritburn_formats::ScaleGranularity;

use crate::parallel::OutPtr;
use crate::planes::Planes;
use crate::view::WeightView;

/// One product `x[M, K] · W[N, K]ᵀ`, operands checked.
pub(crate) struct W2A8Job<'a> {
    pub(crate) words: &'a [u32],
    pub(crate) words_per_row: usize,
    pub(crate) planes: &'a Planes,
    pub(crate) group_words: Option<usize>,
    out_features: usize,
    multiplier: i32,
    offset: i32,
    unit: f32,
    output: Output<'a>,
}

/// Where results go.
pub(crate) enum Output<'a> {
    /// The exact integers.
    Int(OutPtr<i32>),
    /// Rescaled, with an optional bias.
    Float {
        y: OutPtr<f32>,
        scales: &'a RowScales<'a>,
        tokens: &'a [f32],
        bias: Option<&'a [f32]>,
    },
}

/// Weight scales as the epilogue reads them.
pub(crate) enum RowScales<'a> {
    /// One scale for all rows.
    One(f32),
    /// One scale per row, or several if scales are per group.
    Many(&'a [f32]),
    /// One scale per row, expanded from scales per segment.
    Spread(Vec<f32>),
}

impl<'a> RowScales<'a> {
    pub(crate) fn new(w: &WeightView<'a>) -> Self {
        match w.layout().scale() {
            ScaleGranularity::Tensor => Self::One(w.scales()[0]),
            scale => match scale {
                ScaleGranularity::Segments { .. } => scale
                    .row_scales(w.scales(), w.layout().out_features())
                    .map_or(Self::Many(w.scales()), Self::Spread),
                _ => Self::Many(w.scales()),
            },
        }
    }

    #[inline(always)]
    fn rows<const R: usize>(&self, row: usize) -> [f32; R] {
        let scales = match self {
            Self::One(scale) => return [*scale; R],
            Self::Many(scales) => scales,
            Self::Spread(scales) => scales.as_slice(),
        };
        let mut rows = [0.0; R];
        rows.copy_from_slice(&scales[row..row + R]);
        rows
    }
}

impl<'a> W2A8Job<'a> {
    pub(crate) fn new(w: &WeightView<'a>, planes: &'a Planes, output: Output<'a>) -> Self {
        let layout = w.layout();
        Self {
            words: w.words(),
            words_per_row: layout.words_per_row(),
            planes,
            group_words: w.group().map(|size| size / 16),
            out_features: layout.out_features(),
            multiplier: layout.code().multiplier(),
            offset: layout.code().offset(),
            unit: layout.code().unit(),
            output,
        }
    }

    /// Rows N of the weight matrix.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn out_features(&self) -> usize {
        self.out_features
    }

    /// First word of a row.
    #[inline(always)]
    pub(crate) fn row(&self, row: usize) -> *const u32 {
        self.words[row * self.words_per_row..].as_ptr()
    }

    /// `Σ q·value` from `Σ q·code` and `Σ q`.
    ///
    /// Steps may wrap around; the result is the true sum, which fits.
    #[inline(always)]
    fn exact(&self, raw: i32, sum: i32) -> i32 {
        raw.wrapping_mul(self.multiplier)
            .wrapping_sub(sum.wrapping_mul(self.offset))
    }

    /// Finishes the outputs of `R` rows from `row` on, from their `Σ q·code`.
    ///
    /// # Safety
    /// `token` and the rows are in range, and no other task writes these outputs.
    #[inline(always)]
    pub(crate) unsafe fn store<const R: usize>(&self, token: usize, row: usize, raw: [i32; R]) {
        let sum = self.planes.sums(token)[0];
        let at = token * self.out_features + row;
        match &self.output {
            Output::Int(out) => {
                for (r, raw) in raw.into_iter().enumerate() {
                    // SAFETY: the caller's promise.
                    unsafe { out.write(at + r, self.exact(raw, sum)) }
                }
            }
            Output::Float {
                y,
                scales,
                tokens,
                bias,
            } => {
                let mut scales: [f32; R] = scales.rows(row);
                for scale in &mut scales {
                    *scale = *scale * self.unit * tokens[token];
                }
                let mut values = [0.0; R];
                for r in 0..R {
                    values[r] = self.exact(raw[r], sum) as f32 * scales[r];
                }
                if let Some(bias) = bias {
                    for (value, bias) in values.iter_mut().zip(&bias[row..row + R]) {
                        *value += bias;
                    }
                }
                for (r, value) in values.into_iter().enumerate() {
                    // SAFETY: the caller's promise.
                    unsafe { y.write(at + r, value) }
                }
            }
        }
    }

    /// Finishes the outputs of `R` rows that carry a scale per group, from the `Σ q·code` of the
    /// parts of each row, `group_parts` of them a group.
    ///
    /// # Safety
    /// As [`store`](Self::store).
    #[inline(always)]
    pub(crate) unsafe fn store_groups<const R: usize>(
        &self,
        token: usize,
        row: usize,
        parts: &[[i32; R]],
        group_parts: usize,
    ) {
        let Output::Float {
            y,
            scales: RowScales::Many(scales),
            tokens,
            bias,
        } = &self.output
        else {
            return;
        };
        let sums = self.planes.sums(token);
        let groups = sums.len();
        let mut rows = [*scales; R];
        for (r, scales_of_row) in rows.iter_mut().enumerate() {
            *scales_of_row = &scales[(row + r) * groups..][..groups];
        }
        let mut totals = [0.0f32; R];
        for (g, parts) in parts.chunks(group_parts).enumerate() {
            let mut raw = [0i32; R];
            for part in parts {
                for r in 0..R {
                    raw[r] = raw[r].wrapping_add(part[r]);
                }
            }
            for r in 0..R {
                totals[r] += self.exact(raw[r], sums[g]) as f32 * (rows[r][g] * self.unit);
            }
        }
        for (r, total) in totals.into_iter().enumerate() {
            let scaled = total * tokens[token];
            let biased = bias.map_or(scaled, |bias| scaled + bias[row + r]);
            // SAFETY: the caller's promise.
            unsafe { y.write(token * self.out_features + row + r, biased) }
        }
    }
}
