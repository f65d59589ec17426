//! A model that answers again and again.

use std::cell::RefCell;
use std::rc::Rc;

use burn::tensor::{DType, Graph, Int, Tensor, TensorData, capture};
use tritburn::ops::captures_graphs;
use tritburn::transformer::overwrite;

use super::error::VisionError;
use super::model::VisionTransformer;
use super::picture::Picture;

type Answer = Result<Tensor<2>, VisionError>;
type Captured = Graph<Answer, Box<dyn FnMut() -> Answer>>;

/// A model for a fixed number of images at a time. Where the device has such, the work is one captured
/// graph, launched at once.
pub struct Classifier {
    model: Rc<VisionTransformer>,
    scale: Rc<Scale>,
    /// Pixels of the images as U32, `[batch · height · width · channels]`.
    pixels: Rc<RefCell<Tensor<1, Int>>>,
    batch: usize,
    graph: Option<Box<Captured>>,
}

impl Classifier {
    /// A classifier of `batch` images at a time, by a model that is on a device without autodiff.
    ///
    /// # Errors
    /// [`VisionError::NoImages`] for a batch of 0, [`VisionError::Device`] if the device fails.
    pub fn new(model: VisionTransformer, batch: usize) -> Result<Self, VisionError> {
        if batch == 0 {
            return Err(VisionError::NoImages);
        }
        let device = model.device();
        let length = batch * model.config().image_shape().iter().product::<usize>();
        let pixels = Tensor::zeros([length], (&device, DType::U32));
        let scale = Rc::new(Scale::of(&model));
        let (model, pixels) = (Rc::new(model), Rc::new(RefCell::new(pixels)));
        let graph = match captures_graphs(&device) {
            false => None,
            true => {
                let (model, scale, pixels) = (model.clone(), scale.clone(), pixels.clone());
                let closure: Box<dyn FnMut() -> Answer> =
                    Box::new(move || answer(&model, &scale, pixels.borrow().clone(), batch));
                let graph = capture(&device, closure);
                if let Err(error) = graph.output() {
                    return Err(VisionError::Device {
                        reason: error.to_string(),
                    });
                }
                Some(Box::new(graph))
            }
        };
        Ok(Self {
            model,
            scale,
            pixels,
            batch,
            graph,
        })
    }

    /// The model.
    pub fn model(&self) -> &VisionTransformer {
        &self.model
    }

    /// Logits of the classes of as many images as the classifier was made for, F32 `[batch, classes]`.
    ///
    /// # Errors
    /// [`VisionError::Batch`], [`VisionError::ImageShape`], or [`VisionError::Device`].
    pub fn logits(&mut self, pictures: &[Picture]) -> Result<Tensor<2>, VisionError> {
        self.show(pictures)?;
        self.run()
    }

    /// Brings images to the device.
    ///
    /// # Errors
    /// [`VisionError::Batch`] or [`VisionError::ImageShape`].
    pub fn show(&mut self, pictures: &[Picture]) -> Result<(), VisionError> {
        let config = self.model.config();
        if pictures.len() != self.batch {
            return Err(VisionError::Batch {
                found: pictures.len(),
                expected: self.batch,
            });
        }
        let mut words = Vec::new();
        for picture in pictures {
            picture.check(config)?;
            words.extend(picture.pixels.iter().map(|&pixel| u32::from(pixel)));
        }
        let data = TensorData::new(words, self.pixels.borrow().dims());
        let words = Tensor::from_data(data, (&self.model.device(), DType::U32));
        let held = self.pixels.borrow().clone();
        *self.pixels.borrow_mut() = overwrite(held, words)?;
        Ok(())
    }

    /// Classifies the images that were shown last, F32 `[batch, classes]`; black ones if none were.
    ///
    /// # Errors
    /// [`VisionError::Operation`] or [`VisionError::Device`].
    pub fn run(&mut self) -> Result<Tensor<2>, VisionError> {
        match &mut self.graph {
            None => {
                let pixels = self.pixels.borrow().clone();
                answer(&self.model, &self.scale, pixels, self.batch)
            }
            // SAFETY: every tensor that the graph touches is owned by its closure (model, scale and pixels) or its
            // output, all are used on this thread only (`Rc` keeps the classifier from leaving it), and
            // pixels are changed in place by `overwrite` alone.
            Some(graph) => match unsafe { graph.replay() } {
                Ok(logits) => Ok(logits.clone()),
                Err(error) => Err(VisionError::Device {
                    reason: error.to_string(),
                }),
            },
        }
    }
}

/// What the pixels of channels become, each F32 `[1, channels, 1, 1]`.
struct Scale {
    mean: Tensor<4>,
    std: Tensor<4>,
}

impl Scale {
    fn of(model: &VisionTransformer) -> Self {
        let (config, device) = (model.config(), model.device());
        let of_channels = |values: &[f32]| {
            let data = TensorData::new(values.to_vec(), [1, values.len(), 1, 1]);
            Tensor::from_data(data, (&device, DType::F32))
        };
        Self {
            mean: of_channels(&config.mean),
            std: of_channels(&config.std),
        }
    }
}

/// Pixels as the model takes them, and what it says.
fn answer(
    model: &VisionTransformer,
    scale: &Scale,
    pixels: Tensor<1, Int>,
    batch: usize,
) -> Answer {
    let [channels, height, width] = model.config().image_shape();
    let pixels = pixels.float().cast(DType::F32);
    let pixels = pixels.reshape([batch, height, width, channels]);
    let pixels = pixels.permute([0, 3, 1, 2]) / 255.0;
    model.logits((pixels - scale.mean.clone()) / scale.std.clone())
}
