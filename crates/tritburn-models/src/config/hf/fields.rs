//! Fields of a `config.json` that only some families have.

use serde_json::{Map, Value};

use crate::config::ConfigError;

/// All fields by name, those that only some families have among them. `null` is as good as absent.
#[derive(Debug, Default)]
pub(crate) struct Fields(Map<String, Value>);

impl Fields {
    /// All fields of an object.
    pub fn new(fields: Map<String, Value>) -> Self {
        Self(fields)
    }

    /// The value of a field.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    /// A number.
    pub fn float(&self, name: &str) -> Result<Option<f64>, ConfigError> {
        self.typed(name, "a number", Value::as_f64)
    }

    /// A whole number.
    pub fn size(&self, name: &str) -> Result<Option<usize>, ConfigError> {
        let size = |value: &Value| value.as_u64()?.try_into().ok();
        self.typed(name, "a whole number", size)
    }

    /// True or false.
    pub fn flag(&self, name: &str) -> Result<Option<bool>, ConfigError> {
        self.typed(name, "true or false", Value::as_bool)
    }

    fn typed<T>(
        &self,
        name: &str,
        expected: &'static str,
        of: impl Fn(&Value) -> Option<T>,
    ) -> Result<Option<T>, ConfigError> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        of(value).map(Some).ok_or_else(|| ConfigError::Value {
            field: name.to_string(),
            found: value.to_string(),
            expected,
        })
    }
}
