//! The knobs of sampling.

use super::SampleError;

/// How the next token is chosen. The default is greedy.
///
/// # Examples
///
/// ```
/// use tritburn_models::sample::Sampling;
///
/// let sampling = Sampling { temperature: 0.7, top_p: Some(0.9), seed: 42, ..Sampling::greedy() };
/// sampling.validate()?;
/// assert!(Sampling { top_p: Some(1.5), ..sampling }.validate().is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// Logits are divided by it. 0 takes the most likely token and no chance is involved.
    pub temperature: f32,
    /// Keep this many most likely tokens.
    pub top_k: Option<usize>,
    /// Keep the smallest number of most likely tokens whose probabilities reach this sum, in
    /// (0, 1].
    pub top_p: Option<f32>,
    /// Keep tokens that are at least this share as likely as the most likely one, in [0, 1].
    pub min_p: Option<f32>,
    /// Positive logits of tokens seen before are divided by it and negative ones multiplied
    /// (Keskar et al., arXiv:1909.05858). 1 changes nothing.
    pub repetition_penalty: f32,
    /// Taken from the logits of new tokens seen before, as OpenAI's servers do. 0 changes nothing.
    pub presence_penalty: f32,
    /// Taken from the logits of new tokens seen before, once for each time. 0 changes nothing.
    pub frequency_penalty: f32,
    /// Start of the random numbers.
    pub seed: u64,
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            temperature: 0.0,
            top_k: None,
            top_p: None,
            min_p: None,
            repetition_penalty: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            seed: 0,
        }
    }
}

impl Sampling {
    /// The most likely token, always.
    pub fn greedy() -> Self {
        Self::default()
    }

    /// Whether the most likely token is taken.
    pub fn is_greedy(&self) -> bool {
        self.temperature == 0.0
    }

    /// Whether the token of the largest logit is taken, whatever came before.
    pub fn takes_largest(&self) -> bool {
        self.is_greedy() && !self.penalises()
    }

    /// Whether all tokens may be drawn, each as likely as its logit says, whatever came before.
    pub(crate) fn is_plain(&self) -> bool {
        let unfiltered = self.top_k.is_none()
            && self.top_p.is_none_or(|p| p >= 1.0)
            && self.min_p.is_none_or(|p| p <= 0.0);
        unfiltered && !self.is_greedy() && !self.penalises()
    }

    /// Whether tokens seen before are less, or more, likely.
    pub(super) fn penalises(&self) -> bool {
        (
            self.repetition_penalty,
            self.presence_penalty,
            self.frequency_penalty,
        ) != (1.0, 0.0, 0.0)
    }

    /// Checks that every value means something.
    ///
    /// # Errors
    /// [`SampleError::Parameter`] with the first that does not.
    pub fn validate(&self) -> Result<(), SampleError> {
        let top_p = self.top_p.unwrap_or(1.0);
        let min_p = self.min_p.unwrap_or(0.0);
        let checks = [
            (
                "temperature",
                self.temperature,
                self.temperature.is_finite() && self.temperature >= 0.0,
                "0 or a positive number",
            ),
            (
                "top-k",
                self.top_k.unwrap_or(1) as f32,
                self.top_k != Some(0),
                "at least 1",
            ),
            (
                "top-p",
                top_p,
                top_p > 0.0 && top_p <= 1.0,
                "over 0, at most 1",
            ),
            ("min-p", min_p, (0.0..=1.0).contains(&min_p), "from 0 to 1"),
            (
                "repetition penalty",
                self.repetition_penalty,
                self.repetition_penalty.is_finite() && self.repetition_penalty > 0.0,
                "a positive number",
            ),
            (
                "presence penalty",
                self.presence_penalty,
                self.presence_penalty.is_finite(),
                "a number",
            ),
            (
                "frequency penalty",
                self.frequency_penalty,
                self.frequency_penalty.is_finite(),
                "a number",
            ),
        ];
        match checks.into_iter().find(|(_, _, ok, _)| !ok) {
            None => Ok(()),
            Some((name, value, _, expected)) => Err(SampleError::Parameter {
                name,
                value,
                expected,
            }),
        }
    }
}
