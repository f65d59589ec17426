//! Filters and methods that make much of little, with a bound on what they make.

use minijinja::value::{Kwargs, Rest, StringInput, ValueKind, ValueOrKwargs};
use minijinja::{Environment, Error, ErrorKind, State, Value, filters};
use minijinja_contrib::pycompat::unknown_method_callback;

use super::super::json;
use super::limits::{MAX_TEXT, Text, check, too_large};

/// Filters of Jinja that fill lists or lines up to a number, for which no prompt has use.
const UNUSED: [&str; 4] = ["batch", "slice", "pprint", "urlencode"];
/// Digits of a number in a format: the width of a field.
const MAX_DIGITS: usize = 4;
/// Columns that a text is indented by.
const MAX_INDENT: usize = 256;

/// Adds the filters to an environment, and Python's methods of strings, lists and dictionaries.
pub(super) fn set(environment: &mut Environment) {
    for name in UNUSED {
        environment.remove_filter(name);
    }
    environment.add_filter("tojson", to_json);
    environment.add_filter("indent", indent);
    environment.add_filter("replace", replace);
    environment.add_filter("join", join);
    environment.add_filter("format", format);
    environment.set_unknown_method_callback(method);
}

/// `json.dumps`: Python's spelling is kept whatever else is asked for.
fn to_json(value: Value, options: Kwargs) -> Result<String, Error> {
    let indent: Option<usize> = options.get("indent")?;
    let _: Option<bool> = options.get("ensure_ascii")?;
    options.assert_all_used()?;
    let mut text = Text::default();
    json::python(&value, indent, &mut text)
        .map_err(|e| Error::new(ErrorKind::BadSerialization, "not JSON").with_source(e))?;
    Ok(String::from_utf8_lossy(&text.0).into_owned())
}

fn indent(
    text: StringInput<'_>,
    width: Option<usize>,
    first: Option<bool>,
    blank: Option<bool>,
    options: Kwargs,
) -> Result<Value, Error> {
    let asked = width.or(options.get("width")?);
    if asked.is_some_and(|width| width > MAX_INDENT) {
        return Err(too_large(MAX_INDENT, "columns of indentation"));
    }
    let lines = text.as_str().matches('\n').count() + 1;
    made(text.as_str().len(), lines, MAX_INDENT)?;
    filters::indent(text, width, first, blank, options)
}

fn replace(
    state: &mut State,
    text: StringInput<'_>,
    from: StringInput<'_>,
    to: StringInput<'_>,
) -> Result<Value, Error> {
    check_replaced(text.as_str(), from.as_str(), to.as_str())?;
    filters::replace(state, text, from, to)
}

fn join(
    state: &mut State,
    value: &Value,
    joiner: Option<StringInput<'_>>,
    attribute: Option<&str>,
    options: Kwargs,
) -> Result<Value, Error> {
    check_joined(joiner.as_ref().map_or("", StringInput::as_str), value)?;
    if let Some(joiner) = options.get::<Option<&str>>("d")? {
        check_joined(joiner, value)?;
    }
    filters::join(state, value, joiner, attribute, options)
}

/// Python's `%`.
fn format(state: &mut State, text: &Value, args: Rest<ValueOrKwargs>) -> Result<Value, Error> {
    check_format(text.as_str().unwrap_or_default())?;
    filters::format(state, text, args)
}

/// The methods of Python.
fn method(state: &mut State, value: &Value, name: &str, args: &[Value]) -> Result<Value, Error> {
    if let Some(text) = value.as_str() {
        let arg = |i: usize| args.get(i).and_then(Value::as_str).unwrap_or_default();
        match (name, args.first()) {
            ("replace", _) => check_replaced(text, arg(0), arg(1))?,
            ("join", Some(values)) => check_joined(text, values)?,
            ("format", _) => check_format(text)?,
            _ => {}
        }
    }
    unknown_method_callback(state, value, name, args)
}

/// Refuses a format with fields of any width.
fn check_format(text: &str) -> Result<(), Error> {
    let digits = text.split(|c: char| !c.is_ascii_digit()).map(str::len);
    if digits.max() > Some(MAX_DIGITS) {
        return Err(too_large(MAX_DIGITS, "digits in a format"));
    }
    // A star takes the width from a value.
    let star = |field: &str| {
        let flags = ['-', '+', ' ', '#', '.'];
        let rest = field.trim_start_matches(|c: char| flags.contains(&c) || c.is_ascii_digit());
        rest.starts_with('*')
    };
    match text.split('%').skip(1).any(star) {
        true => Err(too_large(0, "stars in a format")),
        false => Ok(()),
    }
}

fn check_replaced(text: &str, from: &str, to: &str) -> Result<(), Error> {
    let places = match from.is_empty() {
        true => text.len() + 1,
        false => text.matches(from).count(),
    };
    made(text.len(), places, to.len())
}

fn check_joined(joiner: &str, values: &Value) -> Result<(), Error> {
    check(values)?;
    match values.kind() {
        ValueKind::String => made(0, values.as_str().map_or(0, str::len), joiner.len()),
        _ => made(0, values.len().unwrap_or(0), joiner.len()),
    }
}

/// Refuses a text of `len` bytes with `count` parts of `each`.
fn made(len: usize, count: usize, each: usize) -> Result<(), Error> {
    let whole = count
        .checked_mul(each)
        .and_then(|bytes| bytes.checked_add(len));
    match whole.is_some_and(|bytes| bytes <= MAX_TEXT) {
        true => Ok(()),
        false => Err(too_large(MAX_TEXT, "bytes")),
    }
}
