"""Grams, addresses of people and addresses of pages: what datatrove itself finds, where it is installed."""

import json
import random
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pylm import _rust

PEERS = Path(__file__).resolve().parents[4] / ".venv" / "peers-data" / "bin" / "python"
pytestmark = pytest.mark.skipif(not PEERS.exists(), reason="datatrove is not installed: make peers-data")


def ask(question: str, **asked: Any) -> list[Any]:
    script = Path(__file__).parent / "peer.py"
    said = subprocess.run(
        [str(PEERS), str(script), question], input=json.dumps(asked), capture_output=True, text=True, check=False
    )
    assert said.returncode == 0, said.stderr
    answer: list[Any] = json.loads(said.stdout.splitlines()[-1])
    return answer


def test_grams(tmp_path: Path) -> None:
    draw = random.Random(1)
    words = ["The", "élan", "don't", "3.5", "1,000", "x1", "(so)", "a-b", "—", "naïve", "schön", "вид", "«да»", "ñ"]

    def passage(length: int) -> str:
        return "".join(draw.choice(words) + draw.choice([" ", "  ", "\n", "\t"]) for _ in range(length))

    items, pages = [], []
    for _ in range(2_000):
        query, answer = passage(draw.randrange(14)), passage(draw.randrange(1, 9))
        whole = f"{query} {answer}".split()
        start, end = sorted(draw.randrange(len(whole) + 1) for _ in range(2))
        items.append((query, answer))
        pages.append(f"{passage(3)} {' '.join(whole[start:end]).upper()} {passage(draw.randrange(20))}")
    expected = ask("contaminated", items=items, pages=pages, n=6, folder=str(tmp_path))
    found = []
    for (query, answer), page in zip(items, pages, strict=True):
        (hit,) = _rust.Contamination([("task", "0", query, answer)], n=6).check([page])
        found.append(None if hit is None else hit[2])
    assert found == expected
    assert sum(gram is not None for gram in found) > 300


def test_private_addresses() -> None:
    draw = random.Random(2)
    pieces = [
        "a.b@c.org",
        "x@y",
        "#é@b.de",
        "8.8.8.8",
        "10.0.0.1",
        "1.2.3.400",
        "o'neill+x@[1.2.3.4]",
        "a@b.c-",
        "@",
        ".",
    ]
    texts = ["".join(draw.choice([*pieces, " ", "word ", "5"]) for _ in range(12)) for _ in range(3_000)]
    found = []
    for text in texts:
        out, start = "", 0
        for first, last, kind in _rust.private_spans(text):
            out += f"{text[start:first]}<{kind}>"
            start = last
        found.append(out + text[start:])
    assert found == ask("masked", texts=texts)


def test_addresses_of_pages(tmp_path: Path) -> None:
    lists = {
        "domains": ["bad.com", "sub.fine.org", "worse.co.uk"],
        "urls": ["http://a.org/page"],
        "banned_words": ["casino", "Free-Bet"],
        "soft_banned_words": ["hot", "win", "now"],
        "banned_subwords": ["evil", "x-rated"],
    }
    for name, entries in lists.items():
        (tmp_path / name).write_text("# ours\n" + "\n".join(entries) + "\n")
    hosts = [
        "bad.com",
        "www.bad.com",
        "notbad.com",
        "fine.org",
        "sub.fine.org",
        "worse.co.uk",
        "a.worse.co.uk",
        "a.org",
        "co.uk",
    ]
    paths = [
        "",
        "/",
        "/page",
        "/casino",
        "/casinos",
        "/free-bet",
        "/freebet",
        "/hot/now",
        "/hot/hot",
        "/d-e.v/il",
        "?x=rated",
    ]
    pages = [f"{scheme}{host}{path}" for scheme in ("http://", "https://u@") for host in hosts for path in paths]
    looks = _rust.AddressFilter([tmp_path])
    assert [looks.refuses(page) for page in pages] == ask("refused", pages=pages, **lists)
