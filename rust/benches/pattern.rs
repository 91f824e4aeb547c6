//! Scanners on text of several kinds: `cargo bench --bench pattern`.
//!
//! The text is made here, from words; `PYLM_BENCH_TEXT=a.txt:b.txt` adds files. `PYLM_BENCH_VARIANTS=1` measures every
//! instruction set of this processor, not only the best.

use std::hint::black_box;
use std::time::Duration;

use criterion::{criterion_group, criterion_main, BenchmarkId, Criterion, Throughput};
use pylm_rust::pattern::{Named, Pattern, Variant};

const SIZE: usize = 4 << 20;

/// Words drawn with a bias to the first, and what stands between them.
fn text(words: &str, joins: &[&str]) -> Vec<u8> {
    let words: Vec<&str> = words.split_whitespace().collect();
    let (mut text, mut state) = (Vec::with_capacity(SIZE + 64), 1u64);
    while text.len() < SIZE {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let (a, b) = ((state >> 33) as usize, (state >> 50) as usize);
        text.extend_from_slice(words[(a % words.len()).min(b % words.len())].as_bytes());
        text.extend_from_slice(joins[b / 7 % joins.len()].as_bytes());
    }
    text
}

fn corpora() -> Vec<(String, Vec<u8>)> {
    let plain = [" ", " ", " ", " ", " ", " ", ", ", " ", " ", ". "];
    let mut corpora = vec![
        (
            "prose".into(),
            text(
                "the of and to a in that it was he his with as I for had you on her at not be she is but him have all \
                 would they from this said which one were there been so when what no them into 1984 don't it's don't \
                 themselves understanding house's \"Well\" country particularly morning business",
                &[" ", " ", " ", " ", " ", " ", " ", ", ", " ", ". ", " ", " ", "\n", " ", " ", "; ", " ", ".\n\n"],
            ),
        ),
        (
            "code".into(),
            text(
                "self return if def x for in None self.value[i] == != foo_bar(a, b) += 100 0x1F \"name\" 'key' class",
                &[" ", " ", "(", "):\n        ", "\n    ", ".", " = ", "\n\n", ", ", ")\n            "],
            ),
        ),
        (
            "cyrillic".into(),
            text("и в не на я быть он с что этот как по но они весь который мочь свой год человек время", &plain),
        ),
        (
            "chinese".into(),
            text(
                "的 一 是 不 了 在 人 有 我 他 这 中 大 来 上 国 个 到 说 们 为 子 和",
                &["", "", "，", "", "", "", "。"],
            ),
        ),
        ("arabic".into(), text("في من على أن إلى كان هذا التي الذي مَدْرَسَة عن مع بعد العربية", &plain)),
        ("hindi".into(), text("के में है की से को और का ने पर हिन्दी भाषा विश्वविद्यालय नहीं किया गया", &plain)),
        (
            "japanese".into(),
            text("の に は を た が で て と し れ さ ある いる 日本 東京 コンピュータ", &["", "", "、", "", "。"]),
        ),
    ];
    for path in std::env::var("PYLM_BENCH_TEXT").unwrap_or_default().split(':').filter(|path| !path.is_empty()) {
        let text = std::fs::read(path).unwrap_or_else(|error| panic!("{path}: {error}"));
        corpora.push((path.rsplit('/').next().unwrap_or(path).into(), text));
    }
    corpora
}

fn scan(criterion: &mut Criterion) {
    let every = std::env::var_os("PYLM_BENCH_VARIANTS").is_some();
    let variants = if every { Variant::available() } else { vec![Variant::best()] };
    let mut ends = Vec::new();
    for (corpus, text) in corpora() {
        let mut group = criterion.benchmark_group(format!("scan/{corpus}"));
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.sample_size(10).warm_up_time(Duration::from_millis(100)).measurement_time(Duration::from_millis(400));
        for named in Named::ALL {
            for variant in &variants {
                let pattern = Pattern::on(named, *variant);
                group.bench_with_input(
                    BenchmarkId::new(named.name(), format!("{variant:?}")),
                    &text,
                    |bencher, text| {
                        bencher.iter(|| {
                            let mut start = 0;
                            while start < text.len() {
                                start = pattern.scan(text, start, &mut ends).expect("a pattern that ends");
                                black_box(&ends);
                            }
                        });
                    },
                );
            }
        }
        group.finish();
    }
}

criterion_group!(benches, scan);
criterion_main!(benches);
