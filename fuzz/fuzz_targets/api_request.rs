//! Any bytes as the body of a request to the server.
#![no_main]

use tritburn_server::openai::{
    ChatRequest, CompletionRequest, DetokenizeRequest, EmbeddingRequest, TokenizeRequest,
};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Ok(request) = ChatRequest::parse(data) {
        let _ = request.chat.template_messages(&|text| text.to_string());
        let _ = request.generation.shape();
    }
    if let Ok(request) = CompletionRequest::parse(data) {
        let _ = request.completion.prompt.into_prompts();
    }
    let _ = EmbeddingRequest::parse(data);
    let _ = TokenizeRequest::parse(data);
    let _ = DetokenizeRequest::parse(data);
});
