//! One document's record.

/// Bytes of a record before its measures.
const HEADER: usize = 64;
/// A flag of a document of which nothing is left.
pub const EMPTY: u32 = 1;
/// What stands for a test item that is none.
const NOT_COUNTED: u32 = u32::MAX;

/// What was found of a document. Numbers are little-endian in its record, in this order.
#[derive(Debug, Clone, PartialEq)]
pub struct Tag {
    /// Bytes of its text, as it is written.
    pub bytes: u64,
    /// Bytes of its text as it was read.
    pub before: u64,
    /// Bytes of its other fields, as JSON.
    pub fields: u32,
    /// Which of the files it is of.
    pub source: u32,
    /// Which of that file's documents it is, from 0.
    pub number: u64,
    /// What it is worth among its duplicates; NaN where nothing says.
    pub value: f64,
    /// Such as `eng_Latn`.
    pub language: [u8; 8],
    /// How sure that is.
    pub score: f32,
    /// What of its address is not wanted, from 1; 0 where nothing is.
    pub address: u16,
    /// The task that it holds an item of, from 1; 0 where it holds none.
    pub task: u16,
    /// That item.
    pub item: u32,
    /// See [`EMPTY`].
    pub flags: u32,
    /// What the rules measured, and the probabilities of the classifiers.
    pub measures: Vec<f64>,
}

impl Default for Tag {
    fn default() -> Self {
        Self {
            bytes: 0,
            before: 0,
            fields: 0,
            source: 0,
            number: 0,
            value: f64::NAN,
            language: *b"und_Zzzz",
            score: 0.0,
            address: 0,
            task: 0,
            item: NOT_COUNTED,
            flags: 0,
            measures: Vec::new(),
        }
    }
}

impl Tag {
    /// Bytes of a record with so many measures.
    pub fn size(measures: usize) -> usize {
        HEADER + 8 * measures
    }

    pub fn language(&self) -> &str {
        std::str::from_utf8(&self.language).unwrap_or("und_Zzzz")
    }

    pub fn put(&self, to: &mut Vec<u8>) {
        for number in [self.bytes, self.before] {
            to.extend_from_slice(&number.to_le_bytes());
        }
        to.extend_from_slice(&self.fields.to_le_bytes());
        to.extend_from_slice(&self.source.to_le_bytes());
        to.extend_from_slice(&self.number.to_le_bytes());
        to.extend_from_slice(&self.value.to_le_bytes());
        to.extend_from_slice(&self.language);
        to.extend_from_slice(&self.score.to_le_bytes());
        to.extend_from_slice(&self.address.to_le_bytes());
        to.extend_from_slice(&self.task.to_le_bytes());
        to.extend_from_slice(&self.item.to_le_bytes());
        to.extend_from_slice(&self.flags.to_le_bytes());
        for measure in &self.measures {
            to.extend_from_slice(&measure.to_le_bytes());
        }
    }

    /// Becomes what a record of [`Tag::size`] bytes says.
    pub fn take(&mut self, record: &[u8]) {
        let long = |at: usize| u64::from_le_bytes(bytes(record, at));
        let word = |at: usize| u32::from_le_bytes(bytes(record, at));
        let half = |at: usize| u16::from_le_bytes(bytes(record, at));
        (self.bytes, self.before, self.fields, self.source) = (long(0), long(8), word(16), word(20));
        (self.number, self.value) = (long(24), f64::from_bits(long(32)));
        (self.language, self.score) = (bytes(record, 40), f32::from_bits(word(48)));
        (self.address, self.task, self.item, self.flags) = (half(52), half(54), word(56), word(60));
        self.measures.clear();
        self.measures.extend(record[HEADER..].as_chunks::<8>().0.iter().map(|bytes| f64::from_le_bytes(*bytes)));
    }
}

fn bytes<const N: usize>(record: &[u8], at: usize) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.copy_from_slice(&record[at..at + N]);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_says_what_the_tag_said() {
        let tag = Tag {
            bytes: 1 << 40,
            before: 7,
            fields: 8,
            source: 9,
            number: 1 << 50,
            value: -0.5,
            language: *b"jpn_Jpan",
            score: 0.25,
            address: 3,
            task: 4,
            item: 5,
            flags: EMPTY,
            measures: vec![1.0, f64::INFINITY, 0.1],
        };
        let mut record = Vec::new();
        tag.put(&mut record);
        assert_eq!(record.len(), Tag::size(3));
        let mut read = Tag::default();
        read.take(&record);
        assert_eq!(read, tag);
    }
}
