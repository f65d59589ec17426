//! Counting codes where they are, so that a training step does not wait for its statistics.

use std::any::Any;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{DType, ExecutionError, Int, Tensor};
use tritburn_formats::{PackedLayout, WeightCode};

use super::LOW_BITS;
use crate::error::PackError;
use crate::nn::PackedWeight;
use crate::ops;
use crate::pack::{LayerWeight, bit_layers};

/// Counts codes of a model's 2-bit layers on the device.
///
/// Nothing here waits for the device: [`codes`](Self::codes) and [`compare`](Self::compare) queue
/// work, and only [`CodeCounts::read`] asks for a result.
///
/// # Examples
///
/// ```
/// use burn::tensor::Device;
/// use tritburn::BitLinearConfig;
/// use tritburn::stats::CodeWatch;
///
/// let model = BitLinearConfig::new(64, 32).init(&Device::default());
/// let watch = CodeWatch::new(&model)?;
/// let before = watch.codes(&model)?;
/// // Here steps of a training change the model.
/// let after = watch.codes(&model)?;
/// let shares = watch.compare(&before, &after).expect("there is a layer").read()?;
/// assert_eq!(shares.flipped, 0.0);
/// assert!(shares.zero > 0.1, "many weights are near 0");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct CodeWatch {
    /// Layouts of the layers with a latent weight, in declaration order.
    layouts: Vec<PackedLayout>,
}

/// The codes of every watched layer at one moment, on their device.
#[derive(Clone, Debug)]
pub struct CodeSnapshot {
    /// Packed codes in the canonical layout, U32 `[layout.word_count()]` each.
    words: Vec<Tensor<1, Int>>,
}

/// Counts that the device may still be working on.
#[derive(Clone, Debug)]
pub struct CodeCounts {
    /// Zero weights and changed codes, U32 `[2]`.
    counts: Tensor<1, Int>,
    ternary: u64,
    weights: u64,
}

/// Shares of a model's weights.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CodeShares {
    /// Share of ternary weights that are zero; 0 without any.
    pub zero: f64,
    /// Share of weights whose code differs between the two snapshots.
    pub flipped: f64,
}

impl CodeWatch {
    /// Watches the layers of `model` that hold latent weights.
    ///
    /// # Errors
    /// [`PackError`] if a layer's header cannot be read.
    pub fn new<M: Module>(model: &M) -> Result<Self, PackError> {
        let layers = bit_layers(model)?.into_iter();
        let latent = layers.filter(|layer| matches!(layer.weight, LayerWeight::Latent(_)));
        Ok(Self {
            layouts: latent.map(|layer| layer.layout).collect(),
        })
    }

    /// Whether there is no layer to watch.
    pub fn is_empty(&self) -> bool {
        self.layouts.is_empty()
    }

    /// The codes that `model`, a later state of the watched one, has now.
    ///
    /// # Errors
    /// [`Error`](crate::Error) if the layers are not those that are watched.
    pub fn codes<M: Module>(&self, model: &M) -> Result<CodeSnapshot, crate::Error> {
        let mut latent = LatentWeights::default();
        model.visit(&mut latent);
        let weights = latent.weights.into_iter().zip(&self.layouts);
        let words = weights.map(|(weight, layout)| Ok(ops::quantize_weight(weight, layout)?.0));
        Ok(CodeSnapshot {
            words: words.collect::<Result<_, crate::Error>>()?,
        })
    }

    /// Counts zero weights of `after` and codes in which it differs from `before`.
    ///
    /// `None` if nothing is watched or the snapshots are of other layers.
    pub fn compare(&self, before: &CodeSnapshot, after: &CodeSnapshot) -> Option<CodeCounts> {
        let count = self.layouts.len();
        if count == 0 || before.words.len() != count || after.words.len() != count {
            return None;
        }
        let (mut zeros, mut flips) = (Vec::new(), Vec::new());
        let (mut ternary, mut weights) = (0, 0);
        for ((layout, before), after) in self.layouts.iter().zip(&before.words).zip(&after.words) {
            let of_layer = (layout.out_features() * layout.in_features()) as u64;
            weights += of_layer;
            let (low, high) = fields(after.clone());
            if layout.code() == WeightCode::Ternary {
                ternary += of_layer;
                // Code 1 is weight 0.
                zeros.push(count_fields(low.bitwise_and(high.bitwise_not()), layout));
            }
            let (low, high) = fields(after.clone().bitwise_xor(before.clone()));
            flips.push(count_fields(low.bitwise_or(high), layout));
        }
        let device = after.words[0].device();
        let total = |parts: Vec<Tensor<1, Int>>| {
            if parts.is_empty() {
                Tensor::zeros([1], (&device, DType::U32))
            } else {
                Tensor::cat(parts, 0).sum()
            }
        };
        Some(CodeCounts {
            counts: Tensor::cat(vec![total(zeros), total(flips)], 0),
            ternary,
            weights,
        })
    }
}

impl CodeCounts {
    /// Waits for the device and turns the counts into shares.
    ///
    /// # Errors
    /// [`ExecutionError`] if the device failed.
    pub fn read(self) -> Result<CodeShares, ExecutionError> {
        let data = self.counts.try_into_data()?;
        let counts: Vec<u64> = data.iter::<u64>().collect();
        let share = |part: Option<&u64>, whole: u64| match whole {
            0 => 0.0,
            _ => part.map_or(0.0, |&part| part as f64 / whole as f64),
        };
        Ok(CodeShares {
            zero: share(counts.first(), self.ternary),
            flipped: share(counts.get(1), self.weights),
        })
    }
}

/// Low and high bits of the 16 codes of every word, each at the place of a code's low bit.
fn fields(words: Tensor<1, Int>) -> (Tensor<1, Int>, Tensor<1, Int>) {
    let high = words.clone().bitwise_right_shift_scalar(1u32);
    (words, high)
}

/// Number of fields whose low bit is set, padding left out: U32 `[1]`.
fn count_fields(marks: Tensor<1, Int>, layout: &PackedLayout) -> Tensor<1, Int> {
    let (rows, per_row) = (layout.out_features(), layout.words_per_row());
    let padding = 16 * per_row - layout.in_features();
    let mut masks = vec![LOW_BITS; per_row];
    masks[per_row - 1] >>= 2 * padding;
    let marks = if padding == 0 {
        marks.bitwise_and_scalar(LOW_BITS)
    } else {
        let device = marks.device();
        let masks = Tensor::<1, Int>::from_data(masks.as_slice(), (&device, DType::U32));
        let masks = masks.reshape([1, per_row]).repeat_dim(0, rows);
        marks.bitwise_and(masks.reshape([rows * per_row]))
    };
    // Sums of neighbouring fields, in parallel inside of each word (Warren, Hacker's Delight, 5-1).
    let fold = |sums: Tensor<1, Int>, bits: u32, mask: u32| {
        let upper = sums.clone().bitwise_right_shift_scalar(bits);
        sums.bitwise_and_scalar(mask) + upper.bitwise_and_scalar(mask)
    };
    let sums = fold(marks, 2, 0x3333_3333);
    let sums = fold(sums, 4, 0x0f0f_0f0f);
    let sums = fold(sums, 8, 0x00ff_00ff);
    fold(sums, 16, 0x0000_ffff).sum()
}

/// Latent weights of the 2-bit layers, without a look at their headers, which would wait for the
/// device.
#[derive(Default)]
struct LatentWeights {
    /// Field names and container types from the root down.
    stack: Vec<(String, String)>,
    weights: Vec<Tensor<2>>,
}

impl ModuleVisitor for LatentWeights {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.stack.push((name.into(), container_type.into()));
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.stack.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let latent = self
            .stack
            .last()
            .is_some_and(|(name, container)| name == "weight" && container == "Struct:BitLinear");
        if latent
            && let Some(param) = (param as &dyn Any).downcast_ref::<Param<Tensor<2>>>()
            && param.reparameterization::<PackedWeight>().is_none()
        {
            self.weights.push(param.val().detach());
        }
    }
}
