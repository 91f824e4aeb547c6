"""Texts that rules get wrong: nothing, one word, every line end, everything twice, signs, long words."""

from __future__ import annotations

import random
from collections.abc import Iterator

LINE_ENDS = ["\n", "\n\n", "\n\n\n", "\r\n", "\r", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029"]
SPACES = [" ", "  ", "\t", "\x1f", "\xa0", "\u3000", "\u2003"]
WORDS = ["the", "of", "and that have with", "the be to of", "word", "Word", "don't", "well-known", "end.Next", "10km"]
SIGNS = ["…", "...", "..", ".", "!", "?", '"', "'", "•", "-", "#", "[", "]", "{", "}", ":)", "。", "1,000", "\x00"]
PHRASES = ["javascript", "JavaScript", "lorem ipsum", "Lorem Ipsum", "privacy policy", "coo\u212aie policy",
           "use of cookies", "java[2]script", "[1]", "[edit]", "[citation needed]", "[٣]"]  # fmt: skip
LINES = ["- a\n", "• b\n", "c...\n", "d…\n", "same line here\n", "same line here.\n", "ab c de f g\n", "a bc d ef g\n"]
SCRIPTS = ["你好", "ไทย", "नमस्ते।", "привет", "İ", "ß", "😀", "👩‍👩‍👧", "\u200b", "x" * 1001, "é" * 1000 + " "]
ALL = LINE_ENDS + SPACES + WORDS + SIGNS + PHRASES + LINES + SCRIPTS

FIXED = ["", " ", "\n", "word", "\n\nword\n\n", "a\x85b\u2028c\r\nd", "the of\n" * 50, "x" * 5000, "é" * 1001]


def texts(count: int, seed: int) -> Iterator[str]:
    """The fixed ones, then `count` made of few or many of the parts."""
    yield from FIXED
    rng = random.Random(seed)
    for _ in range(count):
        parts = rng.sample(ALL, rng.choice((1, 2, 4, 10, len(ALL))))
        separator = rng.choice(("", "", " ", "\n"))
        yield separator.join(rng.choices(parts, k=rng.choice((1, 2, 5, 20, 60, 150))))
    for repeats in (19, 20, 21, 30, 31):  # fractions that lie at thresholds and beside them
        yield "\n".join(["a line that comes again"] * repeats + [f"line {n}" for n in range(100 - repeats)])


def cut_otherwise(count: int, seed: int) -> Iterator[str]:
    """Texts that say again what they said, at times with other spaces in it, in words whose first bytes are alike."""
    rng = random.Random(seed)
    kinds: list[list[str]] = [
        ["a", "b", "ab", "ba", "aab"],
        [f"{'x' * length}{end}" for length in (14, 15, 16, 31, 32, 33) for end in "ab"],
        ["é", "日本", "aé", "éééééééé"],
        ["the", "of", ".", "a" * 16, "b" * 17, "ab" * 8],
    ]
    for _ in range(count):
        words = [word for kind in rng.sample(kinds, rng.choice((1, 1, 2, 3))) for word in kind]
        said = rng.choices(words, k=rng.choice((3, 8, 20, 60, 200)))
        parts: list[str] = []
        for _ in range(rng.choice((1, 2, 3, 6))):
            start = rng.randrange(len(said))
            part = said[start : start + rng.choice((4, 5, 6, 9, 10, 11, 40))]
            if rng.random() < 0.4:
                joined = "".join(part)
                cuts = sorted({0, len(joined), *(rng.randrange(len(joined)) for _ in part)})
                part = [joined[low:high] for low, high in zip(cuts, cuts[1:], strict=False)]
            parts += [*part, *rng.choices(words, k=rng.choice((0, 0, 1, 3)))]
        yield rng.choice((" ", "  ", "\n")).join([*said, *parts])
