//! The loops over rows and groups that the quantisers share.

use rayon::prelude::*;

use super::prune::keep_largest;
use crate::affine::{
    AffineLayout, AffineMatrix, AffineParts, Bits, Floats, UNIT, pack_affine_codes,
};
use crate::error::{MatrixError, check_length};

/// Scale and zero point of a group, as they are stored.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Group {
    /// Positive, or infinite where the weights are too large for its type.
    pub scale: f32,
    pub zero: f32,
}

impl Group {
    /// The place of a group that is still to be fitted.
    pub(super) const UNFITTED: Self = Self {
        scale: 1.0,
        zero: 0.0,
    };

    /// The code of a weight.
    #[inline(always)]
    pub(super) fn code(self, w: f32, bits: Bits) -> u8 {
        let code = (w / self.scale + self.zero).round_ties_even();
        code.max(0.0).min(f32::from(bits.max_code())) as u8
    }

    /// The weight of a code.
    pub(super) fn weight(self, code: u8) -> f32 {
        (f32::from(code) - self.zero) * self.scale
    }
}

/// A matrix whose groups are what `fit` makes of their kept weights.
pub(super) fn quantize(
    weights: &[f32],
    layout: &AffineLayout,
    fit: impl Fn(&[f32]) -> Group + Sync,
) -> Result<AffineMatrix, MatrixError> {
    check_weights(weights, layout)?;
    let (k, span, groups) = (layout.in_features(), layout.span(), layout.groups_per_row());
    let mask = match layout.is_sparse() {
        true => keep_largest(weights, k)?,
        false => vec![],
    };
    let mut codes = vec![0; layout.weight_count()];
    let mut fitted = vec![Group::UNFITTED; layout.group_count()];
    codes
        .par_chunks_mut(k)
        .zip(weights.par_chunks(k))
        .zip(fitted.par_chunks_mut(groups))
        .enumerate()
        .for_each_init(Vec::new, |kept, (row, ((codes, weights), fitted))| {
            let parts = weights.chunks(span).zip(codes.chunks_mut(span));
            for (g, ((weights, codes), group)) in parts.zip(fitted).enumerate() {
                *group = match mask.is_empty() {
                    true => fit(weights),
                    false => {
                        let first = (row * k + g * span) / UNIT;
                        kept.clear();
                        let is_kept = |i: usize| mask[first + i / UNIT] >> (i % UNIT) & 1 == 1;
                        let indexed = weights.iter().enumerate();
                        kept.extend(indexed.filter(|(i, _)| is_kept(*i)).map(|(_, w)| w));
                        fit(kept)
                    }
                };
                for (code, &w) in codes.iter_mut().zip(weights) {
                    *code = group.code(w, layout.bits());
                }
            }
        });
    matrix(layout, &codes, mask, &fitted, None)
}

/// The matrix of codes in stored order and fitted groups.
pub(super) fn matrix(
    layout: &AffineLayout,
    codes: &[u8],
    mask: Vec<u32>,
    groups: &[Group],
    order: Option<Vec<u32>>,
) -> Result<AffineMatrix, MatrixError> {
    if let Some(index) = groups.iter().position(|g| !g.scale.is_finite()) {
        return Err(MatrixError::ScaleOverflow { index });
    }
    let floats = |value: fn(&Group) -> f32| {
        let values: Vec<f32> = groups.iter().map(value).collect();
        Floats::from_f32(&values, layout.floats())
    };
    AffineMatrix::new(AffineParts {
        words: pack_affine_codes(codes, &mask, layout)?,
        mask,
        scales: floats(|g| g.scale),
        zeros: layout.has_zeros().then(|| floats(|g| g.zero)),
        order,
        layout: layout.clone(),
    })
}

/// Refuses weights of another number, and the first that is not finite.
pub(super) fn check_weights(weights: &[f32], layout: &AffineLayout) -> Result<(), MatrixError> {
    check_length("weights", weights.len(), layout.weight_count())?;
    let bad = weights.par_iter().with_min_len(1 << 14);
    match bad.position_first(|w| !w.is_finite()) {
        None => Ok(()),
        Some(at) => Err(MatrixError::NonFinite {
            row: at / layout.in_features(),
            col: at % layout.in_features(),
            value: weights[at],
        }),
    }
}
