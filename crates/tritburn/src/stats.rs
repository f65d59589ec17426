//! What the codes of a model look like: shares of each value, and how many changed.

use burn::module::Module;
use tritburn_formats::{PackedLayout, WeightCode};

use crate::pack::{BitLayer, LayerWeight, PackError, bit_layers, quantize_param, read_vec};

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
        for &word in &self.words {
            let (low, high) = (word & LOW_BITS, (word >> 1) & LOW_BITS);
            counts[1] += u64::from((low & !high).count_ones());
            counts[2] += u64::from((high & !low).count_ones());
            counts[3] += u64::from((low & high).count_ones());
            counts[0] += u64::from((!low & !high & LOW_BITS).count_ones());
        }
        let stored = 16 * self.words.len() as u64;
        // Padding is always code 1.
        counts[1] -= stored - self.weight_count();
        counts
    }

    /// Number of weights.
    pub fn weight_count(&self) -> u64 {
        (self.layout.out_features() * self.layout.in_features()) as u64
    }

    /// How many weights have another code in `other`, a later or earlier state of the same layer.
    pub fn flips(&self, other: &Self) -> u64 {
        let pairs = self.words.iter().zip(&other.words);
        let changed = |(a, b): (&u32, &u32)| ((a ^ b) | ((a ^ b) >> 1)) & LOW_BITS;
        pairs
            .map(|pair| u64::from(changed(pair).count_ones()))
            .sum()
    }
}

const LOW_BITS: u32 = 0x5555_5555;

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
