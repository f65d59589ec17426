//! Images from files to tensors.

use std::path::{Path, PathBuf};

use burn::tensor::{DType, Device, Tensor, TensorData};
use image::imageops::FilterType;
use image::{DynamicImage, ImageReader, Limits};

use super::config::VisionConfig;
use super::error::VisionError;

/// Largest height and width of an image that is read.
const LARGEST_SIDE: u32 = 1 << 14;

/// Whether an image may be another than the model takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fit {
    /// No: one of another size or with other pixels is refused.
    #[default]
    Exact,
    /// It is resized (triangle filter, whatever its proportions), and its pixels are converted.
    Convert,
}

/// An image of 8-bit pixels, `[height, width, channels]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Height and width in pixels.
    pub size: usize,
    /// 1 or 3.
    pub channels: usize,
    /// Row by row, the channels of a pixel side by side.
    pub pixels: Vec<u8>,
}

impl Picture {
    /// Reads a PNG or JPEG file as an image of `size` pixels each way with `channels`. What the file is
    /// goes by its content.
    ///
    /// # Errors
    /// [`VisionError::Read`] or [`VisionError::Decode`] for a file that is none; with [`Fit::Exact`]
    /// [`VisionError::Pixels`] for other pixels than 8-bit grey or RGB as the model has, and
    /// [`VisionError::Size`].
    pub fn open(
        path: impl AsRef<Path>,
        channels: usize,
        size: usize,
        fit: Fit,
    ) -> Result<Self, VisionError> {
        let path = path.as_ref();
        let decoded = decode(path)?;
        let fits = match channels {
            1 => matches!(decoded, DynamicImage::ImageLuma8(_)),
            _ => matches!(decoded, DynamicImage::ImageRgb8(_)),
        };
        if !fits && fit == Fit::Exact {
            return Err(VisionError::Pixels {
                path: path.into(),
                found: format!("type {:?}", decoded.color()),
                expected: if channels == 1 { "grey ones" } else { "RGB" },
            });
        }
        let (width, height) = (decoded.width() as usize, decoded.height() as usize);
        let decoded = match (width, height) == (size, size) {
            true => decoded,
            false if fit == Fit::Convert => {
                decoded.resize_exact(size as u32, size as u32, FilterType::Triangle)
            }
            false => {
                return Err(VisionError::Size {
                    path: path.into(),
                    width,
                    height,
                    expected: size,
                });
            }
        };
        let pixels = match channels {
            1 => decoded.into_luma8().into_raw(),
            _ => decoded.into_rgb8().into_raw(),
        };
        Ok(Self {
            size,
            channels,
            pixels,
        })
    }

    /// The input of a model, F32 `[batch, channels, size, size]`: pixels between 0 and 1, less the mean of
    /// their channel, by its deviation.
    ///
    /// # Errors
    /// [`VisionError::NoImages`]; [`VisionError::ImageShape`] for the first image of another shape.
    pub fn batch(
        pictures: &[Self],
        config: &VisionConfig,
        device: &Device,
    ) -> Result<Tensor<4>, VisionError> {
        let expected = config.image_shape();
        let [channels, height, width] = expected;
        let mut values = Vec::with_capacity(pictures.len() * channels * height * width);
        for picture in pictures {
            picture.check(config)?;
            for (channel, (mean, std)) in config.mean.iter().zip(&config.std).enumerate() {
                let own = picture.pixels.iter().skip(channel).step_by(channels);
                values.extend(own.map(|&pixel| (f32::from(pixel) / 255.0 - mean) / std));
            }
        }
        if pictures.is_empty() {
            return Err(VisionError::NoImages);
        }
        let data = TensorData::new(values, [pictures.len(), channels, height, width]);
        Ok(Tensor::from_data(data, (device, DType::F32)))
    }

    /// Refuses an image of another shape than the model's.
    pub(super) fn check(&self, config: &VisionConfig) -> Result<(), VisionError> {
        let expected = config.image_shape();
        let found = [self.channels, self.size, self.size];
        match found == expected && self.pixels.len() == expected.iter().product::<usize>() {
            true => Ok(()),
            false => Err(VisionError::ImageShape { found, expected }),
        }
    }
}

fn decode(path: &Path) -> Result<DynamicImage, VisionError> {
    let reader = ImageReader::open(path).map_err(VisionError::read(path))?;
    let mut reader = reader
        .with_guessed_format()
        .map_err(VisionError::read(path))?;
    let mut limits = Limits::default();
    limits.max_image_width = Some(LARGEST_SIDE);
    limits.max_image_height = Some(LARGEST_SIDE);
    reader.limits(limits);
    reader.decode().map_err(|error| VisionError::Decode {
        path: PathBuf::from(path),
        reason: error.to_string(),
    })
}
