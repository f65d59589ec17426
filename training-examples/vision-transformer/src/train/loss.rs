//! What a step lowers.

use burn::tensor::Tensor;
use burn::tensor::activation::{log_sigmoid, log_softmax, sigmoid, softmax};
use tritburn_models::vision::Labelling;

/// Mean cross entropy of soft targets, in nats an image: of all classes together where an image has one, else
/// the mean of a yes or no for each.
///
/// # Shapes
/// Both `[batch, classes]`; returns `[1]`.
pub fn cross_entropy(logits: Tensor<2>, targets: Tensor<2>, labelling: Labelling) -> Tensor<1> {
    match labelling {
        Labelling::Multi => {
            let yes = targets.clone() * log_sigmoid(logits.clone());
            let no = (targets.neg() + 1.0) * log_sigmoid(logits.neg());
            (yes + no).mean().neg()
        }
        _ => (targets * log_softmax(logits, 1)).sum_dim(1).mean().neg(),
    }
}

/// What logits hold images for, at a temperature.
pub fn probabilities(logits: Tensor<2>, temperature: f32, labelling: Labelling) -> Tensor<2> {
    match labelling {
        Labelling::Multi => sigmoid(logits / temperature),
        _ => softmax(logits / temperature, 1),
    }
}

/// `T² · KL(taught ‖ student)` (Hinton et al. 2015, arXiv 1503.02531), where `taught` are probabilities at the
/// temperature T: the square keeps the size of its gradients. `[1]`, in nats.
pub fn divergence(
    logits: Tensor<2>,
    taught: Tensor<2>,
    temperature: f32,
    labelling: Labelling,
) -> Tensor<1> {
    let entropy = match labelling {
        Labelling::Multi => {
            let no = taught.clone().neg() + 1.0;
            (plogp(taught.clone()) + plogp(no)).mean()
        }
        _ => plogp(taught.clone()).sum_dim(1).mean(),
    };
    let cross = cross_entropy(logits / temperature, taught, labelling);
    (cross + entropy) * (temperature * temperature)
}

/// `p · ln p`, 0 at 0.
fn plogp(p: Tensor<2>) -> Tensor<2> {
    p.clone() * p.clamp_min(1e-30).log()
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    fn tensor<const C: usize>(rows: [[f32; C]; 2]) -> Tensor<2> {
        Tensor::from_data(rows, &Device::default())
    }

    fn close(found: Tensor<1>, expected: f32) {
        let found: f32 = found.into_scalar();
        assert!((found - expected).abs() < 1e-6, "{found} is not {expected}");
    }

    #[test]
    fn cross_entropy_is_that_of_the_formula() {
        let logits = tensor([[1.0, 2.0, 0.5], [-1.0, 0.0, 3.0]]);
        let targets = tensor([[0.0, 1.0, 0.0], [0.5, 0.0, 0.5]]);
        let sums = [
            (1f32.exp() + 2f32.exp() + 0.5f32.exp()).ln(),
            ((-1f32).exp() + 1.0 + 3f32.exp()).ln(),
        ];
        let expected = (sums[0] - 2.0 + sums[1] - 1.0) / 2.0;
        close(
            cross_entropy(logits.clone(), targets.clone(), Labelling::Single),
            expected,
        );
        let each = |logit: f32, target: f32| {
            let p = 1.0 / (1.0 + (-logit).exp());
            -(target * p.ln() + (1.0 - target) * (1.0 - p).ln())
        };
        let pairs = [
            (1.0, 0.0),
            (2.0, 1.0),
            (0.5, 0.0),
            (-1.0, 0.5),
            (0.0, 0.0),
            (3.0, 0.5),
        ];
        let expected = pairs
            .map(|(logit, target)| each(logit, target))
            .iter()
            .sum::<f32>()
            / 6.0;
        close(cross_entropy(logits, targets, Labelling::Multi), expected);
    }

    #[test]
    fn who_agrees_with_the_teacher_has_no_divergence() {
        let logits = tensor([[1.0, 2.0], [-1.0, 0.0]]);
        for labelling in [Labelling::Single, Labelling::Multi] {
            let taught = probabilities(logits.clone(), 2.0, labelling);
            close(
                divergence(logits.clone(), taught.clone(), 2.0, labelling),
                0.0,
            );
            let other = divergence(logits.clone() * 3.0, taught, 2.0, labelling);
            assert!(other.into_scalar::<f32>() > 0.01);
        }
        // Certain teachers are no NaN: ln 2 for a coin, times the square of the temperature.
        let sure = tensor([[1.0, 0.0], [0.0, 1.0]]);
        let coin = tensor([[0.0, 0.0], [0.0, 0.0]]);
        close(
            divergence(coin, sure, 2.0, Labelling::Single),
            4.0 * 2f32.ln(),
        );
    }
}
