//! What is asked for.

use anyhow::{Context, Result};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

use super::Args;

/// Makes the requests of a load.
#[derive(Clone, Debug)]
pub struct Work {
    prefix: Vec<u32>,
    hit_rate: f64,
    prompt: usize,
    output_tokens: usize,
    temperature: f32,
    vocabulary: u32,
    format: Option<Value>,
    seed: u64,
}

/// Ids below this are often special tokens, which a text would not have.
const FIRST_ID: u32 = 10;

impl Work {
    pub fn new(args: &Args) -> Result<Self> {
        let format = args.json_schema.as_ref().map(|path| {
            let what = || format!("cannot read {}", path.display());
            let text = std::fs::read_to_string(path).with_context(what)?;
            let schema: Value = serde_json::from_str(&text).with_context(what)?;
            let schema = json!({ "name": "load", "schema": schema });
            Ok::<_, anyhow::Error>(json!({ "type": "json_schema", "json_schema": schema }))
        });
        let mut work = Self {
            prefix: Vec::new(),
            hit_rate: args.hit_rate,
            prompt: args.prompt,
            output_tokens: args.output_tokens,
            temperature: args.temperature,
            vocabulary: args.vocabulary.max(FIRST_ID + 1),
            format: format.transpose()?,
            seed: args.seed,
        };
        let mut random = StdRng::seed_from_u64(args.seed);
        work.prefix = work.ids(&mut random, args.shared_prefix);
        Ok(work)
    }

    /// Random numbers of client, or arrival, `number`.
    pub fn random(&self, number: u64) -> StdRng {
        StdRng::seed_from_u64(self.seed.wrapping_add(1 + number))
    }

    /// A request: a prompt of random ids, as long as asked for, and an answer of fixed length unless it has
    /// a structure of its own.
    pub fn request(&self, random: &mut StdRng, model: &str) -> Value {
        let mut prompt = match random.random_bool(self.hit_rate.clamp(0.0, 1.0)) {
            true => self.prefix.clone(),
            false => self.ids(random, self.prefix.len()),
        };
        prompt.extend(self.ids(random, self.prompt - self.prefix.len()));
        let mut request = json!({
            "model": model,
            "prompt": prompt,
            "max_tokens": self.output_tokens,
            "temperature": self.temperature,
            "stream": true,
            "stream_options": { "include_usage": true },
            "seed": random.random_range(0..i64::MAX),
        });
        match &self.format {
            Some(format) => request["response_format"] = format.clone(),
            None => request["ignore_eos"] = json!(true),
        }
        request
    }

    fn ids(&self, random: &mut StdRng, count: usize) -> Vec<u32> {
        (0..count)
            .map(|_| random.random_range(FIRST_ID..self.vocabulary))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompts_share_what_they_should() {
        let work = Work {
            prefix: vec![20; 8],
            hit_rate: 1.0,
            prompt: 12,
            output_tokens: 4,
            temperature: 0.0,
            vocabulary: 512,
            format: None,
            seed: 3,
        };
        let prompt = |work: &Work, number| -> Vec<u32> {
            let request = work.request(&mut work.random(number), "m");
            serde_json::from_value(request["prompt"].clone()).unwrap()
        };
        let (one, two) = (prompt(&work, 1), prompt(&work, 2));
        assert_eq!((one.len(), &one[..8]), (12, &[20; 8][..]));
        assert_ne!(one[8..], two[8..]);
        assert_eq!(one, prompt(&work, 1), "a seed makes loads repeatable");
        let alone = Work {
            hit_rate: 0.0,
            ..work
        };
        assert_ne!(prompt(&alone, 1)[..8], [20; 8]);
    }
}
