//! What a request must be like to be taken.

use super::{Request, SubmitError};

/// Most bytes of a stop text.
const MAX_STOP: usize = 1024;

/// Limits of an engine.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub vocabulary: usize,
    /// Positions of a sequence.
    pub context: usize,
    pub blocks: usize,
    pub block_size: usize,
}

/// Refuses requests that could not be answered as they ask; the number of new tokens.
pub(super) fn request(
    request: &Request,
    limits: &Limits,
    has_tokenizer: bool,
) -> Result<usize, SubmitError> {
    request.sampling.validate()?;
    check_range("choices", request.choices, 1, Request::MAX_CHOICES)?;
    check_range(
        "logprobs",
        request.logprobs.unwrap_or(0),
        0,
        Request::MAX_LOGPROBS,
    )?;
    check_range("stop texts", request.stop.len(), 0, Request::MAX_STOPS)?;
    check_range(
        "max_new_tokens",
        request.max_new_tokens.unwrap_or(1),
        1,
        usize::MAX,
    )?;
    if let Some(stop) = request
        .stop
        .iter()
        .find(|stop| !(1..=MAX_STOP).contains(&stop.len()))
    {
        let value = format!("a text of {} bytes", stop.len());
        return Err(parameter("stop", value, "texts of 1 to 1024 bytes"));
    }
    let biases = request.logit_bias.iter();
    for &(id, bias) in biases.clone() {
        if bias.is_nan() || bias == f32::INFINITY {
            let value = format!("{bias} for token {id}");
            return Err(parameter("logit_bias", value, "a number, or -inf"));
        }
    }
    check_ids("prompt", request.prompt.iter().copied(), limits)?;
    check_ids("stop ids", request.stop_ids.iter().copied(), limits)?;
    check_ids("logit bias", biases.map(|&(id, _)| id), limits)?;
    if !has_tokenizer {
        let needs = [
            ("stop texts", !request.stop.is_empty()),
            ("structured answers", request.structure.is_some()),
        ];
        if let Some((what, _)) = needs.into_iter().find(|&(_, needs)| needs) {
            return Err(SubmitError::NoTokenizer { what });
        }
    }
    check_room(request, limits)
}

fn check_room(request: &Request, limits: &Limits) -> Result<usize, SubmitError> {
    let prompt = request.prompt.len();
    if prompt == 0 {
        return Err(SubmitError::EmptyPrompt);
    }
    let new = request.max_new_tokens.unwrap_or(1);
    // The last new token needs no place of its own, but a context counts it.
    if prompt.saturating_add(new) > limits.context {
        return Err(SubmitError::Context {
            prompt,
            new,
            context: limits.context,
        });
    }
    let new = request.max_new_tokens.unwrap_or(limits.context - prompt);
    let needed = (prompt + new - 1).div_ceil(limits.block_size);
    match needed <= limits.blocks {
        true => Ok(new),
        // Nobody asked for that many.
        false
            if request.max_new_tokens.is_none() && prompt <= limits.blocks * limits.block_size =>
        {
            Ok(limits.blocks * limits.block_size - prompt + 1)
        }
        false => Err(SubmitError::Cache {
            needed,
            blocks: limits.blocks,
        }),
    }
}

fn check_ids(
    what: &'static str,
    mut ids: impl Iterator<Item = u32> + Clone,
    limits: &Limits,
) -> Result<(), SubmitError> {
    let vocabulary = limits.vocabulary;
    let wrong = ids.clone().position(|id| id as usize >= vocabulary);
    match wrong {
        None => Ok(()),
        Some(index) => Err(SubmitError::TokenId {
            what,
            index,
            id: ids.nth(index).unwrap_or_default(),
            vocabulary,
        }),
    }
}

fn check_range(
    name: &'static str,
    value: usize,
    least: usize,
    most: usize,
) -> Result<(), SubmitError> {
    match (least..=most).contains(&value) {
        true => Ok(()),
        false if most == usize::MAX => Err(parameter(name, value, &format!("at least {least}"))),
        false => Err(parameter(name, value, &format!("from {least} to {most}"))),
    }
}

fn parameter(name: &'static str, value: impl ToString, expected: &str) -> SubmitError {
    SubmitError::Parameter {
        name,
        value: value.to_string(),
        expected: expected.into(),
    }
}
