"""Text that any machine can make: a little of several languages, and strings meant to break things."""

import random

import pytest

WORDS = (
    "the of and to in a is that it was for on are as with his they at be this have from or one had by word but "
    "not what all were we when your can said there use an each which she do how their if will up other about out "
    "many then them these so some her would make like him into time has look two more write go see number no way "
    "could people my than "
).split()
SYLLABLES = (
    "ba be bi co cu da dor el en fa fin go gra hu il jo ka ken lo lum ma mer ne nor o pa pri qua re ri sa sol ta tri u "
    "va vel wi xe ya zu"
).split()
PARTS = (
    "Съешь же ещё этих мягких французских булок, да выпей чаю. ",
    "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。",
    "人之初，性本善。性相近，习相远。苟不教，性乃迁。",
    "동해 물과 백두산이 마르고 닳도록 하느님이 보우하사 우리나라 만세. ",
    "हिन्दी भाषा भारत में सबसे ज़्यादा बोली जाती है। ",
    "كان يا ما كان في قديم الزمان وسالف العصر والأوان. ",
    "def main(argv):\n    for index, value in enumerate(argv):\n        print(index, value)\n",
    "Größe, naïveté, œuvre, Ærøskøbing, İstanbul; 3.14159 and 1,234,567 € — “quoted” … ",
)
HOSTILE = (
    " ", "  ", "   ", "\n", "\n\n", "\t", "\r\n", "        ", "😀", "👩‍👩‍👧‍👦", "é", "e\u0301",
    "\u2581", "\u2581\u2581", "<unk>", "<s>", "</s>", "<0x41>", "<|endoftext|>", "<|im_end|>",
    "\x00", "\u00a0", "\u3000", "﷽", "ﬁ", "①", "\u200d", "\ufeff", "漢", "𠮷", "aaaaaaa", "aaa",
    "1234567", "!!!!", "....", "<", "0x", "\U0010ffff", "ABCDEFGH", "\u0085", "\u2028", "'s",
    "'LL",
)  # fmt: skip


def make_word(rng: random.Random) -> str:
    """A word of two to four syllables, the first syllables more often than the last."""
    return "".join(SYLLABLES[int(rng.random() ** 2 * len(SYLLABLES))] for _ in range(rng.randint(2, 4)))


def make_text(seed: int, size: int) -> str:
    """About `size` characters of mixed text, the same for the same seed."""
    rng = random.Random(seed)
    out: list[str] = []
    length = 0
    while length < size:
        if rng.random() < 0.7:
            words = [rng.choice(WORDS) if rng.random() < 0.6 else make_word(rng) for _ in range(rng.randint(3, 15))]
            piece = " ".join(words).capitalize() + ".\n"
        else:
            piece = rng.choice(PARTS)
            start = rng.randrange(len(piece))
            piece = piece[start:] + piece[:start]
        out.append(piece)
        length += len(piece)
    return "".join(out)


def make_hostile(seed: int, count: int) -> list[str]:
    """Strings of whatever has ever broken a tokenizer, of ordinary text, and of both."""
    rng = random.Random(seed)
    base = make_text(seed + 1, 20_000)

    def slice_of(length: int) -> str:
        start = rng.randrange(len(base))
        return base[start : start + rng.randint(1, length)]

    def any_character() -> str:
        code = rng.choice([rng.randrange(128), rng.randrange(0x80, 0xD800), rng.randrange(0xE000, 0x110000)])
        return chr(code)

    kinds = (
        lambda: "".join(rng.choice(HOSTILE) for _ in range(rng.randint(0, 20))),
        lambda: slice_of(400),
        lambda: "".join(rng.choice([rng.choice(HOSTILE), slice_of(30)]) for _ in range(12)),
        lambda: "".join(any_character() for _ in range(rng.randint(1, 30))),
        lambda: rng.choice("a b\u2581x漢\n") * rng.randint(1, 60),
    )
    return [rng.choice(kinds)() for _ in range(count)]


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    """A file of 400 kB: 200 documents apart by <|endoftext|>."""
    path = tmp_path_factory.mktemp("corpus") / "mixed.txt"
    path.write_text("<|endoftext|>".join(make_text(seed, 2000) for seed in range(200)), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def hostile():
    return make_hostile(7, 600)


@pytest.fixture(scope="session")
def text_of():
    """Makes text from a seed and a size."""
    return make_text
