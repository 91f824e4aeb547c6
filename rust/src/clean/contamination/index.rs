//! The grams of test items, and the look-up of every gram of a text.

use std::collections::HashMap;

use super::fold::{simplified, words};
use super::window::Window;
use super::Grams;
use crate::error::{Error, Result};

/// A question and its answer. Several with one task and one id, each with another answer, are one item.
#[derive(Debug, Clone, Default)]
pub struct Item {
    pub task: String,
    pub id: String,
    pub query: String,
    pub answer: String,
}

/// A task, and how much of it can be found at all: an item of fewer words than a gram has cannot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Task {
    pub name: String,
    pub items: u32,
    pub items_with_a_gram: u32,
}

/// What of a test stands in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hit {
    /// The number of the item in [`Index::item`].
    pub item: u32,
    /// The words that were found, as they are compared.
    pub gram: String,
}

/// What a thread keeps between texts.
pub struct Scratch {
    window: Window,
    gram: String,
    /// The numbers of all items that were found in the last text, each once.
    pub items: Vec<u32>,
}

struct Gram {
    hash: u64,
    item: u32,
    /// Where its words stand in the index's text.
    start: u32,
    length: u32,
}

/// The grams by their hash. A text asks the bits first, of which one in sixteen is set: they lie in the cache.
pub struct Index {
    n: usize,
    tasks: Vec<Task>,
    items: Vec<(u32, String)>,
    text: String,
    grams: Vec<Gram>,
    /// Where the grams begin whose hash has these high bits.
    firsts: Vec<u32>,
    bits: Vec<u64>,
}

/// The numbers of tasks by name, and of items by task and id.
#[derive(Default)]
struct Numbers {
    of_tasks: HashMap<String, u32>,
    of_items: HashMap<(u32, String), u32>,
}

impl Index {
    pub fn new(n: usize, grams: Grams, items: impl IntoIterator<Item = Item>) -> Result<Self> {
        if !(2..=64).contains(&n) {
            return Err(Error::usage(format!("n-grams of {n} words cannot be compared")).hint("8, 12 and 13 are usual"));
        }
        let mut index = Self {
            n,
            tasks: Vec::new(),
            items: Vec::new(),
            text: String::new(),
            grams: Vec::new(),
            firsts: Vec::new(),
            bits: Vec::new(),
        };
        let (mut numbers, mut window) = (Numbers::default(), Window::new(n));
        for item in items {
            let number = index.number(&item, &mut numbers);
            index.add(number, &item, grams, &mut window)?;
        }
        // a document's record has two bytes for the task, of which one number says that there is none
        if index.tasks.len() > usize::from(u16::MAX) {
            return Err(Error::usage(format!("{} tests cannot be looked for at once", index.tasks.len()))
                .hint(format!("name {} or fewer", u16::MAX)));
        }
        index.finish();
        Ok(index)
    }

    /// The item's number: that of its task and id where they were seen before.
    fn number(&mut self, item: &Item, numbers: &mut Numbers) -> u32 {
        let task = *numbers.of_tasks.entry(item.task.clone()).or_insert_with(|| {
            self.tasks.push(Task { name: item.task.clone(), ..Task::default() });
            self.tasks.len() as u32 - 1
        });
        *numbers.of_items.entry((task, item.id.clone())).or_insert_with(|| {
            self.tasks[task as usize].items += 1;
            self.items.push((task, item.id.clone()));
            self.items.len() as u32 - 1
        })
    }

    fn add(&mut self, number: u32, item: &Item, grams: Grams, window: &mut Window) -> Result<()> {
        let mut whole = String::new();
        simplified(&item.query, &mut whole);
        let answer = if grams == Grams::Answer { whole.len() } else { 0 };
        simplified(&item.answer, &mut whole);
        let base = self.text.len();
        if base + whole.len() > u32::MAX as usize {
            return Err(Error::usage("more than 4 GB of test items cannot be looked for at once"));
        }
        window.clear();
        words(&whole, |word| {
            if let Some(hash) = window.push(word) {
                let span = window.span();
                if span.end > answer {
                    let (start, length) = ((base + span.start) as u32, span.len() as u32);
                    self.grams.push(Gram { hash, item: number, start, length });
                }
            }
        });
        self.text.push_str(&whole);
        Ok(())
    }

    fn finish(&mut self) {
        self.grams.sort_by_key(|gram| (gram.hash, gram.item, gram.start));
        self.grams.dedup_by_key(|gram| (gram.hash, gram.item, gram.length));
        let mut has_a_gram = vec![false; self.items.len()];
        self.grams.iter().for_each(|gram| has_a_gram[gram.item as usize] = true);
        for ((task, _), has) in self.items.iter().zip(has_a_gram) {
            self.tasks[*task as usize].items_with_a_gram += u32::from(has);
        }
        let buckets = self.grams.len().next_power_of_two().max(2);
        let mut firsts = vec![0; buckets + 1];
        self.bits = vec![0; buckets * 16 / 64 + 1];
        self.grams.iter().for_each(|gram| firsts[bucket(gram.hash, buckets) + 1] += 1);
        (0..buckets).for_each(|at| firsts[at + 1] += firsts[at]);
        self.firsts = firsts;
        for hash in self.grams.iter().map(|gram| gram.hash) {
            let bit = bit(hash, buckets);
            self.bits[bit / 64] |= 1 << (bit % 64);
        }
    }

    pub fn tasks(&self) -> &[Task] {
        &self.tasks
    }

    /// The number of an item's task, and its id.
    pub fn item(&self, number: u32) -> (u32, &str) {
        let (task, id) = &self.items[number as usize];
        (*task, id)
    }

    pub fn scratch(&self) -> Scratch {
        Scratch { window: Window::new(self.n), gram: String::new(), items: Vec::new() }
    }

    /// The first test item that stands in a text; `scratch.items` then holds all of them.
    pub fn check(&self, text: &str, scratch: &mut Scratch) -> Option<Hit> {
        let Scratch { window, gram, items } = scratch;
        let buckets = self.firsts.len() - 1;
        let mut hit = None;
        items.clear();
        window.clear();
        words(text, |word| {
            let Some(hash) = window.push(word) else { return };
            let bit = bit(hash, buckets);
            if self.bits[bit / 64] & (1 << (bit % 64)) == 0 {
                return;
            }
            let bucket = bucket(hash, buckets);
            let near = &self.grams[self.firsts[bucket] as usize..self.firsts[bucket + 1] as usize];
            for known in near.iter().filter(|known| known.hash == hash) {
                gram.clear();
                simplified(&text[window.span()], gram);
                if gram.as_str() == &self.text[known.start as usize..][..known.length as usize] {
                    items.push(known.item);
                    hit.get_or_insert_with(|| Hit { item: known.item, gram: gram.clone() });
                }
            }
        });
        items.sort_unstable();
        items.dedup();
        hit
    }
}

/// The high bits of a hash choose the bucket.
fn bucket(hash: u64, buckets: usize) -> usize {
    (hash >> (64 - buckets.trailing_zeros())) as usize
}

/// Its low ones the bit, of sixteen for each bucket.
fn bit(hash: u64, buckets: usize) -> usize {
    hash as usize & (buckets * 16 - 1)
}
