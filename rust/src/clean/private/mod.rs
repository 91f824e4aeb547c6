//! Addresses of people and machines, masked or tagged.
//!
//! What is found is what datatrove's `PIIFormatter` finds: its two expressions, here as scanners that look around each
//! `@` and each dot between digits. Its placeholders too, but chosen by what they replace instead of by turn: the
//! same address becomes the same placeholder everywhere, whatever the order in which documents are read.

mod ipv4;
mod mail;
pub(crate) mod word;

use std::ops::Range;

use xxhash_rust::xxh3::xxh3_64;

pub const MAILS: [&str; 2] = ["email@example.com", "firstname.lastname@example.org"];
/// Addresses that answered nobody when datatrove drew them.
pub const IPV4S: [&str; 6] =
    ["22.214.171.124", "126.96.36.199", "188.8.131.52", "184.108.40.206", "220.127.116.11", "18.104.22.168"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Mail,
    Ipv4,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Mail => "mail",
            Self::Ipv4 => "ip",
        }
    }

    fn placeholders(self) -> &'static [&'static str] {
        match self {
            Self::Mail => &MAILS,
            Self::Ipv4 => &IPV4S,
        }
    }

    /// What stands in the place of an address: always the same for the same one.
    pub fn placeholder(self, address: &str) -> &'static str {
        let all = self.placeholders();
        all[(xxh3_64(address.as_bytes()) % all.len() as u64) as usize]
    }
}

/// An address and where it stands, in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    pub span: Range<usize>,
    pub kind: Kind,
}

/// How many addresses were found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub mail: u64,
    pub ip: u64,
}

impl Counts {
    pub fn of(found: &[Address]) -> Self {
        let mail = found.iter().filter(|address| address.kind == Kind::Mail).count() as u64;
        Self { mail, ip: found.len() as u64 - mail }
    }
}

/// Every mail address and every public IPv4 address of a text, in order. Placeholders are none: a text that was masked
/// stays as it is when it is masked again.
pub fn find(text: &str, found: &mut Vec<Address>) {
    found.clear();
    let mut start = 0;
    mail::each(text, |span| {
        ipv4::each(text, start..span.start, |span| add(text, span, Kind::Ipv4, found));
        start = span.end;
        add(text, span, Kind::Mail, found);
    });
    ipv4::each(text, start..text.len(), |span| add(text, span, Kind::Ipv4, found));
}

fn add(text: &str, span: Range<usize>, kind: Kind, found: &mut Vec<Address>) {
    if !kind.placeholders().contains(&&text[span.clone()]) {
        found.push(Address { span, kind });
    }
}

/// The text with a placeholder for each address that [`find`] found.
pub fn mask(text: &str, found: &[Address], out: &mut String) {
    out.clear();
    let mut start = 0;
    for Address { span, kind } in found {
        out.push_str(&text[start..span.start]);
        out.push_str(kind.placeholder(&text[span.clone()]));
        start = span.end;
    }
    out.push_str(&text[start..]);
}

/// Where they stand in code points, as programs outside count.
pub fn in_code_points(text: &str, found: &[Address]) -> Vec<(u64, u64, Kind)> {
    let (mut at, mut points) = (0, 0);
    let mut point_of = |byte: usize| {
        points += text[at..byte].chars().count() as u64;
        at = byte;
        points
    };
    found.iter().map(|Address { span, kind }| (point_of(span.start), point_of(span.end), *kind)).collect()
}

#[cfg(test)]
mod tests;
