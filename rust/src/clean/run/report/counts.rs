//! Documents and bytes, of all, of sources, of languages, and of reasons.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::clean::record::Tag;
use crate::clean::run::judge::{Number, STAYS};

/// Documents, and bytes of their text as it was read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Count {
    pub documents: u64,
    pub bytes: u64,
}

impl Count {
    pub fn add(&mut self, other: Self) {
        self.documents += other.documents;
        self.bytes += other.bytes;
    }

    pub fn less(self, other: Self) -> Self {
        Self { documents: self.documents - other.documents, bytes: self.bytes - other.bytes }
    }
}

/// Of one source or language.
pub struct Of {
    pub all: Count,
    pub kept: Count,
    /// Documents by the number of their reason.
    pub reasons: Vec<u64>,
}

pub struct Counts {
    reasons: usize,
    pub all: Count,
    pub kept: Count,
    pub of_reason: Vec<Count>,
    pub sources: BTreeMap<u32, Of>,
    pub languages: BTreeMap<[u8; 8], Of>,
    /// Documents that hold an item of a test, by its number from 1.
    pub tasks: BTreeMap<u16, u64>,
}

impl Counts {
    pub fn new(reasons: usize) -> Self {
        Self {
            reasons,
            all: Count::default(),
            kept: Count::default(),
            of_reason: vec![Count::default(); reasons],
            sources: BTreeMap::new(),
            languages: BTreeMap::new(),
            tasks: BTreeMap::new(),
        }
    }

    pub fn add(&mut self, tag: &Tag, verdict: Number) {
        let one = Count { documents: 1, bytes: tag.before };
        self.all.add(one);
        if verdict == STAYS {
            self.kept.add(one);
        } else {
            self.of_reason[verdict as usize].add(one);
        }
        if tag.task > 0 {
            *self.tasks.entry(tag.task).or_default() += 1;
        }
        let none = || Of { all: Count::default(), kept: Count::default(), reasons: vec![0; self.reasons] };
        let both = [
            self.sources.entry(tag.source).or_insert_with(none),
            self.languages.entry(tag.language).or_insert_with(none),
        ];
        for of in both {
            of.all.add(one);
            if verdict == STAYS {
                of.kept.add(one);
            } else {
                of.reasons[verdict as usize] += 1;
            }
        }
    }
}
