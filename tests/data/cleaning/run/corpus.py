"""A small corpus with copies, near-copies, broken and odd documents, and what a folder of it comes to."""

from __future__ import annotations

import hashlib
import json
import random
from pathlib import Path
from typing import Any

import pylm
from pylm.data.cleaning import options
from pylm.data.cleaning.call import Cleaned

WORDS = (
    "the be to of and that have with house river stone quickly under morning bright garden window people letter "
    "number wonder simple answer early late green water mountain table paper music story winter summer"
).split()
SMALL = {"UNIT": 20_000, "FILE": 60_000}  # bytes, so that a small text is many units and several files


def passage(draw: random.Random, words: int) -> str:
    said = [draw.choice(WORDS) + ("." if at % 11 == 10 else "") for at in range(words)]
    return " ".join(said).capitalize() + "."


def documents(seed: int = 1, count: int = 240) -> list[dict[str, Any]]:
    """Documents whose ids are numbers and texts, some of them copies but for spaces, some nearly, some too short."""
    draw = random.Random(seed)
    made: list[dict[str, Any]] = []
    for number in range(count):
        text = "\n".join(passage(draw, draw.randrange(20, 70)) for _ in range(draw.randrange(1, 6)))
        made.append({"id": number, "text": text, "score": draw.random(), "url": f"https://a{number % 9}.example/x"})
    for number in range(0, count, 12):
        words = made[number]["text"].split(" ")
        made.append({"id": f"copy-{number}", "text": "  ".join(words), "score": draw.random()})
        words[len(words) // 2] = "otherwise"
        made.append({"id": f"near-{number}", "text": " ".join(words), "date": "2024-05-01"})
    made += [{"id": "short", "text": "Short."}, {"text": " \n\t "}, {"id": None, "text": "Write to jo@mail.example."}]
    draw.shuffle(made)
    return made


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def write_several(folder: Path, rows: list[dict[str, Any]], files: int = 12) -> Path:
    """A folder of files, each of which is a unit of its own: no plain file is cut below 128 KiB."""
    folder.mkdir()
    for number in range(files):
        write(folder / f"{number:02}.jsonl", rows[number::files])
    return folder


def small_units(monkeypatch: Any) -> None:
    for name, size in SMALL.items():
        monkeypatch.setattr(options, name, size)


def clean(source: Any, out: Path, **given: Any) -> Cleaned:
    done = pylm.data.clean(source, out=out, **given)
    assert isinstance(done, Cleaned)
    return done


def digest(folder: Path) -> str:
    """One hash of all files of a folder and their names."""
    whole = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            whole.update(f"{path.relative_to(folder)}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    return whole.hexdigest()


def lines(folder: Path, kind: str) -> list[dict[str, Any]]:
    """The lines of all files of text, or of what was removed."""
    text = "".join(path.read_text(encoding="utf-8") for path in sorted(folder.glob(f"{kind}_*.jsonl")))
    return [json.loads(line) for line in text.split("\n")[:-1]]
