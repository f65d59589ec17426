//! Templates as minijinja takes them: what transformers adds to Jinja is put in Jinja's words.
//!
//! - `{% generation %}` and its end, which tell training what the assistant said, become an `if true`.
//! - `'…' % values`, Python's formatting, becomes the filter `format`.
//! - Every value that is set passes through a filter that [bounds](super::limits) it.

use std::ops::Range;

use super::limits::BOUNDED;

/// The source with all of that put otherwise.
pub(super) fn translated(source: &str) -> String {
    let mut out = String::with_capacity(source.len() + source.len() / 8);
    let mut rest = source;
    while let Some(start) = rest.find('{') {
        out.push_str(&rest[..start]);
        rest = &rest[start..];
        let (kind, close) = match rest.as_bytes().get(1) {
            Some(b'{') => (Region::Value, "}}"),
            Some(b'%') => (Region::Tag, "%}"),
            Some(b'#') => {
                let end = rest[2..].find("#}").map_or(rest.len(), |end| end + 4);
                out.push_str(&rest[..end]);
                rest = &rest[end..];
                continue;
            }
            _ => {
                out.push('{');
                rest = &rest[1..];
                continue;
            }
        };
        let (tokens, end) = tokens(rest, close);
        let Some(end) = end else {
            // Not closed: for the parser to say.
            break;
        };
        let region = Source {
            text: rest,
            tokens: &tokens,
        };
        out.push_str(&rest[..2]);
        region.write(kind, end, &mut out);
        out.push_str(close);
        rest = &rest[end + 2..];
        if kind == Region::Tag && region.word() == Some("raw") {
            let end = raw_end(rest);
            out.push_str(&rest[..end]);
            rest = &rest[end..];
        }
    }
    out + rest
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Region {
    Value,
    Tag,
}

/// A word or number, a string, or a sign of one character.
#[derive(Clone, Debug)]
struct Token {
    range: Range<usize>,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Word,
    Text,
    Sign,
}

/// The tokens of a region that begins with two signs, and where its `close` is.
fn tokens(text: &str, close: &str) -> (Vec<Token>, Option<usize>) {
    let mut tokens = Vec::new();
    let (mut place, mut depth) = (2, 0usize);
    while let Some(c) = text[place..].chars().next() {
        // A dictionary may end in two braces, too.
        if text[place..].starts_with(close) && (close == "%}" || depth == 0) {
            return (tokens, Some(place));
        }
        let start = place;
        let kind = match c {
            '"' | '\'' => {
                place += 1;
                let mut escaped = false;
                for inner in text[place..].chars() {
                    place += inner.len_utf8();
                    if inner == c && !escaped {
                        break;
                    }
                    escaped = inner == '\\' && !escaped;
                }
                Kind::Text
            }
            c if c.is_alphanumeric() || c == '_' => {
                let word = |c: &char| c.is_alphanumeric() || *c == '_';
                place += text[place..]
                    .chars()
                    .take_while(word)
                    .map(char::len_utf8)
                    .sum::<usize>();
                Kind::Word
            }
            c => {
                place += c.len_utf8();
                match c {
                    '(' | '[' | '{' => depth += 1,
                    ')' | ']' | '}' => depth = depth.saturating_sub(1),
                    _ => {}
                }
                if c.is_whitespace() {
                    continue;
                }
                Kind::Sign
            }
        };
        let range = start..place;
        tokens.push(Token { range, kind });
    }
    (tokens, None)
}

/// Where the tag that ends raw text begins.
fn raw_end(text: &str) -> usize {
    let tags = text.match_indices("{%");
    let ends = |(_, tag): &(usize, &str)| {
        tag[2..]
            .trim_start_matches(['-', '+'])
            .trim_start()
            .starts_with("endraw")
    };
    let mut tags = tags.map(|(place, _)| (place, &text[place..]));
    tags.find(ends).map_or(text.len(), |(place, _)| place)
}

/// A region with its tokens.
struct Source<'a> {
    text: &'a str,
    tokens: &'a [Token],
}

impl Source<'_> {
    fn of(&self, index: usize) -> &str {
        match self.tokens.get(index) {
            Some(token) => &self.text[token.range.clone()],
            None => "",
        }
    }

    /// The first word.
    fn word(&self) -> Option<&str> {
        let words = self.tokens.iter().find(|token| token.kind == Kind::Word)?;
        Some(&self.text[words.range.clone()])
    }

    /// All up to `end`.
    fn write(&self, kind: Region, end: usize, out: &mut String) {
        let last = self.tokens.len();
        if kind == Region::Tag {
            match self.word() {
                Some(word @ ("generation" | "endgeneration")) => {
                    let body = &self.text[2..end];
                    let instead = if word == "generation" {
                        "if true"
                    } else {
                        "endif"
                    };
                    out.push_str(&body.replacen(word, instead, 1));
                    return;
                }
                Some("set") => {
                    if let Some(equals) = self.assignment() {
                        // Behind the value there may be the sign that trims blanks.
                        let trims = matches!(self.of(last - 1), "-" | "+");
                        let value_end = if trims { last - 1 } else { last };
                        let place = self.tokens[equals].range.end;
                        out.push_str(&self.text[2..place]);
                        out.push_str(" (");
                        self.expression(equals + 1..value_end, place, out);
                        out.push_str(&format!(")|{BOUNDED}"));
                        let place = self.tokens[value_end - 1].range.end;
                        out.push_str(&self.text[place..end]);
                        return;
                    }
                }
                _ => {}
            }
        }
        self.expression(0..last, 2, out);
        let place = self.tokens.last().map_or(2, |token| token.range.end);
        out.push_str(&self.text[place..end]);
    }

    /// The sign between a name and the value that it gets.
    fn assignment(&self) -> Option<usize> {
        let found = (0..self.tokens.len()).find(|&i| self.of(i) == "=")?;
        let simple = self.of(found + 1) != "=" && found + 1 < self.tokens.len();
        simple.then_some(found)
    }

    /// Some tokens, and what stands before each of them from `place` on.
    fn expression(&self, range: Range<usize>, mut place: usize, out: &mut String) {
        let mut i = range.start;
        while i < range.end {
            let token = &self.tokens[i];
            out.push_str(&self.text[place..token.range.end]);
            place = token.range.end;
            i += 1;
            if token.kind != Kind::Text || i >= range.end || self.of(i) != "%" {
                continue;
            }
            let Some(end) = self.operand(i + 1, range.end) else {
                continue;
            };
            let first = &self.tokens[i + 1];
            let alone = self.of(i + 1) == "(" && self.group(i + 1) == Some(end);
            out.push_str("|format(");
            match alone {
                // The values of a tuple, or one in brackets.
                true => self.expression(i + 2..end - 1, first.range.end, out),
                false => self.expression(i + 1..end, first.range.start, out),
            }
            out.push(')');
            place = self.tokens[end - 1].range.end;
            i = end;
        }
    }

    /// Where the operand that begins at `start` ends: a value with what is taken from it.
    fn operand(&self, start: usize, limit: usize) -> Option<usize> {
        let start = if self.of(start) == "-" {
            start + 1
        } else {
            start
        };
        let mut end = match self.tokens.get(start)?.kind {
            Kind::Sign => self.group(start)?,
            _ => start + 1,
        };
        while end < limit {
            end = match self.of(end) {
                "." => end + 2,
                "(" | "[" => self.group(end)?,
                "|" => end + 2,
                _ => break,
            };
        }
        (end <= limit).then_some(end)
    }

    /// Where the group of brackets that opens at `start` ends.
    fn group(&self, start: usize) -> Option<usize> {
        let mut depth = 0usize;
        for i in start..self.tokens.len() {
            match self.of(i) {
                "(" | "[" | "{" => depth += 1,
                ")" | "]" | "}" => depth = depth.checked_sub(1)?,
                _ => {}
            }
            if depth == 0 {
                return (i > start).then_some(i + 1);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_jinja_knows_stays_as_it_is() {
        for source in [
            "no template at all { { }",
            "{{ {'a': {'b': 1}} }}{% for m in messages -%} x {%- endfor %}",
            "{# '%s' % x #}{% raw %}{% generation %}{{ '%s' % x }}{% endraw %}",
            "{{ 7 % 2 }}{{ '%}' }}{{ \"it's\" }}{{ 'it\\'s %' }}",
            "{% set x %}y{% endset %}{% if a == b %}{% endif %}",
            "{{ unclosed",
            "é{",
        ] {
            assert_eq!(translated(source), source);
        }
    }

    #[test]
    fn formatting_takes_its_operand_and_no_more() {
        for (source, expected) in [
            ("{{ '%s: %s' % (a, b) }}", "{{ '%s: %s'|format(a, b) }}"),
            (
                "{{ '%s' % m['x'].y(1)|trim + 'z' }}",
                "{{ '%s'|format(m['x'].y(1)|trim) + 'z' }}",
            ),
            ("{{ '%d' % -1 }}", "{{ '%d'|format(-1) }}"),
            (
                "{{ '%s' % ('%d' % (x)) }}",
                "{{ '%s'|format('%d'|format(x)) }}",
            ),
            ("{{ ('%s' % a) % 2 }}", "{{ ('%s'|format(a)) % 2 }}"),
            ("{%- if '%s' % a == b -%}", "{%- if '%s'|format(a) == b -%}"),
        ] {
            assert_eq!(translated(source), expected);
        }
    }

    #[test]
    fn tags_of_training_and_values_that_are_set() {
        for (source, expected) in [
            (
                "{%- generation -%}x{% endgeneration %}",
                "{%- if true -%}x{% endif %}",
            ),
            ("{% set a = b + c -%}", "{% set a = ( b + c)|__bounded -%}"),
            (
                "{% set ns.x = '%s' % y %}",
                "{% set ns.x = ( '%s'|format(y))|__bounded %}",
            ),
        ] {
            assert_eq!(translated(source), expected);
        }
    }
}
