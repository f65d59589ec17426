//! From bytes to a request, every field accounted for.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::fields::{Field, Support};
use crate::error::ApiError;

/// A request's fields, all of which are known and none of which is null.
#[derive(Clone, Debug)]
pub struct Body(Value);

impl Body {
    /// The fields of a JSON object. Null stands for an absent field, as OpenAI's clients write it.
    ///
    /// # Errors
    /// [`ApiError::malformed`] for anything else, [`ApiError::unknown`] and [`ApiError::unsupported`] for the
    /// first field that `table` does not have or refuses.
    pub fn parse(bytes: &[u8], table: &[Field]) -> Result<Self, ApiError> {
        let body: Value = serde_json::from_slice(bytes)
            .map_err(|error| ApiError::malformed(format!("the body is no JSON: {error}")))?;
        let Value::Object(fields) = body else {
            return Err(ApiError::malformed("the body is no JSON object"));
        };
        let fields: Map<_, _> = fields
            .into_iter()
            .filter(|(_, value)| !value.is_null())
            .collect();
        for (name, value) in &fields {
            let field = table.iter().find(|field| field.name == name);
            check(field.ok_or_else(|| ApiError::unknown(name))?, value)?;
        }
        Ok(Self(Value::Object(fields)))
    }

    /// Some of the fields.
    ///
    /// # Errors
    /// [`ApiError::value`], which names the field.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, ApiError> {
        read(self.0.clone(), "")
    }

    /// Whether there is such a field.
    pub fn has(&self, name: &str) -> bool {
        self.0.get(name).is_some()
    }
}

/// A value of a known type, at `path` in the request.
pub(super) fn read<T: DeserializeOwned>(value: Value, path: &str) -> Result<T, ApiError> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let inner = error.path().to_string();
        let at = match (path, inner.as_str()) {
            (path, ".") => path.to_string(),
            ("", inner) => inner.to_string(),
            (path, item) if item.starts_with('[') => format!("{path}{item}"),
            (path, inner) => format!("{path}.{inner}"),
        };
        let message = error.into_inner().to_string();
        match at.is_empty() {
            true => ApiError::malformed(message),
            false => ApiError::value(at.clone(), format!("`{at}`: {message}")),
        }
    })
}

fn check(field: &Field, value: &Value) -> Result<(), ApiError> {
    let name = field.name;
    let note = match field.note {
        "" => String::new(),
        note => format!(": {note}"),
    };
    match field.support {
        Support::Supported | Support::Extension | Support::NoEffect => Ok(()),
        Support::Refused => {
            let message = format!("`{name}` is not supported{note}");
            Err(ApiError::unsupported(name, message))
        }
        Support::Only(only) => match serde_json::from_str::<Value>(only) {
            Ok(only) if only == *value => Ok(()),
            _ => {
                let message = format!("`{name}` can only be {only}{note}");
                Err(ApiError::unsupported(name, message))
            }
        },
    }
}

/// One value, or several.
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
#[serde(untagged, expecting = "a string or an array of strings")]
pub enum OneOrMany {
    /// A text.
    One(String),
    /// Several.
    Many(Vec<String>),
}

impl From<OneOrMany> for Vec<String> {
    fn from(values: OneOrMany) -> Self {
        match values {
            OneOrMany::One(value) => vec![value],
            OneOrMany::Many(values) => values,
        }
    }
}

/// A text, token ids, or several of either.
#[derive(Clone, Debug, PartialEq, Deserialize, utoipa::ToSchema)]
#[serde(
    untagged,
    expecting = "a string, an array of strings, an array of token ids, or an array of such arrays"
)]
pub enum Input {
    /// A text.
    Text(String),
    /// Several texts.
    Texts(Vec<String>),
    /// Token ids.
    Ids(Vec<u32>),
    /// Several times token ids.
    IdLists(Vec<Vec<u32>>),
}

/// One text, or the ids of one.
#[derive(Clone, Debug, PartialEq)]
pub enum Prompt {
    /// A text.
    Text(String),
    /// Token ids.
    Ids(Vec<u32>),
}

impl Input {
    /// One by one.
    pub fn into_prompts(self) -> Vec<Prompt> {
        match self {
            Self::Text(text) => vec![Prompt::Text(text)],
            Self::Texts(texts) => texts.into_iter().map(Prompt::Text).collect(),
            Self::Ids(ids) => vec![Prompt::Ids(ids)],
            Self::IdLists(lists) => lists.into_iter().map(Prompt::Ids).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fields::CHAT;
    use super::*;

    fn refusal(body: &str) -> (Option<String>, String) {
        let error = Body::parse(body.as_bytes(), CHAT).unwrap_err().body().error;
        (error.param, error.message)
    }

    #[test]
    fn null_is_as_good_as_nothing() {
        let body = Body::parse(br#"{"functions": null, "top_p": 0.5}"#, CHAT).unwrap();
        assert!(!body.has("functions") && body.has("top_p"));
    }

    #[test]
    fn a_field_is_refused_by_name() {
        let (param, message) = refusal(r#"{"functions": []}"#);
        assert_eq!(param.as_deref(), Some("functions"));
        assert!(message.contains("`tools`"), "{message}");
        assert_eq!(refusal(r#"{"heat": 1}"#).0.as_deref(), Some("heat"));
        assert_eq!(refusal(r#"{"store": true}"#).0.as_deref(), Some("store"));
        assert!(Body::parse(br#"{"store": false}"#, CHAT).is_ok());
    }

    #[test]
    fn what_is_no_object_is_malformed() {
        for body in ["", "[]", "{", "NaN", r#"{"a": NaN}"#, r#"{"top_p": 1e999}"#] {
            assert_eq!(refusal(body).0, None, "{body}");
        }
        let deep = format!("{{\"stop\": {}{}}}", "[".repeat(500), "]".repeat(500));
        assert!(refusal(&deep).1.contains("recursion"));
        assert!(Body::parse(b"{\"a\": \"\xff\"}", CHAT).is_err());
    }

    #[test]
    fn errors_tell_the_path() {
        #[derive(Debug, Deserialize)]
        #[allow(dead_code)]
        struct Nested {
            stop: OneOrMany,
        }
        let body = Body::parse(br#"{"stop": [1]}"#, CHAT).unwrap();
        let error = body.read::<Nested>().unwrap_err().body().error;
        assert_eq!(error.param.as_deref(), Some("stop"));
        assert!(
            error.message.contains("array of strings"),
            "{}",
            error.message
        );
    }
}
