//! The named patterns: their reference regexes, and the spellings under which tokenizer files carry them.

/// A pattern that has a hand-written scanner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Named {
    /// GPT-2, r50k, p50k.
    Gpt2,
    /// GPT-4; differs from `Llama3` in trailing whitespace only (`\s++$`).
    Cl100k,
    /// Llama 3, and GPT-4 as Hugging Face spells it.
    Llama3,
    /// Qwen 2 to 3: digits one at a time.
    Qwen2,
    /// GPT-4o: splits words where the case rises, and keeps a contraction with its word.
    O200k,
}

impl Named {
    pub const ALL: [Named; 5] = [Named::Gpt2, Named::Cl100k, Named::Llama3, Named::Qwen2, Named::O200k];

    pub fn name(self) -> &'static str {
        match self {
            Named::Gpt2 => "gpt2",
            Named::Cl100k => "cl100k",
            Named::Llama3 => "llama3",
            Named::Qwen2 => "qwen2",
            Named::O200k => "o200k",
        }
    }

    /// The regex as its publisher spells it: tiktoken for gpt2, cl100k and o200k, Hugging Face for llama3 and qwen2.
    pub fn regex(self) -> &'static str {
        match self {
            Named::Gpt2 => r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s",
            Named::Cl100k => {
                r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s"
            }
            Named::Llama3 => {
                r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
            }
            Named::Qwen2 => {
                r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
            }
            Named::O200k => concat!(
                r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|",
                r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|",
                r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
            ),
        }
    }

    /// A spelling that Hugging Face's engine (Oniguruma) reads with the same meaning. There `{1,3}+` repeats a
    /// repeat, where Rust's engines read a possessive one, so cl100k cannot be exported as tiktoken spells it.
    pub fn portable_regex(self) -> &'static str {
        match self {
            Named::Gpt2 => r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
            Named::Cl100k => {
                r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s+\z|\s*[\r\n]+|\s+(?!\S)|\s+"
            }
            Named::Llama3 | Named::Qwen2 | Named::O200k => self.regex(),
        }
    }

    /// The pattern of this name, or of this regex in any of the spellings above.
    pub fn find(name_or_regex: &str) -> Option<Named> {
        Named::ALL.into_iter().find(|named| {
            name_or_regex == named.name() || name_or_regex == named.regex() || name_or_regex == named.portable_regex()
        })
    }
}
