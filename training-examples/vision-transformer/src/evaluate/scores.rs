//! Accuracy and AUC as MedMNIST defines them (its `evaluator.py`).

use serde::{Deserialize, Serialize};
use tritburn_models::vision::Labelling;

use super::{Answers, auc};
use crate::data::{Labels, Split};

/// What a model's answers are worth.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// Number of images.
    pub images: usize,
    /// Share of images whose likeliest class is theirs; with several labels an image, the share of all labels
    /// that are on the right side of one half.
    pub accuracy: f64,
    /// Mean of the AUC of the classes that have one; of two exclusive classes, that of the second.
    pub auc: Option<f64>,
    /// Each class.
    pub classes: Vec<ClassScore>,
    /// Images by their class (row) and the class that they were taken for; none with several labels an image.
    pub confusion: Option<Vec<Vec<u64>>>,
}

/// How a class was recognised.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClassScore {
    /// Its name.
    pub name: String,
    /// Images of it.
    pub images: usize,
    /// Share of these that were recognised.
    pub recall: Option<f64>,
    /// Share of what was taken for it that was it.
    pub precision: Option<f64>,
    /// Area under its receiver operating characteristic.
    pub auc: Option<f64>,
}

/// Who is of a class, and who was taken to be.
#[derive(Clone, Copy, Default)]
struct Tally {
    images: usize,
    taken: usize,
    right: usize,
}

impl Scores {
    /// Compares answers with the labels of their images.
    pub fn of(answers: &Answers, split: &Split, names: &[String], labelling: Labelling) -> Self {
        let classes = answers.classes;
        let images = split.len();
        let guesses = answers.guesses();
        let is = |image: usize, class: usize| match &split.labels {
            Labels::Single(labels) => labels[image] as usize == class,
            Labels::Multi(flags) => flags[image * classes + class],
        };
        let taken = |image: usize, class: usize| match labelling {
            Labelling::Multi => answers.logits[image * classes + class] > 0.0,
            _ => guesses[image] == class,
        };
        let likelihood = probabilities(answers, labelling);
        let class = |(class, name): (usize, &String)| {
            let tally = (0..images).fold(Tally::default(), |tally, image| {
                let (is, taken) = (is(image, class), taken(image, class));
                Tally {
                    images: tally.images + usize::from(is),
                    taken: tally.taken + usize::from(taken),
                    right: tally.right + usize::from(is && taken),
                }
            });
            let scores =
                (0..images).map(|image| (likelihood[image * classes + class], is(image, class)));
            ClassScore {
                name: name.clone(),
                images: tally.images,
                recall: share(tally.right, tally.images),
                precision: share(tally.right, tally.taken),
                auc: auc(scores),
            }
        };
        let each: Vec<ClassScore> = names.iter().enumerate().map(class).collect();
        let areas: Vec<f64> = match (labelling, classes) {
            (Labelling::Single, 2) => each[1].auc.into_iter().collect(),
            _ => each.iter().filter_map(|class| class.auc).collect(),
        };
        let right = match labelling {
            Labelling::Multi => {
                let pairs =
                    (0..images).flat_map(|image| (0..classes).map(move |class| (image, class)));
                pairs
                    .filter(|&(image, class)| is(image, class) == taken(image, class))
                    .count()
            }
            _ => (0..images)
                .filter(|&image| is(image, guesses[image]))
                .count(),
        };
        let labels = match labelling {
            Labelling::Multi => images * classes,
            _ => images,
        };
        let confusion = match &split.labels {
            Labels::Multi(_) => None,
            Labels::Single(labels) => {
                let mut table = vec![vec![0; classes]; classes];
                for (&label, &guess) in labels.iter().zip(&guesses) {
                    table[label as usize][guess] += 1;
                }
                Some(table)
            }
        };
        Self {
            images,
            accuracy: share(right, labels).unwrap_or(f64::NAN),
            auc: (!areas.is_empty()).then(|| areas.iter().sum::<f64>() / areas.len() as f64),
            classes: each,
            confusion,
        }
    }
}

fn share(part: usize, whole: usize) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// Probabilities of the classes, which AUC compares between images.
fn probabilities(answers: &Answers, labelling: Labelling) -> Vec<f32> {
    if labelling == Labelling::Multi {
        return answers.logits.clone();
    }
    let rows = answers.logits.chunks(answers.classes);
    rows.flat_map(|row| {
        let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let powers: Vec<f32> = row.iter().map(|logit| (logit - largest).exp()).collect();
        let sum: f32 = powers.iter().sum();
        powers.into_iter().map(move |power| power / sum)
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::data::Raw;

    fn split(labels: Labels, count: usize) -> Split {
        let images = Raw {
            size: 1,
            channels: 1,
            count,
            pixels: vec![0; count],
        };
        Split {
            images: Arc::new(images),
            labels,
        }
    }

    fn names(count: usize) -> Vec<String> {
        (0..count).map(|class| class.to_string()).collect()
    }

    #[test]
    fn one_label_an_image_is_counted_by_its_likeliest_class() {
        let logits = vec![2.0, 1.0, 0.0, 0.0, 3.0, 1.0, 1.0, 0.5, 0.0, 0.0, 0.0, 4.0];
        let answers = Answers { classes: 3, logits };
        let split = split(Labels::Single([0, 1, 1, 2].into()), 4);
        let scores = Scores::of(&answers, &split, &names(3), Labelling::Single);
        assert_eq!(scores.accuracy, 0.75);
        let confusion = vec![vec![1, 0, 0], vec![1, 1, 0], vec![0, 0, 1]];
        assert_eq!(scores.confusion, Some(confusion));
        assert_eq!(
            (scores.classes[1].recall, scores.classes[0].precision),
            (Some(0.5), Some(0.5))
        );
        assert_eq!(scores.classes[2].auc, Some(1.0));
    }

    #[test]
    fn of_two_classes_the_second_is_looked_for() {
        let logits = vec![0.0, 1.0, 0.0, -1.0, 0.0, 2.0];
        let answers = Answers { classes: 2, logits };
        let split = split(Labels::Single([1, 0, 0].into()), 3);
        let scores = Scores::of(&answers, &split, &names(2), Labelling::Single);
        assert_eq!((scores.accuracy, scores.auc), (2.0 / 3.0, Some(0.5)));
    }

    #[test]
    fn several_labels_an_image_are_counted_each_and_a_class_without_images_has_no_area() {
        let logits = vec![1.0, -1.0, -2.0, 1.0, 1.0, -2.0];
        let answers = Answers { classes: 3, logits };
        let flags = [true, false, false, false, true, false];
        let split = split(Labels::Multi(flags.into()), 2);
        let scores = Scores::of(&answers, &split, &names(3), Labelling::Multi);
        assert_eq!(scores.accuracy, 5.0 / 6.0);
        assert_eq!(scores.classes[2].auc, None);
        assert_eq!(scores.auc, Some((0.5 + 1.0) / 2.0));
        assert_eq!(scores.confusion, None);
    }
}
