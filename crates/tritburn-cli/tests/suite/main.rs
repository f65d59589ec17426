//! The command as a user runs it, on the toy BitNet whose logits and tokens came from transformers.

#![cfg(feature = "flex")]

mod bench;
mod chat;
mod common;
mod convert;
mod embed;
mod families;
mod generate;
mod inspect;
mod mistakes;
mod perplexity;
#[cfg(feature = "serve")]
mod replicas;
#[cfg(feature = "serve")]
mod serve;
mod trained;
mod vision;
