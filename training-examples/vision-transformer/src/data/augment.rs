//! Images a little different every time.

use clap::ValueEnum;
use image::imageops::{self, FilterType};
use image::{ImageBuffer, Luma, Pixel, Rgb};
use rand::rngs::StdRng;
use rand::{Rng, RngExt};
use rand_distr::{Beta, Distribution};
use serde::{Deserialize, Serialize};

/// How a batch is changed before it is trained on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AugmentConfig {
    /// Smallest share of an image's area that a random crop keeps; 1 for no crop.
    pub crop: f64,
    /// Whether half of the images are mirrored.
    pub flip: bool,
    /// How images are mixed with each other.
    pub mixing: Mixing,
    /// α of the Beta distribution of the share that an image keeps.
    pub mixing_alpha: f64,
}

impl Default for AugmentConfig {
    /// Crops of 60 % and more, mirrored ones, nothing mixed.
    fn default() -> Self {
        Self {
            crop: 0.6,
            flip: true,
            mixing: Mixing::None,
            mixing_alpha: 0.8,
        }
    }
}

/// How two images become one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mixing {
    /// They do not.
    #[default]
    None,
    /// Weighted mean of both (Zhang et al. 2018, arXiv 1710.09412).
    Mixup,
    /// A rectangle of one in the other (Yun et al. 2019, arXiv 1905.04899).
    Cutmix,
}

/// Proportions of a crop, width by height, are between this and its inverse.
const NARROWEST: f64 = 3.0 / 4.0;
/// Attempts at a crop that fits, as torchvision makes them.
const ATTEMPTS: usize = 10;

impl AugmentConfig {
    /// Changes one image of `size` pixels each way.
    pub fn image(&self, pixels: &[u8], size: usize, channels: usize, rng: &mut StdRng) -> Vec<u8> {
        match channels {
            1 => self.of_pixels::<Luma<u8>>(pixels, size, rng),
            _ => self.of_pixels::<Rgb<u8>>(pixels, size, rng),
        }
    }

    fn of_pixels<P>(&self, pixels: &[u8], size: usize, rng: &mut StdRng) -> Vec<u8>
    where
        P: Pixel<Subpixel = u8> + 'static,
    {
        let side = size as u32;
        let crop = self.crop(size, rng);
        let flip = self.flip && rng.random();
        let whole = ImageBuffer::<P, &[u8]>::from_raw(side, side, pixels);
        let Some(whole) = whole else {
            return pixels.to_vec();
        };
        let mut image = match crop {
            None => ImageBuffer::<P, Vec<u8>>::from_raw(side, side, pixels.to_vec())
                .unwrap_or_else(|| ImageBuffer::new(side, side)),
            Some([x, y, width, height]) => {
                let part = imageops::crop_imm(&whole, x, y, width, height);
                imageops::resize(&*part, side, side, FilterType::Triangle)
            }
        };
        if flip {
            imageops::flip_horizontal_in_place(&mut image);
        }
        image.into_raw()
    }

    /// Left, top, width and height of a random crop (Szegedy et al. 2015, arXiv 1409.4842, section 6).
    fn crop(&self, size: usize, rng: &mut StdRng) -> Option<[u32; 4]> {
        if self.crop >= 1.0 {
            return None;
        }
        let side = size as f64;
        for _ in 0..ATTEMPTS {
            let area = side * side * rng.random_range(self.crop..=1.0);
            let narrow = NARROWEST.ln();
            let proportions = rng.random_range(narrow..=-narrow).exp();
            let width = (area * proportions).sqrt().round();
            let height = (area / proportions).sqrt().round();
            if (1.0..=side).contains(&width) && (1.0..=side).contains(&height) {
                let (width, height) = (width as u32, height as u32);
                let left = rng.random_range(0..=size as u32 - width);
                let top = rng.random_range(0..=size as u32 - height);
                return Some([left, top, width, height]);
            }
        }
        None
    }

    /// Draws how the images of a batch are mixed, each with the one after it.
    pub fn mix(&self, size: usize, rng: &mut impl Rng) -> Mix {
        let beta = Beta::new(self.mixing_alpha, self.mixing_alpha).ok();
        let share = beta.map_or(1.0, |beta| beta.sample(rng));
        match self.mixing {
            Mixing::None => Mix::None,
            Mixing::Mixup => Mix::Mean(share as f32),
            Mixing::Cutmix => {
                let side = size as f64;
                let half = side * (1.0 - share).sqrt() / 2.0;
                let mut edges = || {
                    let middle = rng.random_range(0.0..side);
                    let edge = |at: f64| at.round().clamp(0.0, side) as usize;
                    edge(middle - half)..edge(middle + half)
                };
                Mix::Box {
                    columns: edges(),
                    rows: edges(),
                    size,
                }
            }
        }
    }
}

/// How the images of a batch are mixed.
#[derive(Clone, Debug, PartialEq)]
pub enum Mix {
    /// Not at all.
    None,
    /// An image keeps this share of its values, and has the rest of another.
    Mean(f32),
    /// Another image is seen in a rectangle.
    Box {
        /// Its columns.
        columns: std::ops::Range<usize>,
        /// Its rows.
        rows: std::ops::Range<usize>,
        /// Height and width of the images.
        size: usize,
    },
}

impl Mix {
    /// The share of itself that an image keeps.
    pub fn kept(&self) -> f32 {
        match self {
            Self::None => 1.0,
            Self::Mean(share) => *share,
            Self::Box {
                columns,
                rows,
                size,
            } => 1.0 - (columns.len() * rows.len()) as f32 / (size * size) as f32,
        }
    }

    /// `values` of an image, channel by channel, mixed with those of another.
    pub fn apply(&self, values: &mut [f32], other: &[f32]) {
        match self {
            Self::None => {}
            Self::Mean(share) => blend(values, other, *share),
            Self::Box {
                columns,
                rows,
                size,
            } => {
                let planes = values
                    .chunks_mut(size * size)
                    .zip(other.chunks(size * size));
                for (plane, other) in planes {
                    for row in rows.clone() {
                        let place = row * size + columns.start..row * size + columns.end;
                        plane[place.clone()].copy_from_slice(&other[place]);
                    }
                }
            }
        }
    }
}

/// `share` of `values` and the rest of `other`.
pub fn blend(values: &mut [f32], other: &[f32], share: f32) {
    for (value, other) in values.iter_mut().zip(other) {
        *value = share * *value + (1.0 - share) * other;
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    fn rng() -> StdRng {
        StdRng::seed_from_u64(5)
    }

    #[test]
    fn without_a_crop_an_image_is_itself_or_its_mirror() {
        let config = AugmentConfig {
            crop: 1.0,
            ..AugmentConfig::default()
        };
        let pixels: Vec<u8> = (0..27).collect();
        let mirror: Vec<u8> = (0..27)
            .map(|i| (i / 9) * 9 + (2 - i % 9 / 3) * 3 + i % 3)
            .collect();
        let mut rng = rng();
        let seen: Vec<_> = (0..20)
            .map(|_| config.image(&pixels, 3, 3, &mut rng))
            .collect();
        assert!(
            seen.iter()
                .all(|image| *image == pixels || *image == mirror)
        );
        assert!(seen.contains(&pixels) && seen.contains(&mirror));
    }

    #[test]
    fn crops_lie_inside_of_the_image_and_keep_their_share() {
        let config = AugmentConfig {
            crop: 0.3,
            ..AugmentConfig::default()
        };
        let mut rng = rng();
        for _ in 0..200 {
            let Some([left, top, width, height]) = config.crop(28, &mut rng) else {
                continue;
            };
            assert!(left + width <= 28 && top + height <= 28);
            assert!(width * height > 28 * 28 * 25 / 100);
        }
    }

    #[test]
    fn a_box_has_the_share_that_labels_lose() {
        let config = AugmentConfig {
            mixing: Mixing::Cutmix,
            ..AugmentConfig::default()
        };
        let mut rng = rng();
        for _ in 0..50 {
            let mix = config.mix(7, &mut rng);
            let mut values = vec![1.0; 2 * 49];
            mix.apply(&mut values, &[0.0; 98]);
            let kept = values.iter().sum::<f32>() / 98.0;
            assert!((kept - mix.kept()).abs() < 1e-6, "{mix:?}");
        }
        let mut values = vec![1.0, 2.0];
        Mix::Mean(0.25).apply(&mut values, &[3.0, 4.0]);
        assert_eq!(values, [2.5, 3.5]);
    }
}
