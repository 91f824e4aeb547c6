"""Test items are found in any dress, in clean pages nothing is, and grams are those that datatrove looks for."""

import random
import re
import unicodedata

import pytest

from pylm import _rust
from pylm.errors import UsageError

PUNCTUATION = "!/—”:&(、━\\#%「」，】；+^]~“《„';’{|=[-`*．（–？！：$～«〉,><》)?）。…@_.\"}»"


def simplified(text: str) -> str:
    """datatrove's simplify_text, for scripts in which a word stands between blanks."""
    text = re.sub(r"\d+([.,]\d+)?", "0", text.lower())
    text = text.translate(dict.fromkeys(map(ord, PUNCTUATION), " "))
    text = unicodedata.normalize("NFD", " ".join(text.split()))
    return "".join(c for c in text if unicodedata.category(c) != "Mn").strip()


def grams(words: list[str], n: int) -> list[tuple[str, ...]]:
    return [tuple(words[start : start + n]) for start in range(len(words) - n + 1)]


def looked_for(query: str, answer: str, n: int) -> set[tuple[str, ...]]:
    """datatrove's NGramsDecontIndexer: the answer's grams, and those that reach from the question into it."""
    asked, said = simplified(query).split(), simplified(answer).split()
    found = set(grams(said, n))
    for more in range(n - 1):
        if len(asked) >= n - 1 - more and len(said) >= more + 1:
            found.add((*asked[-n + 1 + more :], *said[: more + 1]))
    return found


def first(index: "_rust.Contamination", text: str) -> str | None:
    (hit,) = index.check([text])
    return None if hit is None else hit[2]


@pytest.mark.parametrize("n", [3, 8, 13])
def test_hits_are_those_of_plain_python(n: int) -> None:
    draw = random.Random(n)
    words = ["the", "Éa", "don't", "3.5", "12", "x1,2y", "(so)", "a-b", "—", "STOP.", "naïve", "ñ\u0303", '"q"']

    def passage(length: int) -> str:
        return "".join(draw.choice(words) + draw.choice([" ", "  ", "\n"]) for _ in range(length))

    hits = 0
    for _ in range(300):
        query, answer = passage(draw.randrange(2 * n)), passage(draw.randrange(1, n + 2))
        index = _rust.Contamination([("task", "0", query, answer)], n=n)
        wanted = looked_for(query, answer, n)
        for _ in range(8):
            whole = simplified(f"{query} {answer}").split()
            start, end = sorted(draw.randrange(len(whole) + 1) for _ in range(2))
            text = f"{passage(3)} {' '.join(whole[start:end])} {passage(draw.randrange(20))}"
            expected = next((gram for gram in grams(simplified(text).split(), n) if gram in wanted), None)
            assert first(index, text) == (" ".join(expected) if expected else None), (query, answer, text)
            hits += expected is not None
    assert hits > 100


VOCABULARY = [f"{a}{b}{c}" for a in "bdfgkl" for b in ("a", "é", "oo", "i") for c in ("n", "st", "mer", "", "ck")]


def sentence(draw: random.Random, length: int) -> str:
    return " ".join(draw.choice(VOCABULARY) for _ in range(length))


def dressed(text: str, draw: random.Random) -> str:
    """The same words in another case, with other blanks and punctuation."""
    words = [draw.choice([str.upper, str.lower, str.title, str])(word) for word in text.split()]
    around = [" ", "\n\n", ", ", " — ", "\t", "... ", ' "', ") (", "\u00a0", "\u3000", " • "]
    joined = "".join(word + draw.choice(around) for word in words)
    return unicodedata.normalize(draw.choice(["NFC", "NFD"]), joined)


def test_planted_items_are_found_and_clean_pages_are_clean() -> None:
    draw = random.Random(1)
    items = [("task", str(number), sentence(draw, 25), sentence(draw, 3)) for number in range(2_000)]
    index = _rust.Contamination(items)
    assert index.tasks == [("task", 2_000, 2_000)]
    pages = [sentence(draw, 120) for _ in range(10_000)]
    assert index.check(pages) == [None] * 10_000
    planted = [
        f"{pages[place]}\n{dressed(f'{query} {answer}', draw)}{pages[place]}"
        for place, (_, _, query, answer) in enumerate(items)
    ]
    hits = index.check(planted)
    assert [hit and hit[1] for hit in hits] == [number for _, number, _, _ in items]
    questions = [f"{pages[place]} {query} otherwise {pages[place]}" for place, (_, _, query, _) in enumerate(items)]
    assert index.check(questions) == [None] * 2_000  # a question alone accuses nobody
    whole = _rust.Contamination(items, whole=True)
    assert all(whole.check(questions))


def test_other_scripts() -> None:
    items = [
        ("t", "ru", "Как называется столица большой страны, что лежит на востоке Европы и", "зовётся Россией?"),
        ("t", "de", "Wie heißt die Straße, an der das große Haus steht, in dem sie", "wohnen?"),
        ("t", "ar", "ما هي عاصمة البلد الذي يقع في شمال إفريقيا ويجري فيه نهر", "النيل العظيم"),
        ("t", "hi", "उस देश की राजधानी का क्या नाम है जो हिमालय के दक्षिण में", "स्थित है"),
        ("t", "zh", "下列哪一座城市是位於亞洲東部的那個人口眾多的國家的", "首都所在地呢"),
        ("t", "ja", "アジアの東にあるこの国の首都はどこにありますか、", "それは東京です"),
        ("t", "th", "เมืองหลวงของประเทศที่ตั้งอยู่ในเอเชียตะวันออกเฉียงใต้คือ", "กรุงเทพมหานคร"),
    ]
    index = _rust.Contamination(items)
    assert index.tasks == [("t", 7, 7)]
    for _, name, query, answer in items:
        (hit,) = index.check([f"{query} {answer}".upper()])
        assert hit is not None and hit[1] == name
    assert index.check(["WIE HEISST DIE STRASSE, AN DER DAS GROSSE HAUS STEHT, IN DEM SIE WOHNEN?"])[0] is not None


def test_short_items_are_counted_as_such() -> None:
    items = [
        ("a", "0", "two words", "x"),
        ("a", "1", "one " * 12, "end"),
        ("a", "1", "one " * 12, "other"),
        ("b", "1", "", ""),
    ]
    index = _rust.Contamination(items)
    assert index.tasks == [("a", 2, 1), ("b", 1, 0)]
    (hit,) = index.check([f"{'one ' * 12} end. {'one ' * 12} other"])
    assert hit is not None and hit == ("a", "1", "one " * 12 + "end", 1)
    (hit,) = _rust.Contamination([*items, ("c", "7", "one " * 12, "end")]).check(["one " * 12 + "end"])
    assert hit is not None and hit[3] == 2  # both items stand in it


def test_as_many_tests_as_a_record_can_number() -> None:
    items = [(f"task {number}", "0", "", f"alpha {chr(0x4E00 + number % 20000)} {number}") for number in range(1 << 16)]
    with pytest.raises(UsageError, match="65536 tests cannot be looked for"):
        _rust.Contamination(items, n=2)
    assert len(_rust.Contamination(items[1:], n=2).tasks) == (1 << 16) - 1
