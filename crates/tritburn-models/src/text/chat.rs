//! Chat templates, rendered as transformers renders them.

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Serde};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, Value, context};
use minijinja_contrib::pycompat::unknown_method_callback;
use serde::{Deserialize, Serialize};

use super::files::token_text;
use super::{TextError, TokenizerFiles, date, json};

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

/// Instructions of one rendering: a template comes with a model, and may loop for ever. Long
/// conversations take some ten thousand; this many run for about a second.
const FUEL: u64 = 10_000_000;

/// The Jinja template that makes a prompt of a conversation.
///
/// As in transformers: blocks are trimmed, strings and lists have Python's methods,
/// `raise_exception` and `strftime_now` exist (its time is UTC), `tojson` does not escape HTML.
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    tokens: [(&'static str, Option<String>); 4],
}

impl ChatTemplate {
    /// The template of a checkpoint, `None` if it has none.
    ///
    /// # Errors
    /// [`TextError::Json`], or [`TextError::Template`] for a template with a syntax error.
    pub fn from_files(files: &TokenizerFiles) -> Result<Option<Self>, TextError> {
        let Some(source) = files.template()? else {
            return Ok(None);
        };
        let config = files.tokenizer_config()?;
        let tokens = ["bos_token", "eos_token", "pad_token", "unk_token"]
            .map(|name| (name, token_text(&config, name)));
        Ok(Some(Self {
            environment: environment(source)?,
            tokens,
        }))
    }

    /// The prompt of a conversation; with `add_generation_prompt` it ends where the assistant
    /// begins to speak. Encode it with
    /// [`Tokenizer::encode_rendered`](super::Tokenizer::encode_rendered).
    ///
    /// # Errors
    /// [`TextError::Template`] where the template fails, refuses the messages, or does not come to an
    /// end.
    pub fn render(
        &self,
        messages: &[Message],
        add_generation_prompt: bool,
    ) -> Result<String, TextError> {
        let known = self.tokens.iter().filter_map(|(name, token)| {
            let token = token.as_ref()?;
            Some((*name, token.as_str()))
        });
        let tokens: Vec<_> = known.collect();
        let template = self.environment.get_template(NAME)?;
        Ok(template.render(context! {
            messages => Serde(messages),
            add_generation_prompt,
            tools => (),
            documents => (),
            ..Value::from_pairs(tokens)
        })?)
    }
}

fn environment(source: String) -> Result<Environment<'static>, TextError> {
    let mut environment = Environment::new();
    environment.set_fuel(Some(FUEL));
    let syntax = SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .build()?;
    environment.set_syntax(syntax);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_unknown_method_callback(unknown_method_callback);
    environment.add_function("raise_exception", |message: String| -> Result<(), Error> {
        Err(Error::new(ErrorKind::InvalidOperation, message))
    });
    environment.add_function("strftime_now", |format: String| date::now(&format));
    environment.add_filter(
        "tojson",
        |value: Value, options: Kwargs| -> Result<String, Error> {
            let indent: Option<usize> = options.get("indent")?;
            // Python's spelling is kept whatever else is asked for.
            let _: Option<bool> = options.get("ensure_ascii")?;
            options.assert_all_used()?;
            json::python(&value, indent)
                .map_err(|e| Error::new(ErrorKind::BadSerialization, "not JSON").with_source(e))
        },
    );
    environment.add_template_owned(NAME, source)?;
    Ok(environment)
}
