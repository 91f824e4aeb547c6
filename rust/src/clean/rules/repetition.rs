//! Gopher's repetition: lines and paragraphs that come again, the commonest 2- to 4-gram, and 5- to 10-grams that come
//! again.
//!
//! Equal words have one number, so two, three and four of them are compared as numbers. And only what can come twice is
//! looked at closely. An n-gram of words comes twice only where both (n-1)-grams in it do. For the longer ones, whose
//! words are joined without a space and so may be cut differently, that does not hold; but equal ones of sixteen bytes
//! or more begin with the same sixteen bytes, so counters of those say which can: an eighth of the places of prose.

use super::counted::Words;
use super::hash;
use super::keys::place;
use super::lines::{split_at_newlines, Repeats};
use super::table::Table;
use super::twice::Twice;
use super::Measures;
use crate::clean::words::class::Classes;

const TOP: [usize; 3] = [2, 3, 4];
const DUPLICATED: std::ops::RangeInclusive<usize> = 5..=10;

/// What lies at a place comes at no other.
const ONCE: u32 = u32::MAX;

/// Takes the measures of lines and paragraphs.
pub fn lines(text: &str, characters: usize, repeats: &mut Repeats, out: &mut Measures) {
    out.set(place("repetition.characters"), characters as f64);
    if text.is_empty() {
        return;
    }
    let stripped = Classes::get().strip(text);
    let paragraphs = repeats.count(text, split_at_newlines(stripped, 2));
    out.set(place("repetition.dup_para_frac"), paragraphs.elements as f64 / paragraphs.all as f64);
    out.set(place("repetition.dup_para_char_frac"), paragraphs.characters as f64 / characters as f64);
    let lines = repeats.count(text, split_at_newlines(text, 1));
    out.set(place("repetition.dup_line_frac"), lines.elements as f64 / lines.all as f64);
    out.set(place("repetition.dup_line_char_frac"), lines.characters as f64 / characters as f64);
}

/// Tables and lists, kept between texts.
#[derive(Default)]
pub struct Grams {
    table: Table,
    twice: Twice,
    slots: Vec<u32>,
    /// The number of each n-gram: where it came first, ONCE where it comes at no other place.
    grams: Vec<u32>,
    /// Numbers of one word fewer.
    shorter: Vec<u32>,
    /// How often an n-gram came, at its first place.
    counts: Vec<u32>,
    /// How many of the bytes that begin here may come twice: 0, 16 or 32.
    again: Vec<u8>,
    places: Vec<u32>,
    chosen: Vec<u32>,
}

impl Grams {
    /// Takes the measures of n-grams; `numbers` are those of the words, `characters` is the length of the text.
    pub fn measure(&mut self, words: &Words, numbers: &[u32], characters: usize, out: &mut Measures) {
        if characters == 0 {
            return;
        }
        for (order, several) in TOP.into_iter().enumerate().take_while(|(_, several)| *several <= words.count()) {
            let (first, times) = if several == 2 { self.pairs(numbers) } else { self.longer(numbers, several) };
            let length = words.characters(first, several) + several - 1;
            out.set(place("repetition.top_2_gram") + order, (length * times) as f64 / characters as f64);
        }
        self.list(words);
        for (order, several) in DUPLICATED.enumerate() {
            let repeated = self.repeated(words, several);
            out.set(place("repetition.dup_5_gram") + order, repeated as f64 / characters as f64);
        }
    }

    /// The first place of the commonest pair, and how often it comes. Of several, the one that comes first.
    fn pairs(&mut self, numbers: &[u32]) -> (usize, usize) {
        self.twice.reset(numbers.len());
        self.slots.clear();
        let twice = &mut self.twice;
        self.slots.extend(numbers.windows(2).map(|pair| twice.add(hash::pair(pair[0], pair[1]))));
        choose(&mut self.places, 0..self.slots.len() as u32, |place| self.twice.again(self.slots[place as usize]));
        self.count(numbers.len(), |_, place| (numbers[place], numbers[place + 1]))
    }

    /// The same for `several` words, among those places where one word fewer comes twice and the next one does too.
    fn longer(&mut self, numbers: &[u32], several: usize) -> (usize, usize) {
        std::mem::swap(&mut self.grams, &mut self.shorter);
        let shorter = &self.shorter;
        choose(&mut self.places, 0..(numbers.len() - several + 1) as u32, |place| {
            shorter[place as usize] != ONCE && shorter[place as usize + 1] != ONCE
        });
        self.count(numbers.len(), |shorter, place| (shorter[place], numbers[place + several - 1]))
    }

    /// Counts what is equal by its key among the places, and notes where each came first.
    #[inline(always)]
    fn count(&mut self, all: usize, key: impl Fn(&[u32], usize) -> (u32, u32)) -> (usize, usize) {
        self.counts.resize(all.max(self.counts.len()), 0);
        self.grams.clear();
        self.grams.resize(all, ONCE);
        self.table.reset(self.places.len(), all);
        let mut best = (0, 1);
        for number in &self.places {
            let place = *number as usize;
            let this = key(&self.shorter, place);
            let equal = |other: u32| key(&self.shorter, other as usize) == this;
            let Some(found) = self.table.first(hash::pair(this.0, this.1), *number, equal) else {
                self.counts[place] = 1;
                continue;
            };
            let first = found as usize;
            self.counts[first] += 1;
            self.grams[first] = found;
            self.grams[place] = found;
            let times = self.counts[first] as usize;
            if times > best.1 || times == best.1 && first < best.0 {
                best = (first, times);
            }
        }
        best
    }

    /// Lists the places where a longer n-gram can begin that comes twice.
    fn list(&mut self, words: &Words) {
        let count = words.count();
        self.places.clear();
        self.again.clear();
        self.again.resize(count, 0);
        self.mark(words, 0..count as u32, 16);
        let end = words.length(0, count);
        let again = &self.again;
        choose(&mut self.chosen, 0..count as u32, |place| {
            again[place as usize] > 0 && words.length(0, place as usize) + 32 <= end
        });
        let chosen = std::mem::take(&mut self.chosen);
        self.mark(words, chosen.iter().copied(), 32);
        self.chosen = chosen;
        let fewest = *DUPLICATED.start();
        if count >= fewest {
            let again = &self.again;
            choose(&mut self.places, 0..(count - fewest + 1) as u32, |place| {
                again[place as usize] > 0 || words.length(place as usize, fewest) < 16
            });
        }
    }

    /// Notes at which of these places the next bytes, 16 or 32, may come twice.
    #[inline(always)]
    fn mark(&mut self, words: &Words, places: impl ExactSizeIterator<Item = u32> + Clone, bytes: u8) {
        self.twice.reset(places.len());
        self.slots.clear();
        let twice = &mut self.twice;
        self.slots.extend(places.clone().map(|place| {
            let first = hash::short(words.sixteen(place as usize, 0), 0);
            twice.add(if bytes == 16 { first } else { hash::short(words.sixteen(place as usize, 16), first) })
        }));
        for (place, slot) in places.zip(&self.slots) {
            let again = &mut self.again[place as usize];
            *again = if self.twice.again(*slot) { bytes } else { *again };
        }
    }

    /// How many characters belong to n-grams that came before; after one that did, the next begins behind it.
    fn repeated(&mut self, words: &Words, several: usize) -> usize {
        let end = (words.count() + 1).saturating_sub(several) as u32;
        let inside = self.places.partition_point(|place| *place < end);
        let again = &self.again;
        choose(&mut self.chosen, self.places[..inside].iter().copied(), |place| {
            let length = words.length(place as usize, several);
            // What comes twice begins with so many bytes that do.
            length < 16 || usize::from(again[place as usize]) >= (length & !15).min(32)
        });
        self.table.reset(self.chosen.len(), words.count());
        let (mut characters, mut next) = (0, 0);
        for place in &self.chosen {
            let number = *place as usize;
            if number < next {
                continue;
            }
            let length = words.length(number, several);
            let (first, last) = ends(words, number, length);
            let equal = |other: u32| {
                let other = other as usize;
                words.length(other, several) == length
                    && ends(words, other, length) == (first, last)
                    && (length <= 32 || words.joined(other, several) == words.joined(number, several))
            };
            let mut hash = hash::short(last, hash::short(first, length as u64));
            if length > 32 {
                hash = hash::short(words.sixteen(number, 16), hash);
            }
            if self.table.first(hash, *place, equal).is_some() {
                characters += words.characters(number, several);
                next = number + several;
            }
        }
        characters
    }
}

/// The first and the last sixteen of `length` bytes, or all of them twice.
#[inline(always)]
fn ends(words: &Words, number: usize, length: usize) -> (u128, u128) {
    let first = hash::cut(words.sixteen(number, 0), length);
    let last = hash::cut(words.sixteen(number, length.saturating_sub(16)), length);
    (first, last)
}

/// Lists those of the places that are wanted, without a branch for each.
#[inline(always)]
fn choose(out: &mut Vec<u32>, places: impl ExactSizeIterator<Item = u32>, wanted: impl Fn(u32) -> bool) {
    out.resize(places.len().max(out.len()), 0);
    let mut count = 0;
    for place in places {
        out[count] = place;
        count += usize::from(wanted(place));
    }
    out.truncate(count);
}
