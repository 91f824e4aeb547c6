//! Every way this crate can fail: one sentence that names what and where, and one that says what to do next.

use std::path::Path;
use std::{fmt, io};

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Whose mistake it is; decides the exit status and the Python exception.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The caller asked for something that cannot be (exit 2).
    Usage,
    /// A file or its contents are not what they should be (exit 1).
    Data,
    /// The tokenizer, its files or its training failed (exit 1).
    Tokenizer,
    /// The caller asked to stop (exit 130).
    Interrupted,
}

#[derive(Debug)]
pub struct Error {
    pub kind: Kind,
    pub message: String,
    pub hint: Option<String>,
}

impl Error {
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hint: None }
    }

    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Kind::Usage, message)
    }

    pub fn data(message: impl Into<String>) -> Self {
        Self::new(Kind::Data, message)
    }

    pub fn tokenizer(message: impl Into<String>) -> Self {
        Self::new(Kind::Tokenizer, message)
    }

    pub fn interrupted() -> Self {
        Self::new(Kind::Interrupted, "interrupted")
    }

    /// An operating-system error at a path: `cannot read a/b.txt: No such file or directory`.
    pub fn io(doing: &str, path: &Path, source: &io::Error) -> Self {
        // the reason without Rust's " (os error 2)"
        let reason = source.to_string();
        let reason = reason.split(" (os error").next().unwrap_or(&reason);
        Self::data(format!("cannot {doing} {}: {reason}", shown(path)))
    }

    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// What can go wrong while writing; a full disk says how to go on.
pub(crate) fn write_error(doing: &str, path: &Path, error: &io::Error) -> Error {
    let said = Error::io(doing, path, error);
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            said.hint("what is complete stays; make room and run the same command again to finish the rest")
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            said.hint("choose a folder that may be written to, with --out")
        }
        _ => said,
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

/// A path as it is printed: bytes that are no UTF-8 as `\xff`, so that two names never look the same.
pub fn shown(path: &Path) -> String {
    let mut text = String::new();
    for chunk in path.as_os_str().as_encoded_bytes().utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            text.push_str("\\x");
            text.extend([byte >> 4, byte & 15].map(|digit| char::from(b"0123456789abcdef"[usize::from(digit)])));
        }
    }
    text
}

/// A word as a shell reads it back.
pub fn quoted(word: &str) -> String {
    let bare = |c: char| c.is_alphanumeric() || "_@%+=:,./-".contains(c);
    if !word.is_empty() && word.chars().all(bare) {
        word.into()
    } else {
        format!("'{}'", word.replace('\'', "'\"'\"'"))
    }
}
