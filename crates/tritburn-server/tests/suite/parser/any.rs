//! Any bytes as the body of a request to each endpoint.

use tritburn_server::openai::{
    ChatRequest, CompletionRequest, DetokenizeRequest, EmbeddingRequest, TokenizeRequest,
};

/// Reads `data` as every request there is; how many take it.
pub fn requests(data: &[u8]) -> usize {
    let chat = ChatRequest::parse(data).and_then(|request| {
        request.generation.biases()?;
        request.chat.template_messages(&|text| text.to_string())
    });
    let completion = CompletionRequest::parse(data).map(|request| {
        let prompts = request.completion.prompt.into_prompts();
        (prompts, request.generation.shape())
    });
    let taken = [
        chat.is_ok(),
        completion.is_ok(),
        EmbeddingRequest::parse(data).is_ok(),
        TokenizeRequest::parse(data).is_ok(),
        DetokenizeRequest::parse(data).is_ok(),
    ];
    taken.into_iter().filter(|&taken| taken).count()
}
