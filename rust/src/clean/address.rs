//! Addresses of pages that are left out: domains, whole addresses and words, from lists of the caller's own.
//!
//! Decides as datatrove's `URLFilter` does. It ships no list; nor does it hold the list of public suffixes, so that what
//! is registered is told from the shape of a name, and a listed name stands for every name below it.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use aho_corasick::AhoCorasick;

use crate::error::{shown, Error, Result};

/// What is looked for, as lists hold it: one entry a line, `#` before remarks.
#[derive(Debug, Default, Clone)]
pub struct Lists {
    pub domains: HashSet<String>,
    pub urls: HashSet<String>,
    pub words: HashSet<String>,
    pub soft_words: HashSet<String>,
    pub subwords: HashSet<String>,
}

/// The files of a folder of lists, and what marks an entry in a file that holds several kinds.
const FILES: [&str; 5] = ["domains", "urls", "banned_words", "soft_banned_words", "banned_subwords"];
const MARKS: [(&str, &str); 5] = [
    ("domain:", "domains"),
    ("url:", "urls"),
    ("word:", "banned_words"),
    ("soft:", "soft_banned_words"),
    ("subword:", "banned_subwords"),
];

impl Lists {
    /// Adds a file, or a folder that holds some of [`FILES`], with or without `.txt`. A file of any other name holds
    /// domains, addresses (what has a `/`), and what [`MARKS`] says.
    pub fn read(&mut self, path: &Path) -> Result<()> {
        if !path.is_dir() {
            return self.read_file(path);
        }
        let files = FILES.iter().flat_map(|name| [path.join(name), path.join(format!("{name}.txt"))]);
        let files: Vec<_> = files.filter(|file| file.is_file()).collect();
        if files.is_empty() {
            let hint = format!("a folder of lists holds some of {}", FILES.join(", "));
            return Err(Error::data(format!("no list in {}", shown(path))).hint(hint));
        }
        files.iter().try_for_each(|file| self.read_file(file))
    }

    fn read_file(&mut self, path: &Path) -> Result<()> {
        let text = fs::read(path).map_err(|error| Error::io("read", path, &error))?;
        let text = String::from_utf8(text).map_err(|_| Error::data(format!("{} is no text", shown(path))))?;
        let stem = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let kind = FILES.into_iter().find(|name| *name == stem.strip_suffix(".txt").unwrap_or(stem));
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            match kind {
                Some(kind) => self.add(kind, line),
                None => self.add_marked(line),
            }
        }
        Ok(())
    }

    fn add_marked(&mut self, line: &str) {
        let marked = MARKS.iter().find_map(|(mark, kind)| Some((*kind, line.strip_prefix(mark)?.trim())));
        let (kind, entry) = marked.unwrap_or((if line.contains('/') { "urls" } else { "domains" }, line));
        self.add(kind, entry);
    }

    fn add(&mut self, kind: &str, entry: &str) {
        match kind {
            "domains" => self.domains.insert(entry.to_lowercase()),
            "urls" => self.urls.insert(entry.into()),
            "banned_words" => self.words.insert(squeezed(entry)),
            "soft_banned_words" => self.soft_words.insert(squeezed(entry)),
            _ => self.subwords.insert(squeezed(entry)),
        };
    }
}

/// Letters and digits alone, in lower case.
fn squeezed(text: &str) -> String {
    text.bytes().filter(u8::is_ascii_alphanumeric).map(|byte| char::from(byte.to_ascii_lowercase())).collect()
}

/// Says which addresses are left out.
pub struct Filter {
    lists: Lists,
    subwords: Option<AhoCorasick>,
    soft_words: usize,
}

impl Filter {
    /// `soft_words`: so many different soft words are too many.
    pub fn new(mut lists: Lists, soft_words: usize) -> Result<Self> {
        for words in [&mut lists.words, &mut lists.soft_words, &mut lists.subwords] {
            words.remove(""); // an entry of other scripts leaves nothing of itself
        }
        let subwords = (!lists.subwords.is_empty()).then(|| AhoCorasick::new(&lists.subwords)).transpose();
        let subwords =
            subwords.map_err(|error| Error::usage(format!("the words to look for are too many: {error}")))?;
        Ok(Self { lists, subwords, soft_words })
    }

    /// Why a page of this address is left out, by datatrove's name of the reason; None where it stays.
    pub fn refuses(&self, url: &str) -> Option<&'static str> {
        let host = host(url);
        let registered = registered(&host);
        if self.lists.domains.contains(registered) {
            return Some("domain");
        }
        if names(&host).any(|name| self.lists.domains.contains(name)) {
            return Some("subdomain");
        }
        if self.lists.urls.contains(url) {
            return Some("url");
        }
        let words: HashSet<&str> = url.split(|c: char| !c.is_ascii_alphanumeric()).collect();
        if words.iter().any(|word| self.lists.words.contains(*word)) {
            return Some("hard_blacklisted");
        }
        let soft = words.iter().filter(|word| self.lists.soft_words.contains(**word)).count();
        if soft >= self.soft_words {
            return Some("soft_blacklisted");
        }
        self.subwords.as_ref().is_some_and(|words| words.is_match(&squeezed(url))).then_some("blacklisted_subword")
    }
}

/// The name of the machine: what stands between `//`, a user's name and `/`, `?`, `#` or a port.
fn host(url: &str) -> String {
    let start = url.find("//").map_or(0, |slashes| slashes + 2);
    let end = url[start..].find(['/', '?', '#']).map_or(url.len(), |end| start + end);
    let place = url[start..end].rsplit('@').next().unwrap_or_default();
    let name = place.split(':').next().unwrap_or_default();
    name.trim_end_matches('.').to_lowercase()
}

/// The name and each that it lies below.
fn names(host: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(host), |name| name.split_once('.').map(|(_, rest)| rest))
        .filter(|name| name.contains('.'))
}

/// What somebody has registered: two labels, or three below the likes of `co.uk`.
fn registered(host: &str) -> &str {
    const SECOND: [&str; 12] = ["co", "com", "net", "org", "ac", "gov", "edu", "ne", "or", "go", "gob", "nom"];
    let labels: Vec<&str> = host.rsplitn(4, '.').collect();
    let count = match labels[..] {
        [top, second, _, ..] if top.len() == 2 && SECOND.contains(&second) => 3,
        _ => 2,
    };
    let dots = host.rmatch_indices('.').nth(count - 1);
    dots.map_or(host, |(dot, _)| &host[dot + 1..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter() -> Filter {
        let mut lists = Lists::default();
        let lines = ["bad.com", "sub.fine.co.uk", "http://a.b/page", "word:casino", "soft:x", "soft:y", "subword:evil"];
        for line in lines {
            lists.add_marked(line);
        }
        Filter::new(lists, 2).unwrap()
    }

    #[test]
    fn each_list_has_its_reason() {
        let filter = filter();
        for (url, reason) in [
            ("http://bad.com/x", Some("domain")),
            ("https://user:word@www.BAD.com:80?q", Some("domain")),
            ("bad.com", Some("domain")),
            ("http://notbad.com", None),
            ("http://deep.sub.fine.co.uk/", Some("subdomain")),
            ("http://fine.co.uk", None),
            ("http://a.b/page", Some("url")),
            ("http://a.b/page2", None),
            ("http://a.b/casino-royal", Some("hard_blacklisted")),
            ("http://a.b/casinos", None),
            ("http://a.b/x/y", Some("soft_blacklisted")),
            ("http://a.b/x/x", None),
            ("http://a.b/d-e.v/il", Some("blacklisted_subword")),
            ("", None),
            ("é://é@é:é/é", None),
        ] {
            assert_eq!(filter.refuses(url), reason, "{url}");
        }
    }

    #[test]
    fn a_folder_is_read_by_the_names_of_its_files() {
        let folder = std::env::temp_dir().join(format!("pylm-lists-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let mut lists = Lists::default();
        assert!(lists.read(&folder).unwrap_err().message.starts_with("no list in"));
        fs::write(folder.join("domains"), "# remark\nBad.com\n\n").unwrap();
        fs::write(folder.join("banned_words.txt"), "Ca-sino\n").unwrap();
        lists.read(&folder).unwrap();
        assert_eq!((lists.domains.len(), lists.words.contains("casino")), (1, true));
        fs::remove_dir_all(&folder).unwrap();
    }
}
