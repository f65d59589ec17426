//! Learning from a teacher (Hinton et al. 2015, arXiv 1503.02531).

use burn::tensor::activation::log_softmax;
use burn::tensor::{DType, Int, Tensor};
use tritburn::training::LossConfig;

use super::error::TrainableError;
use super::model::TrainableModel;

/// How much a teacher counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Distillation {
    /// Logits of both are divided by it: above 1, what the teacher holds for unlikely counts more.
    pub temperature: f32,
    /// Factor of the divergence, beside the cross entropy of the targets.
    pub weight: f32,
}

impl TrainableModel {
    /// Refuses a teacher whose logits are of other tokens.
    ///
    /// # Errors
    /// [`TrainableError::Teacher`].
    pub fn check_teacher(&self, teacher: &Self) -> Result<(), TrainableError> {
        let [vocabulary, found] = [self, teacher].map(|model| model.config().vocab_size);
        match vocabulary == found {
            true => Ok(()),
            false => Err(TrainableError::Teacher { found, vocabulary }),
        }
    }

    /// [`loss_by`](Self::loss_by), plus `weight · T² · KL(teacher ‖ student)` over the targets that
    /// count, in nats a token: the divergence of the distributions of both at temperature T. The square
    /// keeps the size of its gradients.
    ///
    /// Logits of all tokens of the batch exist at once, those of the teacher too: give few sequences at a
    /// time where the vocabulary is large. `teacher` is on the device without autodiff.
    ///
    /// # Errors
    /// As [`loss`](Self::loss), and [`TrainableError::Teacher`].
    pub fn distill_loss(
        &self,
        inputs: Tensor<2, Int>,
        targets: Tensor<2, Int>,
        teacher: &Self,
        distillation: Distillation,
        config: &LossConfig,
        share: f32,
    ) -> Result<Tensor<1>, TrainableError> {
        self.check_teacher(teacher)?;
        let Distillation {
            temperature,
            weight,
        } = distillation;
        let taught = teacher.logits(inputs.clone().inner())?;
        let loss = self.loss_by(inputs.clone(), targets.clone(), config, share)?;
        let learned = self.logits_by(inputs, share)?;
        let taught = log_softmax(taught / temperature, 2);
        let taught = match learned.is_autodiff() {
            true => taught.autodiff(),
            false => taught,
        };
        let learned = log_softmax(learned / temperature, 2);
        let divergence = (taught.clone().exp() * (taught - learned)).sum_dim(2);
        let counts = match config.ignore {
            Some(ignore) => targets.not_equal_elem(ignore as i64).float(),
            None => targets.ones_like().float(),
        };
        let counts = counts.cast(DType::F32);
        let divergence = divergence.squeeze_dim::<2>(2) * counts.clone();
        let divergence = divergence.sum() / counts.sum().clamp_min(1.0);
        Ok(loss + divergence * (weight * temperature * temperature))
    }
}
