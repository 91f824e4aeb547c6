//! Gopher's repetition: lines and paragraphs that come again, the commonest 2- to 4-gram, and 5- to 10-grams that come
//! again.
//!
//! Only what can come twice is looked at closely. An n-gram of words comes twice only where both (n-1)-grams in it do,
//! so after all pairs few 3- and 4-grams are left. For the longer ones, whose words are joined without a space and
//! so may be cut differently, that does not hold; but equal ones of sixteen bytes or more begin with the same
//! sixteen bytes, so one table over all places says which can. Shorter ones are always looked at.

use xxhash_rust::xxh3::xxh3_64;

use super::counted::Words;
use super::keys::place;
use super::lines::{split_at_newlines, Repeats};
use super::table::Table;
use super::Measures;
use crate::clean::words::class::Classes;

const TOP: [usize; 3] = [2, 3, 4];
const DUPLICATED: std::ops::RangeInclusive<usize> = 5..=10;

/// Tables and lists, kept between texts.
#[derive(Default)]
pub struct Grams {
    table: Table,
    starts: Table,
    /// How often the n-gram that begins here came, at its first place.
    counts: Vec<u32>,
    /// Whether the n-gram that begins here came twice.
    twice: Vec<bool>,
    /// Whether sixteen bytes that begin here came twice.
    starts_twice: Vec<bool>,
    places: Vec<u32>,
}

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

impl Grams {
    /// Takes the measures of n-grams; `characters` is the length of the text.
    pub fn measure(&mut self, words: &Words, characters: usize, out: &mut Measures) {
        if characters == 0 {
            return;
        }
        let count = words.count();
        self.look(words);
        for (order, several) in TOP.into_iter().enumerate() {
            if count < several {
                break;
            }
            let (first, times) = if several == 2 { self.pairs(words) } else { self.longer(words, several) };
            let length = words.characters(first, several) + several - 1;
            out.set(place("repetition.top_2_gram") + order, (length * times) as f64 / characters as f64);
        }
        self.list(words);
        for (order, several) in DUPLICATED.enumerate() {
            let repeated = self.repeated(words, several);
            out.set(place("repetition.dup_5_gram") + order, repeated as f64 / characters as f64);
        }
    }

    /// Notes which sixteen bytes come twice.
    fn look(&mut self, words: &Words) {
        let count = words.count();
        self.starts_twice.clear();
        self.starts_twice.resize(count, false);
        self.starts.reset(count);
        for number in 0..count {
            let (low, high) = words.sixteen(number);
            let hash = mixed(low ^ high.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29));
            // Taken for equal where 32 bits of the hash are: then some are looked at closely for nothing.
            if let Some(first) = self.starts.first(hash, number as u32, |_| true) {
                self.starts_twice[number] = true;
                self.starts_twice[first as usize] = true;
            }
        }
    }

    /// The first place of the commonest pair, and how often it comes. Of several, the one that comes first.
    fn pairs(&mut self, words: &Words) -> (usize, usize) {
        let places = words.count() - 1;
        self.begin(words.count(), places);
        let mut best = (0, 1);
        let mut left = word_hash(words, 0);
        for number in 0..places {
            let right = word_hash(words, number + 1);
            let hash = mixed(left.rotate_left(25) ^ right);
            left = right;
            self.add(words, 2, hash, number, &mut best);
        }
        best
    }

    /// The same for `several` words, among those places where one word fewer comes twice and the next one does too.
    fn longer(&mut self, words: &Words, several: usize) -> (usize, usize) {
        self.places.clear();
        let last = words.count() - several;
        let (here, next) = (&self.twice[..=last], &self.twice[1..last + 2]);
        self.places
            .extend((0u32..).zip(here.iter().zip(next)).filter(|(_, both)| *both.0 && *both.1).map(|(at, _)| at));
        let places = std::mem::take(&mut self.places);
        self.begin(words.count(), places.len());
        let mut best = (0, 1);
        for number in places.iter().map(|place| *place as usize) {
            let lengths = (1..several).fold(0, |mix, inner| mix << 8 ^ words.length(number, inner) as u64);
            let hash = mixed(xxh3_64(words.joined(number, several)) ^ lengths);
            self.add(words, several, hash, number, &mut best);
        }
        self.places = places;
        best
    }

    fn begin(&mut self, count: usize, places: usize) {
        self.twice.clear();
        self.twice.resize(count, false);
        self.counts.resize(count.max(self.counts.len()), 0);
        self.table.reset(places);
    }

    #[inline(always)]
    fn add(&mut self, words: &Words, several: usize, hash: u64, number: usize, best: &mut (usize, usize)) {
        let equal = |other: u32| words.same(other as usize, number, several);
        let Some(first) = self.table.first(hash, number as u32, equal) else {
            self.counts[number] = 1;
            return;
        };
        let first = first as usize;
        self.counts[first] += 1;
        self.twice[first] = true;
        self.twice[number] = true;
        let times = self.counts[first] as usize;
        if times > best.1 || times == best.1 && first < best.0 {
            *best = (first, times);
        }
    }

    /// Lists the places where an n-gram can begin that comes twice.
    fn list(&mut self, words: &Words) {
        self.places.clear();
        let fewest = *DUPLICATED.start();
        let Some(last) = words.count().checked_sub(fewest) else { return };
        let may = |place: &u32| {
            let place = *place as usize;
            self.starts_twice[place] || words.length(place, fewest) < 16
        };
        self.places.extend((0..=last as u32).filter(may));
    }

    /// How many characters belong to n-grams that came before; after one that did, the next begins behind it.
    fn repeated(&mut self, words: &Words, several: usize) -> usize {
        self.table.reset(self.places.len());
        let (mut characters, mut next) = (0, 0);
        for number in self.places.iter().map(|place| *place as usize) {
            if number < next {
                continue;
            }
            if number + several > words.count() {
                break;
            }
            let gram = words.joined(number, several);
            if gram.len() >= 16 && !self.starts_twice[number] {
                continue;
            }
            let equal = |other: u32| words.joined(other as usize, several) == gram;
            if self.table.first(xxh3_64(gram), number as u32, equal).is_some() {
                characters += words.characters(number, several);
                next = number + several;
            }
        }
        characters
    }
}

/// Of one word: equal words have equal hashes, and few others do.
#[inline(always)]
pub fn word_hash(words: &Words, number: usize) -> u64 {
    let length = words.length(number, 1);
    if length > 16 {
        return xxh3_64(words.joined(number, 1));
    }
    let (low, high) = words.sixteen(number);
    short_hash(low, high, length)
}

#[inline(always)]
fn short_hash(low: u64, high: u64, length: usize) -> u64 {
    let (low, high) = match length {
        0..=7 => (low & ((1 << (8 * length)) - 1), 0),
        8 => (low, 0),
        9..=15 => (low, high & ((1 << (8 * length - 64)) - 1)),
        _ => (low, high),
    };
    let mix = (low ^ length as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mix ^ mix >> 32 ^ high.wrapping_mul(0xc2b2_ae3d_27d4_eb4f).rotate_left(31)
}

/// Spreads a hash over its low bits, which choose a slot, and its high bits, which are compared.
#[inline(always)]
fn mixed(hash: u64) -> u64 {
    let product = u128::from(hash) * 0xd6e8_feb8_6659_fd93_u128;
    product as u64 ^ (product >> 64) as u64
}
