//! Chat templates, rendered as transformers renders them.

mod filters;
mod limits;
mod placeholder;
mod source;

use std::sync::Arc;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, Error, ErrorKind, Value, context};
use serde::{Deserialize, Serialize};

use super::special::token_text;
use super::{TextError, TokenizerFiles, date};

/// One turn of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Who speaks: `system`, `user` or `assistant`.
    pub role: String,
    /// What is said.
    pub content: String,
}

impl Message {
    /// `content`, said by `role`.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self {
            role: role.into(),
            content: content.into(),
        }
    }
}

const NAME: &str = "chat_template";

/// The Jinja template that makes a prompt of a conversation.
///
/// As in transformers: blocks are trimmed, strings and lists have Python's methods,
/// `raise_exception` and `strftime_now` exist (its time is UTC), `tojson` does not escape HTML,
/// `{% generation %}` renders what it holds, and `%` formats strings.
///
/// # Examples
///
/// ```
/// use tritburn_models::text::{ChatTemplate, Message, TokenizerFiles};
///
/// let files = TokenizerFiles {
///     chat_template: Some(
///         "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}\
///          {% if add_generation_prompt %}<assistant>{% endif %}".into(),
///     ),
///     ..TokenizerFiles::default()
/// };
/// let template = ChatTemplate::from_files(&files)?.expect("it has one");
/// let prompt = template.render(&[Message::new("user", "Hello")], true)?;
/// assert_eq!(prompt, "<user>Hello<assistant>");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct ChatTemplate {
    environment: Arc<Environment<'static>>,
    tokens: [(&'static str, Option<String>); 4],
}

impl ChatTemplate {
    /// The template of a checkpoint, `None` if it has none. One that a converter has put there for want
    /// of the model's own is replaced, with a warning.
    ///
    /// # Errors
    /// [`TextError::Json`], or [`TextError::Template`] for a template with a syntax error.
    pub fn from_files(files: &TokenizerFiles) -> Result<Option<Self>, TextError> {
        let Some(source) = files.template()? else {
            return Ok(None);
        };
        let config = files.special_tokens()?;
        let tokens = ["bos_token", "eos_token", "pad_token", "unk_token"]
            .map(|name| (name, token_text(&config, name)));
        let source = placeholder::replaced(source, files)?;
        Ok(Some(Self {
            environment: Arc::new(environment(&source)?),
            tokens,
        }))
    }

    /// The prompt of a conversation; with `add_generation_prompt` it ends where the assistant
    /// begins to speak. Encode it with
    /// [`Tokenizer::encode_rendered`](super::Tokenizer::encode_rendered).
    ///
    /// # Errors
    /// [`TextError::Template`] where the template fails, refuses the messages, or grows too large,
    /// [`TextError::TemplateTime`] where it does not come to an end.
    pub fn render(
        &self,
        messages: &[Message],
        add_generation_prompt: bool,
    ) -> Result<String, TextError> {
        self.render_json(&messages, &(), add_generation_prompt)
    }

    /// [`render`](Self::render) for messages with further fields, such as `tool_calls`, and for `tools`,
    /// which a template may tell the model about; `()` stands for none.
    ///
    /// # Errors
    /// As [`render`](Self::render).
    pub fn render_json(
        &self,
        messages: &impl Serialize,
        tools: &impl Serialize,
        add_generation_prompt: bool,
    ) -> Result<String, TextError> {
        let this = self.clone();
        let (messages, tools) = (Serde(messages).into(), Serde(tools).into());
        limits::in_time(move || this.rendered(messages, tools, add_generation_prompt))
    }

    fn rendered(
        &self,
        messages: Value,
        tools: Value,
        add_generation_prompt: bool,
    ) -> Result<String, TextError> {
        let known = self.tokens.iter().filter_map(|(name, token)| {
            let token = token.as_ref()?;
            Some((*name, token.as_str()))
        });
        let tokens: Vec<_> = known.collect();
        let template = self.environment.get_template(NAME)?;
        let mut text = limits::Text::default();
        let context = context! {
            messages,
            add_generation_prompt,
            tools,
            documents => (),
            ..Value::from_pairs(tokens)
        };
        template.render_captured_to(context, &mut text)?;
        Ok(String::from_utf8_lossy(&text.0).into_owned())
    }
}

fn environment(template: &str) -> Result<Environment<'static>, TextError> {
    let mut environment = Environment::new();
    limits::set(&mut environment, template);
    let syntax = SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .build()?;
    environment.set_syntax(syntax);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    filters::set(&mut environment);
    environment.add_function("raise_exception", |message: String| -> Result<(), Error> {
        Err(Error::new(ErrorKind::InvalidOperation, message))
    });
    environment.add_function("strftime_now", |format: String| date::now(&format));
    environment.add_template_owned(NAME, source::translated(template))?;
    Ok(environment)
}
