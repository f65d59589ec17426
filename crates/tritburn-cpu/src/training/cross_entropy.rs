//! Cross entropy of rows of logits, and its gradient.

use super::rows::{exponentials, largest};
use crate::error::{CpuError, expect_len};
use crate::isa::Isa;
use crate::lm::norm::row_count;
use crate::lm::vector::{self, Lanes, Work};
use crate::parallel::{self, OutPtr};

/// Options of the loss `w · (l - x[target] + z·l²)` of a target, with `l = ln Σ exp(x)`. The square is the
/// z-loss (Chowdhery et al. 2022, arXiv 2204.02311, section 5).
#[derive(Clone, Copy, Debug, Default)]
pub struct CrossEntropy<'a> {
    /// A target that is ignored: neither its loss nor its logits count.
    pub ignore: Option<u32>,
    /// Factor z of the z-loss.
    pub z_loss: f32,
    /// Weight w of each label, `[V]`; one if left out.
    pub label_weights: Option<&'a [f32]>,
}

/// Losses `[T]` and weights `[T]` of the targets for logits `[T, V]`: the mean loss is the sum of
/// the losses over the sum of the weights. A target that is not below V, and not ignored, gives
/// NaN with the weight one.
///
/// # Errors
/// [`CpuError::Length`] if a slice does not fit, [`CpuError::EmptyRow`] if `vocabulary` is zero.
pub fn cross_entropy(
    logits: &mut [f32],
    vocabulary: usize,
    targets: &[u32],
    config: CrossEntropy<'_>,
    losses: &mut [f32],
    weights: &mut [f32],
) -> Result<(), CpuError> {
    run(logits, vocabulary, targets, config, losses, weights, false)
}

/// [`cross_entropy`], and the gradient of the sum of the losses in place of the logits:
/// `w · (softmax(x) · (1 + 2·z·l) - onehot(target))`.
///
/// # Errors
/// As [`cross_entropy`].
pub fn cross_entropy_gradient(
    logits: &mut [f32],
    vocabulary: usize,
    targets: &[u32],
    config: CrossEntropy<'_>,
    losses: &mut [f32],
    weights: &mut [f32],
) -> Result<(), CpuError> {
    run(logits, vocabulary, targets, config, losses, weights, true)
}

fn run(
    logits: &mut [f32],
    vocabulary: usize,
    targets: &[u32],
    config: CrossEntropy<'_>,
    losses: &mut [f32],
    weights: &mut [f32],
    gradient: bool,
) -> Result<(), CpuError> {
    let tokens = row_count("logits", logits.len(), vocabulary)?;
    expect_len("targets", targets.len(), tokens)?;
    expect_len("losses", losses.len(), tokens)?;
    expect_len("weights", weights.len(), tokens)?;
    if let Some(labels) = config.label_weights {
        expect_len("label_weights", labels.len(), vocabulary)?;
    }
    let isa = Isa::detect();
    let logits = OutPtr::new(logits);
    let (losses, weights) = (OutPtr::new(losses), OutPtr::new(weights));
    let parallel = parallel::worth_it(tokens.saturating_mul(vocabulary).saturating_mul(16));
    parallel::for_ranges(parallel, tokens, 1, usize::MAX, |tokens| {
        for token in tokens {
            // SAFETY: a detected set is available; the token is this task's own.
            unsafe {
                let row = Row {
                    logits: logits.slice(token * vocabulary, vocabulary),
                    target: targets[token],
                    config,
                    gradient,
                    loss: &mut losses.slice(token, 1)[0],
                    weight: &mut weights.slice(token, 1)[0],
                };
                vector::run(isa, row);
            }
        }
    });
    Ok(())
}

/// One target and its logits, which are overwritten.
struct Row<'a> {
    logits: &'a mut [f32],
    target: u32,
    config: CrossEntropy<'a>,
    gradient: bool,
    loss: &'a mut f32,
    weight: &'a mut f32,
}

impl Work for Row<'_> {
    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let Self {
            logits,
            target,
            config,
            gradient,
            loss,
            weight,
        } = self;
        if config.ignore == Some(target) {
            (*loss, *weight) = (0.0, 0.0);
            return logits.fill(0.0);
        }
        let target = target as usize;
        let Some(&logit) = logits.get(target) else {
            (*loss, *weight) = (f32::NAN, 1.0);
            return logits.fill(f32::NAN);
        };
        *weight = config.label_weights.map_or(1.0, |labels| labels[target]);
        let top = largest(logits);
        // SAFETY: the caller has the set.
        let sum = unsafe { exponentials::<L>(logits, 1.0, top) };
        let log_sum = top + sum.ln();
        *loss = *weight * (log_sum - logit + config.z_loss * log_sum * log_sum);
        if gradient {
            let factor = *weight * (1.0 + 2.0 * config.z_loss * log_sum) / sum;
            for logit in logits.iter_mut() {
                *logit *= factor;
            }
            logits[target] -= *weight;
        }
    }
}
