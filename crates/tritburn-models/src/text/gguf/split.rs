//! How byte-level BPE splits text before it merges, by the names that GGUF has for it.
//!
//! A rule is a list of expressions, each of which cuts the pieces that the one before it left. They are
//! those of the models' `tokenizer.json`, or for `default` and `falcon` of llama.cpp.

use serde_json::{Value as Json, json};

/// A named way to split text.
#[derive(Debug)]
pub(super) struct Rule {
    /// All names; the first is the one to write.
    names: &'static [&'static str],
    steps: &'static [&'static str],
    /// Whether a piece that is a token stays whole, whatever the merges say.
    pub whole_pieces: bool,
    /// Whether a prompt begins with the token that begins a sequence, unless the file says otherwise.
    pub adds_bos: bool,
    /// Whether text is brought to Unicode's composed form first.
    pub composes: bool,
}

/// GPT-2's own expression, which `ByteLevel` brings along.
pub(in crate::text) const GPT_2: &str =
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
pub(in crate::text) const LLAMA_3: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}",
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
);
pub(in crate::text) const QWEN_2: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}",
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
);
/// Marks belong to their letters.
pub(in crate::text) const QWEN_35: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}",
    r"| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
);
const TEKKEN: &str = concat!(
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+",
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*",
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
);
const GPT_4O: &str = concat!(
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
);
/// Letters of alphabets that know upper and lower case. Those that composing changes are escaped.
const CASED: &str = concat!(
    r"\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫ",
    r"ᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-",
    "\u{1f7d}",
    r"ᾀ-ᾴᾶ-ᾼ",
    "\u{1fbe}",
    r"ῂ-ῄῆ-ῌῐ-",
    "\u{1fd3}",
    r"ῖ-",
    "\u{1fdb}",
    r"ῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤ",
    "\u{2126}",
    r"ℨ",
    "\u{212a}",
    r"-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀",
    r"-𞥃]+",
);
const CJK: &str = r"[一-龥ࠀ-一가-퟿]+";
const DEEPSEEK_V3: &str = concat!(
    r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"##,
    r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
);

/// A rule that splits nothing.
pub(super) const PLAIN: Rule = Rule {
    names: &[],
    steps: &[],
    whole_pieces: false,
    adds_bos: false,
    composes: false,
};

const RULES: [Rule; 12] = [
    Rule {
        names: &[
            "gpt-2", "phi-2", "jina-es", "jina-de", "gigachat", "mpt", "olmo", "jais", "trillion",
        ],
        steps: &[GPT_2],
        ..PLAIN
    },
    Rule {
        names: &[
            "llama-bpe",
            "llama3",
            "llama-v3",
            "falcon3",
            "falcon-h1",
            "falcon-e",
            "falcon_e",
            "pixtral",
            "midm-2.0",
            "lfm2",
        ],
        steps: &[LLAMA_3],
        whole_pieces: true,
        adds_bos: true,
        ..PLAIN
    },
    Rule {
        names: &["dbrx", "smaug-bpe", "glm4", "chatglm-bpe"],
        steps: &[LLAMA_3],
        ..PLAIN
    },
    Rule {
        names: &[
            "qwen2",
            "deepseek-r1-qwen",
            "hunyuan",
            "hunyuan-dense",
            "stablelm2",
            "megrez",
            "kormo",
        ],
        steps: &[QWEN_2],
        composes: true,
        ..PLAIN
    },
    Rule {
        names: &["qwen35"],
        steps: &[QWEN_35],
        composes: true,
        ..PLAIN
    },
    Rule {
        names: &[
            "smollm",
            "starcoder",
            "refact",
            "command-r",
            "codeshell",
            "exaone",
            "minerva-7b",
        ],
        steps: &[r"\p{N}", GPT_2],
        ..PLAIN
    },
    Rule {
        names: &[DEFAULT],
        steps: &[
            r"[\p{P}\$\+<=>\^~\|]+",
            GPT_2,
            r"\p{N}+",
            r"[0-9][0-9][0-9]",
        ],
        ..PLAIN
    },
    Rule {
        names: &["falcon"],
        steps: &[r"[\p{P}\$\+<=>\^~\|`]+", GPT_2, r"[0-9][0-9][0-9]"],
        ..PLAIN
    },
    Rule {
        names: &["deepseek-llm"],
        steps: &[
            r"[\r\n]",
            CASED,
            r"\s?[!-/:-~！-／：-～‘-‟　-。]+",
            r"\s+$",
            CJK,
            r"\p{N}+",
        ],
        ..PLAIN
    },
    Rule {
        names: &["deepseek-v3", "youtu"],
        steps: &[r"\p{N}{1,3}", r"[一-龥぀-ゟ゠-ヿ]+", DEEPSEEK_V3],
        ..PLAIN
    },
    Rule {
        names: &["tekken"],
        steps: &[TEKKEN],
        whole_pieces: true,
        adds_bos: true,
        ..PLAIN
    },
    Rule {
        names: &["gpt-4o", "llama4", "kanana2"],
        steps: &[GPT_4O],
        ..PLAIN
    },
];

/// For names that nothing is known of.
pub(super) const DEFAULT: &str = "default";

impl Rule {
    /// The rule of a name.
    pub fn named(name: &str) -> Option<&'static Self> {
        RULES.iter().find(|rule| rule.names.contains(&name))
    }

    /// The rule that a `tokenizer.json` splits by, if GGUF has a name for it.
    pub fn of(tokenizer: &Json) -> Option<&'static Self> {
        let steps = steps(&tokenizer["pre_tokenizer"])?;
        let mut alike = RULES.iter().filter(|rule| rule.steps == steps);
        let whole = tokenizer["model"]["ignore_merges"] == true;
        let first = alike.clone().next();
        alike.find(|rule| rule.whole_pieces == whole).or(first)
    }

    /// The name to write.
    pub fn name(&self) -> &'static str {
        self.names[0]
    }

    /// The `pre_tokenizer` of a `tokenizer.json`.
    pub fn pre_tokenizer(&self) -> Json {
        let ([own @ .., GPT_2] | own) = self.steps;
        let bytes = byte_level(own.len() < self.steps.len());
        if own.is_empty() {
            return bytes;
        }
        let split = |step: &&str| {
            json!({
                "type": "Split", "pattern": { "Regex": step }, "behavior": "Isolated", "invert": false,
            })
        };
        let steps: Vec<Json> = own.iter().map(split).chain([bytes]).collect();
        json!({ "type": "Sequence", "pretokenizers": steps })
    }
}

/// Bytes as letters, by GPT-2's expression or none.
pub(super) fn byte_level(use_regex: bool) -> Json {
    json!({
        "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": use_regex,
    })
}

/// The expressions of a `pre_tokenizer` that ends in bytes as letters, `None` for another.
fn steps(pre_tokenizer: &Json) -> Option<Vec<&str>> {
    let parts = match pre_tokenizer["pretokenizers"].as_array() {
        Some(parts) => parts.as_slice(),
        None => std::slice::from_ref(pre_tokenizer),
    };
    let (bytes, splits) = parts.split_last()?;
    let mut steps = Vec::new();
    for part in splits {
        steps.push(match part["type"].as_str()? {
            "Digits" if part["individual_digits"] == true => r"\p{N}",
            "Split" if part["behavior"] == "Isolated" && part["invert"] != true => {
                part["pattern"]["Regex"].as_str()?
            }
            _ => return None,
        });
    }
    if bytes["type"] != "ByteLevel" || bytes["add_prefix_space"] == true {
        return None;
    }
    if bytes["use_regex"] != false {
        steps.push(GPT_2);
    }
    Some(steps)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn pieces(name: &str, text: &str) -> Vec<String> {
        use tokenizers::tokenizer::{
            OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer,
        };
        let json = Rule::named(name).unwrap().pre_tokenizer();
        let splitter: tokenizers::PreTokenizerWrapper = serde_json::from_value(json).unwrap();
        let mut pieces = PreTokenizedString::from(text);
        splitter.pre_tokenize(&mut pieces).unwrap();
        let splits = pieces.get_splits(OffsetReferential::Original, OffsetType::Byte);
        splits
            .into_iter()
            .map(|(_, (start, end), _)| text[start..end].to_string())
            .collect()
    }

    #[test]
    fn every_rule_has_names_of_its_own_and_is_found_again() {
        let names: Vec<_> = RULES.iter().flat_map(|rule| rule.names).collect();
        let different: HashSet<_> = names.iter().collect();
        assert_eq!(names.len(), different.len());
        for rule in &RULES {
            let tokenizer = json!({
                "pre_tokenizer": rule.pre_tokenizer(), "model": { "ignore_merges": rule.whole_pieces },
            });
            assert_eq!(Rule::of(&tokenizer).unwrap().name(), rule.name());
        }
    }

    #[test]
    fn rules_differ_where_models_do() {
        let text = "It's 12345 a\u{301}b, 日本 x+=1\n";
        assert_eq!(
            pieces("gpt-2", text),
            [
                "It", "'s", " 12345", " a", "\u{301}", "b", ",", " 日本", " x", "+=", "1", "\n"
            ]
        );
        assert_eq!(
            pieces("llama-bpe", text),
            [
                "It", "'s", " ", "123", "45", " a", "\u{301}b", ",", " 日本", " x", "+=", "1", "\n"
            ]
        );
        assert_eq!(pieces("qwen2", "12 x"), ["1", "2", " x"]);
        assert_eq!(pieces("qwen35", "a\u{301}b"), ["a\u{301}b"]);
        assert_eq!(pieces("smollm", "a 12"), ["a", " ", "1", "2"]);
        assert_eq!(
            pieces("default", "a 12345,b"),
            ["a", " ", "123", "45", ",", "b"]
        );
        assert_eq!(
            pieces("falcon", "`a` 1234"),
            ["`", "a", "`", " ", "123", "4"]
        );
        assert_eq!(
            pieces("deepseek-llm", "éé 日本 12"),
            ["éé", " ", "日本", " ", "12"]
        );
        assert_eq!(
            pieces("deepseek-v3", "(abc 1234"),
            ["(abc", " ", "123", "4"]
        );
        assert_eq!(
            pieces("tekken", "helloWorld12"),
            ["hello", "World", "1", "2"]
        );
        assert_eq!(
            pieces("gpt-4o", "helloWorld's1234"),
            ["hello", "World's", "123", "4"]
        );
    }
}
