"""What `compare` counts, against counts made in the plainest way."""

import io

import numpy as np
import pytest

from pylm import Tokenizer
from pylm.errors import DataError, UsageError
from pylm.tokenizer import plot
from pylm.tokenizer.compare import compare

TEXTS = [
    ("a.txt", "the cat and the dog " * 30),
    ("b.txt", "人之初，性本善。性相近，习相远。" * 20),
    ("a.txt", "it was he that had the dog\n" * 10),
    ("a.txt", ""),
]


@pytest.fixture(scope="module")
def two(corpus):
    return {"small": Tokenizer.train(corpus, 600), "large": Tokenizer.train(corpus, 1500, pattern="gpt2")}


def test_counts_are_those_of_plain_encoding(two):
    made = compare(two, TEXTS, by="file")
    assert made.bytes == {"a.txt": 870, "b.txt": 960} and made.documents == 3
    for name, tokenizer in two.items():
        tally = made.tallies[name]
        ids = {source: [] for source in ("a.txt", "b.txt")}
        for source, text in TEXTS:
            ids[source] += tokenizer.encode(text)
        assert tally.tokens == {source: len(found) for source, found in ids.items()}
        everything = ids["a.txt"] + ids["b.txt"]
        assert tally.used.tolist() == np.bincount(everything, minlength=tokenizer.vocab_size).tolist()
        never = set(range(tokenizer.vocab_size)) - set(everything) - set(tokenizer.specials.values())
        assert set(tally.never_used()) == never
        longest = max((tokenizer.token_bytes(token_id) for token_id in set(everything)), key=len)
        assert len(tally.longest(3)[0][0]) == len(longest)
        data, count = tally.longest(1)[0]
        assert count == sum(tokenizer.token_bytes(token_id) == data for token_id in everything)


def test_ratios_are_of_the_text(two):
    value = compare(two, TEXTS).as_json(4)
    assert value["groups"] == {"Chinese": 960, "Latin": 870}
    for entry in value["tokenizers"]:
        tokens = sum(len(two[entry["name"]].encode(text)) for _, text in TEXTS)
        assert entry["tokens"] == tokens
        assert entry["tokens_per_byte"] == pytest.approx(tokens / 1830)
        chinese = len(two[entry["name"]].encode(TEXTS[1][1]))
        assert entry["bytes_per_token_by_group"]["Chinese"] == pytest.approx(960 / chinese)
        assert entry["megabytes_per_second"] > 0
        assert len(entry["longest"]) == len(entry["never_used_examples"]) == 4


def test_no_text_is_an_error(two):
    with pytest.raises(DataError, match="there is no text to compare"):
        compare(two, [("a", "")])


def test_it_is_drawn(two, tmp_path):
    from rich.console import Console

    made = compare(two, TEXTS)
    console = Console(width=100, record=True, file=io.StringIO())
    for table in (*plot.tables(made, 3), plot.drawn(made)):
        console.print(table)
    text = console.export_text()
    assert "Chinese" in text and "█" in text and "small" in text and f"{made.total_bytes:,} bytes" in text
    for name in ("bars.svg", "bars.png"):
        plot.save_plot(made, tmp_path / name)
    assert (tmp_path / "bars.svg").read_text().count("<path") > 10
    assert (tmp_path / "bars.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(UsageError, match="pictures are .svg, .png or .pdf"):
        plot.check_picture(tmp_path / "bars.txt")
    with pytest.raises(DataError, match="cannot write"):
        plot.save_plot(made, tmp_path / "nowhere" / "bars.svg")
