//! The encoder's parts apart: `cargo bench --bench encode`.
//!
//! The scanner has a benchmark of its own (pattern.rs). Here: pre-tokens that the cache holds, new pre-tokens of up to
//! 15 bytes (the merges that go on side by side), long ones, and runs that are one pre-token (the linear encoder).

use std::hint::black_box;
use std::time::Duration;

use criterion::{criterion_group, criterion_main, BatchSize, Criterion, Throughput};
use pylm_rust::bpe::{Encoder, Vocab};
use pylm_rust::pattern::Pattern;

const SIZE: usize = 4 << 20;

struct Draw(u64);

impl Draw {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) % limit as u64) as usize
    }

    /// A word of syllables, which merges can do something with.
    fn word(&mut self, syllables: usize) -> String {
        let sound = |draw: &mut Self, sounds: &str| sounds.as_bytes()[draw.below(sounds.len())] as char;
        (0..syllables).flat_map(|_| [sound(self, "bcdfghklmnprstvw"), sound(self, "aeiou")]).collect()
    }

    fn text(&mut self, mut word: impl FnMut(&mut Self) -> String) -> Vec<u8> {
        let mut text = String::with_capacity(SIZE + 64);
        while text.len() < SIZE {
            text.push_str(&word(self));
            text.push(' ');
        }
        text.into_bytes()
    }
}

/// Every syllable, and pairs of syllables as far as 20,000 merges go: as many as a vocabulary in use has.
fn vocabulary() -> Vocab {
    let id = |byte: u8| u32::from(pylm_rust::bpe::alphabet::ORDER[usize::from(byte)]);
    let mut merges = Vec::new();
    for consonant in b"bcdfghklmnprstvw" {
        merges.extend(b"aeiou".map(|vowel| (id(*consonant), id(vowel))));
    }
    let syllables = 256..256 + merges.len() as u32;
    let pairs: Vec<_> = syllables.clone().flat_map(|left| syllables.clone().map(move |right| (left, right))).collect();
    let first = syllables.end;
    merges.extend(&pairs);
    merges.extend((first..).zip(syllables.cycle()).take(pairs.len() * 2));
    merges.truncate(20_000);
    Vocab::from_merges(merges, Vec::new(), Pattern::new("gpt2").expect("a pattern of ours")).expect("merges in order")
}

fn encode(criterion: &mut Criterion) {
    let encoder = Encoder::new(vocabulary());
    let mut draw = Draw(1);
    let known: Vec<String> = (0..3000).map(|_| draw.word(2)).collect();
    let texts = [
        ("known words", draw.text(|draw| known[draw.below(known.len()).min(draw.below(known.len()))].clone()), true),
        ("new words", draw.text(|draw| draw.word(6)), false),
        ("long words", draw.text(|draw| draw.word(11)), false),
        (
            "one run of letters",
            draw.text(|draw| draw.word(500)).into_iter().filter(|&byte| byte != b' ').collect(),
            true,
        ),
        ("one letter", vec![b'a'; SIZE], true),
    ];
    let mut group = criterion.benchmark_group("encode");
    group.sample_size(10).warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_millis(800));
    for (name, text, warm) in texts {
        group.throughput(Throughput::Bytes(text.len() as u64));
        let mut ids = Vec::<u16>::with_capacity(text.len());
        if warm {
            let mut scratch = encoder.scratch();
            group.bench_function(name, |bencher| {
                bencher.iter(|| {
                    ids.clear();
                    encoder.encode(black_box(&text), &mut scratch, &mut ids).unwrap();
                });
            });
        } else {
            group.bench_function(name, |bencher| {
                let fresh = || encoder.scratch();
                bencher.iter_batched_ref(
                    fresh,
                    |scratch| {
                        ids.clear();
                        encoder.encode(black_box(&text), scratch, &mut ids).unwrap();
                    },
                    BatchSize::PerIteration,
                );
            });
        }
    }
    group.finish();
}

criterion_group!(benches, encode);
criterion_main!(benches);
