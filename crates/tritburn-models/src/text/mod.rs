//! Text to token ids and back: [`Tokenizer`], [`BulkEncoder`], [`StreamDecoder`], [`ChatTemplate`].
//!
//! What a checkpoint carries for this is in its [`TokenizerFiles`], whatever its format: files in
//! a folder, or metadata of a GGUF file.

mod bpe;
mod bulk;
mod bytes;
mod chat;
mod date;
mod error;
mod files;
mod gguf;
mod guard;
mod json;
mod made_up;
mod sentencepiece;
mod special;
mod stream;
mod tokenizer;

pub use bulk::BulkEncoder;
pub use chat::{ChatTemplate, Message};
pub use error::TextError;
pub use files::TokenizerFiles;
pub use stream::StreamDecoder;
pub use tokenizer::Tokenizer;

pub(crate) use files::read as read_text;
pub(crate) use gguf::{MODEL as TOKENIZER, NO_VOCABULARY as NO_TOKENIZER};
