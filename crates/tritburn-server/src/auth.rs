//! Who may ask.

use std::fmt;
use std::fs;
use std::io;
use std::path::Path;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::Response;
use subtle::{Choice, ConstantTimeEq};

use crate::error::ApiError;
use crate::state::AppState;

/// The keys of which a request has to bring one, as `Authorization: Bearer KEY`. Without any, everybody
/// may ask.
#[derive(Clone, Default)]
pub struct ApiKeys(Vec<String>);

impl fmt::Debug for ApiKeys {
    /// How many, and nothing more.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} keys", self.0.len())
    }
}

impl ApiKeys {
    /// These keys; empty ones are none.
    pub fn new(keys: impl IntoIterator<Item = String>) -> Self {
        let keys = keys.into_iter().map(|key| key.trim().to_string());
        Self(keys.filter(|key| !key.is_empty()).collect())
    }

    /// The keys of a file, one a line; empty lines and those that begin with `#` are passed over.
    ///
    /// # Errors
    /// If the file cannot be read, is no UTF-8, or has no key: a file that protects nothing is a mistake.
    pub fn from_file(path: &Path) -> io::Result<Self> {
        let text = fs::read_to_string(path)?;
        let lines = text
            .lines()
            .filter(|line| !line.trim_start().starts_with('#'));
        let keys = Self::new(lines.map(str::to_string));
        match keys.0.is_empty() {
            true => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the file has no key",
            )),
            false => Ok(keys),
        }
    }

    /// Adds the keys of `other`.
    pub fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// Whether everybody may ask.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Compares with every key, in a time that depends on lengths alone.
    fn contains(&self, given: &str) -> bool {
        let found = self.0.iter().fold(Choice::from(0), |found, key| {
            found | key.as_bytes().ct_eq(given.as_bytes())
        });
        found.into()
    }

    fn check(&self, headers: &HeaderMap) -> Result<(), ApiError> {
        if self.is_empty() {
            return Ok(());
        }
        let given = headers.get(header::AUTHORIZATION);
        let given = given.and_then(|value| value.to_str().ok());
        let key = given.and_then(|value| {
            let (scheme, key) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
        });
        match key {
            None => Err(ApiError::key(
                "an API key is needed: `Authorization: Bearer KEY`",
            )),
            Some(key) if self.contains(key) => Ok(()),
            Some(_) => Err(ApiError::key("the API key is wrong")),
        }
    }
}

/// Lets requests pass that bring a key.
pub async fn require_key(
    State(state): State<AppState>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    state.options.api_keys.check(request.headers())?;
    Ok(next.run(request).await)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(header::AUTHORIZATION, value.parse().unwrap())])
    }

    #[test]
    fn one_of_several_keys_is_enough() {
        let keys = ApiKeys::new(["first".into(), " second\n".into(), String::new()]);
        assert_eq!(format!("{keys:?}"), "2 keys");
        assert!(keys.check(&with("Bearer first")).is_ok());
        assert!(keys.check(&with("bearer second")).is_ok());
        for wrong in [
            "Bearer third",
            "Bearer firs",
            "Bearer ",
            "Basic first",
            "first",
        ] {
            assert!(keys.check(&with(wrong)).is_err(), "{wrong}");
        }
        assert!(keys.check(&HeaderMap::new()).is_err());
    }

    #[test]
    fn without_keys_everybody_may_ask() {
        assert!(ApiKeys::default().check(&HeaderMap::new()).is_ok());
    }

    #[test]
    fn a_file_without_keys_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        fs::write(&path, "# nothing\n\n").unwrap();
        assert!(ApiKeys::from_file(&path).is_err());
        fs::write(&path, "# ours\nkey-one\n\nkey-two\n").unwrap();
        let keys = ApiKeys::from_file(&path).unwrap();
        assert!(keys.contains("key-two") && !keys.contains("# ours"));
    }
}
