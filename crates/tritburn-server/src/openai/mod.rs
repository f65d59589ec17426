//! OpenAI's requests and answers as types.

mod body;
mod chat;
mod completion;
mod embedding;
pub mod fields;
mod generation;
mod response;
mod tokenize;
mod tools;

pub use body::{Body, Input, OneOrMany, Prompt};
pub use chat::{ChatFields, ChatRequest, guard_texts};
pub use completion::{CompletionFields, CompletionRequest};
pub use embedding::{EmbeddingRequest, Encoding};
pub use generation::{GenerationFields, ResponseFormat, Shape};
pub use response::*;
pub use tokenize::{DetokenizeRequest, Detokenized, Piece, TokenizeRequest, Tokenized};
pub use tools::{Tool, ToolChoice, ToolMode, required_call};
