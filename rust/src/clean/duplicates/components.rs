//! Who belongs together: union-find whose roots are the first of their documents.

use super::ALONE;

pub(super) struct Components {
    parents: Vec<u32>,
}

impl Components {
    pub fn new(documents: u32) -> Self {
        Self { parents: (0..documents).collect() }
    }

    pub fn count(&self) -> u32 {
        self.parents.len() as u32
    }

    /// The first document of a document's component.
    #[inline]
    pub fn root(&mut self, mut document: u32) -> u32 {
        while self.parents[document as usize] != document {
            let parent = self.parents[document as usize];
            self.parents[document as usize] = self.parents[parent as usize];
            document = parent;
        }
        document
    }

    pub fn join(&mut self, one: u32, other: u32) {
        let (one, other) = (self.root(one), self.root(other));
        self.parents[one.max(other) as usize] = one.min(other);
    }

    pub fn joined(&mut self, one: u32, other: u32) -> bool {
        self.root(one) == self.root(other)
    }

    /// The first document of each document's component, and `ALONE` for those that have none but themselves.
    pub fn into_clusters(mut self) -> Vec<u32> {
        for document in 0..self.parents.len() as u32 {
            self.parents[document as usize] = self.root(document);
        }
        mark_alone(self.parents)
    }
}

/// First documents of groups, where those that nobody names but themselves become `ALONE`.
pub(super) fn mark_alone(mut firsts: Vec<u32>) -> Vec<u32> {
    let mut has_others = Marks::new(firsts.len() as u32);
    for (document, &first) in (0..).zip(&firsts) {
        if first != document {
            has_others.set(first);
        }
    }
    for (document, first) in (0..).zip(&mut firsts) {
        if *first == document && !has_others.has(document) {
            *first = ALONE;
        }
    }
    firsts
}

/// One bit a document.
pub(super) struct Marks(Vec<u64>);

impl Marks {
    pub fn new(documents: u32) -> Self {
        Self(vec![0; documents.div_ceil(64) as usize])
    }

    #[inline]
    pub fn has(&self, document: u32) -> bool {
        self.0[document as usize / 64] >> (document % 64) & 1 == 1
    }

    pub fn set(&mut self, document: u32) {
        self.0[document as usize / 64] |= 1 << (document % 64);
    }
}
