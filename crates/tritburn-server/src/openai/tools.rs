//! Functions that a model may call.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::error::ApiError;

/// Letters of a function's name at most, as OpenAI has it.
const MAX_NAME: usize = 64;

/// A function that the model may call.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Tool {
    /// Always `function`.
    #[serde(rename = "type")]
    pub kind: ToolKind,
    /// The function.
    pub function: Function,
}

/// Kinds of tools.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ToolKind {
    /// A function of the caller's.
    Function,
}

/// What there is to know about a function.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Function {
    /// Letters, digits, `_` and `-`.
    pub name: String,
    /// When to call it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// A JSON schema of its arguments.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub parameters: Option<Value>,
    /// Whether arguments have to follow the schema. They do where a call is required; calls that the
    /// model is free to make are as it writes them.
    #[serde(skip_serializing)]
    pub strict: Option<bool>,
}

/// Whether the model may call functions.
#[derive(Clone, Debug, PartialEq, Deserialize, ToSchema)]
#[serde(
    untagged,
    expecting = "none, auto, required, or {\"type\": \"function\", \"function\": {\"name\": ..}}"
)]
pub enum ToolChoice {
    /// Whether at all.
    Mode(ToolMode),
    /// It has to call this one.
    Named {
        /// Always `function`.
        #[serde(rename = "type")]
        kind: NamedKind,
        /// The function.
        function: NamedFunction,
    },
}

/// Whether the model may call functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ToolMode {
    /// It may not.
    None,
    /// It may.
    Auto,
    /// It has to.
    Required,
}

/// Kinds of tools that can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum NamedKind {
    /// A function.
    Function,
}

/// A function by its name.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NamedFunction {
    /// Its name.
    pub name: String,
}

impl Tool {
    /// Checks the name and that parameters are a schema.
    pub(super) fn validate(&self, index: usize) -> Result<(), ApiError> {
        let Function {
            name, parameters, ..
        } = &self.function;
        let letter = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(letter) {
            let path = format!("tools[{index}].function.name");
            let message = format!(
                "`{path}` has to be 1 to {MAX_NAME} letters, digits, underscores and dashes"
            );
            return Err(ApiError::value(path, message));
        }
        match parameters {
            None | Some(Value::Object(_)) => Ok(()),
            Some(_) => {
                let path = format!("tools[{index}].function.parameters");
                Err(ApiError::value(
                    path.clone(),
                    format!("`{path}` is no object"),
                ))
            }
        }
    }

    /// The schema of a call: `{"name": .., "arguments": {..}}`.
    fn call_schema(&self) -> Value {
        let any = || json!({ "type": "object" });
        let arguments = self.function.parameters.clone().unwrap_or_else(any);
        json!({
            "type": "object",
            "properties": { "name": { "const": self.function.name }, "arguments": arguments },
            "required": ["name", "arguments"],
            "additionalProperties": false,
        })
    }
}

impl ToolChoice {
    /// Checks that what has to be called is there.
    pub(super) fn validate(&self, tools: &[Tool]) -> Result<(), ApiError> {
        match self {
            Self::Mode(ToolMode::Required) if tools.is_empty() => Err(ApiError::value(
                "tool_choice",
                "`tool_choice` is required, but there are no `tools`",
            )),
            Self::Named { function, .. }
                if !tools.iter().any(|tool| tool.function.name == function.name) =>
            {
                let message = format!(
                    "`tool_choice` names {:?}, which is none of `tools`",
                    function.name
                );
                Err(ApiError::value("tool_choice", message))
            }
            _ => Ok(()),
        }
    }
}

/// The schema of the call that an answer has to be; `None` where it need not be one.
pub fn required_call(choice: Option<&ToolChoice>, tools: &[Tool]) -> Option<Value> {
    let allowed: Vec<Value> = match choice? {
        ToolChoice::Mode(ToolMode::None | ToolMode::Auto) => return None,
        ToolChoice::Mode(ToolMode::Required) => tools.iter().map(Tool::call_schema).collect(),
        ToolChoice::Named { function, .. } => {
            let named = tools
                .iter()
                .filter(|tool| tool.function.name == function.name);
            named.map(Tool::call_schema).take(1).collect()
        }
    };
    match <[Value; 1]>::try_from(allowed) {
        Ok([only]) => Some(only),
        Err(several) => Some(json!({ "anyOf": several })),
    }
}
