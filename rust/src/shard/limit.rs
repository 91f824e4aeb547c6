//! `10000docs`, `1GB`, `100Mtok`: where to stop.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The first documents that together reach this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Limit {
    Documents(u64),
    Bytes(u64),
    Tokens(u64),
}

impl Limit {
    pub fn parse(text: &str) -> Result<Self> {
        let wrong =
            || Error::usage(format!("a limit is not {text:?}")).hint("write e.g. 10000docs, 1GB, 500MiB or 100Mtok");
        let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.' && c != '_').ok_or_else(wrong)?;
        let unit = text[digits..].trim_start();
        let (prefix, of): (&str, fn(u64) -> Self) = if let Some(prefix) = strip(unit, &["documents", "docs", "doc"]) {
            (prefix, Self::Documents)
        } else if let Some(prefix) = strip(unit, &["tokens", "token", "toks", "tok"]) {
            (prefix, Self::Tokens)
        } else if let Some(prefix) = strip(unit, &["bytes", "byte", "b"]) {
            (prefix, Self::Bytes)
        } else {
            return Err(wrong());
        };
        let count = parse_count(&format!("{}{prefix}", &text[..digits])).map_err(|_| wrong())?;
        if count == 0 {
            return Err(Error::usage("a limit of nothing leaves nothing").hint("leave --limit out to take everything"));
        }
        Ok(of(count))
    }

    /// Whether these totals reach it.
    pub fn reached(self, documents: u64, bytes: u64, tokens: u64) -> bool {
        match self {
            Self::Documents(limit) => documents >= limit,
            Self::Bytes(limit) => bytes >= limit,
            Self::Tokens(limit) => tokens >= limit,
        }
    }
}

fn strip<'a>(unit: &'a str, names: &[&str]) -> Option<&'a str> {
    names.iter().find_map(|name| {
        let start = unit.len().checked_sub(name.len())?;
        (unit.is_char_boundary(start) && unit[start..].eq_ignore_ascii_case(name)).then(|| &unit[..start])
    })
}

/// `100M`, `1.5G`, `64Ki`, `20000`: a whole number with an optional prefix.
pub fn parse_count(text: &str) -> Result<u64> {
    let wrong = || Error::usage(format!("a number is not {text:?}")).hint("write e.g. 20000, 100M, 1.5G or 64Ki");
    let text = text.trim().replace('_', "");
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let factor: f64 = match text[split..].to_ascii_lowercase().as_str() {
        "" => 1.0,
        "k" => 1e3,
        "m" => 1e6,
        "g" => 1e9,
        "t" => 1e12,
        "ki" => 1024.0,
        "mi" => 1024.0 * 1024.0,
        "gi" => 1024.0 * 1024.0 * 1024.0,
        "ti" => 1024.0 * 1024.0 * 1024.0 * 1024.0,
        _ => return Err(wrong()),
    };
    // as a float it would lose its last digits
    if split == text.len() && !text.contains('.') {
        return text.parse().map_err(|_| wrong());
    }
    let value = text[..split].parse::<f64>().map_err(|_| wrong())? * factor;
    if !value.is_finite() || value > 1e18 {
        return Err(wrong());
    }
    Ok(value.round() as u64)
}
