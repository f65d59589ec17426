//! What the codes of a model look like: shares of each value, and how many changed.

use burn::module::Module;
use tritburn_formats::{PackedLayout, WeightCode};

mod watch;

use crate::error::PackError;
use crate::pack::{BitLayer, LayerWeight, bit_layers, quantize_param, read_vec};

pub use watch::{CodeCounts, CodeShares, CodeSnapshot, CodeWatch};

/// The codes of one layer at one moment, on the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerCodes {
    /// Path of the layer's weight in the model.
    pub path: String,
    /// Shape, code table and scale granularity.
    pub layout: PackedLayout,
    /// Packed codes in the canonical layout.
    pub words: Vec<u32>,
}

impl LayerCodes {
    /// How often each code 0..4 occurs.
    pub fn histogram(&self) -> [u64; 4] {
        let mut counts = [0u64; 4];
        for (word, real) in self.words.iter().zip(self.real_fields()) {
            let (low, high) = (word, word >> 1);
            let fields = [!low & !high, low & !high, !low & high, low & high];
            for (count, field) in counts.iter_mut().zip(fields) {
                *count += u64::from((field & real).count_ones());
            }
        }
        counts
    }

    /// For every word, the low bits of the fields that hold weights and not padding.
    fn real_fields(&self) -> impl Iterator<Item = u32> {
        let per_row = self.layout.words_per_row();
        let padding = 16 * per_row - self.layout.in_features();
        (0..self.words.len()).map(move |word| match (word + 1) % per_row {
            0 => LOW_BITS >> (2 * padding),
            _ => LOW_BITS,
        })
    }

    /// Number of weights.
    pub fn weight_count(&self) -> u64 {
        (self.layout.out_features() * self.layout.in_features()) as u64
    }

    /// How many weights have another code in `other`, a later or earlier state of the same layer.
    pub fn flips(&self, other: &Self) -> u64 {
        let pairs = self.words.iter().zip(&other.words).zip(self.real_fields());
        pairs
            .map(|((a, b), real)| u64::from((((a ^ b) | ((a ^ b) >> 1)) & real).count_ones()))
            .sum()
    }
}

/// The low bit of each of a word's 16 codes.
pub(super) const LOW_BITS: u32 = 0x5555_5555;

/// The codes of every 2-bit layer of a model, latent or packed, in declaration order.
///
/// # Errors
/// As [`Pack::pack`](crate::Pack::pack).
pub fn layer_codes<M: Module>(model: &M) -> Result<Vec<LayerCodes>, PackError> {
    let layers = bit_layers(model)?;
    layers
        .into_iter()
        .map(
            |BitLayer {
                 path,
                 layout,
                 weight,
                 ..
             }| {
                let codes = match weight {
                    LayerWeight::Packed { codes } => codes,
                    LayerWeight::Latent(latent) => quantize_param(&path, latent.val(), &layout)?.0,
                };
                let words = read_vec::<u32>(&path, codes.try_into_data())?;
                Ok(LayerCodes {
                    path,
                    layout,
                    words,
                })
            },
        )
        .collect()
}

/// Share of weights that are zero, over all ternary layers; 0 without any.
pub fn zero_share(layers: &[LayerCodes]) -> f64 {
    let ternary = layers
        .iter()
        .filter(|layer| layer.layout.code() == WeightCode::Ternary);
    share(ternary.map(|layer| (layer.histogram()[1], layer.weight_count())))
}

/// Share of weights whose code differs between two states of a model.
pub fn flip_share(before: &[LayerCodes], after: &[LayerCodes]) -> f64 {
    share(
        before
            .iter()
            .zip(after)
            .map(|(a, b)| (a.flips(b), a.weight_count())),
    )
}

fn share(counts: impl Iterator<Item = (u64, u64)>) -> f64 {
    let (part, whole) = counts.fold((0, 0), |(p, w), (a, b)| (p + a, w + b));
    if whole == 0 {
        0.0
    } else {
        part as f64 / whole as f64
    }
}
