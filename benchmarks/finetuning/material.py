"""Synthetic instructions, and the text that a model is trained on before it is given any.

The text has the skills without the words: sequences that come again, turned around or counted. The instructions name
what to do in sentences: a verb of the task in a frame. Of each task's verbs and frames every one is met in training,
and every fifth pair of them never is: these are the unseen templates.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import NamedTuple

LETTERS = "abcdefghijkl"
# in words: a figure is two tokens, its blank and itself, and after "b" and a blank nothing says what stood beside "b"
NUMBERS = "zero one two three four five six seven eight nine".split()
LENGTHS = (3, 5)  # of a sequence
PAIRS = (2, 3)  # of a table that is looked something up in
ASKED_AGAIN = 7  # keys of a table in a text: where a model reads each but once, it takes long to learn what to look for
VERBS = {
    "copy": ("repeat", "copy", "echo", "write again", "say once more", "type out", "duplicate", "recite", "reproduce",
             "transcribe"),
    "reverse": ("reverse", "flip", "mirror", "turn around", "write backwards", "invert", "spell backwards", "undo",
                "put in opposite order", "rewind"),
    "count": ("count", "number", "tally", "give the length of", "measure", "add up", "total", "size", "enumerate",
              "sum up"),
}  # fmt: skip
TASKS = (*VERBS, "lookup")
FRAMES = (
    "{verb} : {given} .",
    "please {verb} these letters : {given} .",
    "here are some letters : {given} . now {verb} them .",
    "i have {given} and want you to {verb} this .",
    "your task is to {verb} what follows : {given} .",
    "take {given} , then {verb} it .",
    "{given} . please {verb} what you see .",
    "could you {verb} {given} for me ?",
    "the letters are {given} . {verb} the letters .",
    "now {verb} this list : {given} .",
    "{verb} all of {given} .",
    "given {given} , {verb} what is given .",
    "someone wrote {given} . can you {verb} it ?",
    "your turn : {verb} {given} .",
    "with {given} in mind , {verb} these .",
)
ASKED = ("what is {key}", "tell me {key}", "find {key}", "which number has {key}", "give me {key}", "look up {key}",
         "say what stands beside {key}", "i need {key}", "show {key}", "the value of {key}")  # fmt: skip
TABLES = (
    "{given} . {asked}",
    "this is a table : {given} . {asked}",
    "look it up : {given} . {asked}",
    "we have {given} . {asked}",
    "here is what we have : {given} . {asked}",
    "please read {given} and then {asked}",
    "from {given} : {asked}",
    "some numbers : {given} . now {asked}",
    "{given} is all we know . {asked}",
    "with {given} in mind , {asked}",
)
SIGNS = {"copy": "=", "reverse": "<", "count": "#"}


class Example(NamedTuple):
    """An instruction and its answer."""

    task: str
    prompt: str
    completion: str


def documents(count: int, seed: int) -> Iterator[str]:
    """Yield texts: notes in which sequences come again, are turned around, counted and looked up, and sentences."""
    drawn = random.Random(f"documents {seed}")
    words = sorted({word for frame in (*FRAMES, *TABLES, *ASKED) for word in frame.split() if word.isalpha()}
                   | {word for verbs in VERBS.values() for verb in verbs for word in verb.split()})  # fmt: skip
    for _ in range(count):
        yield " ".join(_note(drawn, words) for _ in range(drawn.randint(3, 6))) + "\n"


def _note(drawn: random.Random, words: list[str]) -> str:
    kind = drawn.choice(("copy", "reverse", "count", "count", "lookup", "lookup", "words"))
    if kind == "words":
        return " ".join(drawn.choice(words) for _ in range(drawn.randint(4, 8))) + " ."
    if kind == "lookup":
        table = _table(drawn)
        keys = drawn.choices(list(table), k=ASKED_AGAIN)
        asked = (f"{' '.join(drawn.choices(words, k=drawn.randint(1, 3)))} {key} {table[key]}" for key in keys)
        return f"{_told(table)} . {' '.join(asked)} ."
    given = _sequence(drawn)
    return f"{' '.join(given)} {SIGNS[kind]} {_answer(kind, given)} ."


def examples(count: int, seed: int, *, unseen: bool = False) -> Iterator[Example]:
    """Yield instructions, of the four tasks in turn; `unseen` has those templates that training never shows."""
    drawn = random.Random(f"examples {seed} {unseen}")
    for number in range(count):
        task = TASKS[number % len(TASKS)]
        yield _lookup(drawn, unseen) if task == "lookup" else _instruction(drawn, task, unseen)


def _instruction(drawn: random.Random, task: str, unseen: bool) -> Example:
    given = _sequence(drawn)
    verb, frame = _template(drawn, VERBS[task], FRAMES, unseen)
    return Example(task, frame.format(verb=verb, given=" ".join(given)), " " + _answer(task, given))


def _lookup(drawn: random.Random, unseen: bool) -> Example:
    table = _table(drawn)
    key = drawn.choice(list(table))
    asked, frame = _template(drawn, ASKED, TABLES, unseen)
    return Example("lookup", frame.format(given=_told(table), asked=asked.format(key=key)), f" {table[key]}")


def _template(drawn: random.Random, verbs: tuple[str, ...], frames: tuple[str, ...], unseen: bool) -> tuple[str, str]:
    pairs = [(verb, frame) for row, verb in enumerate(verbs) for column, frame in enumerate(frames)
             if ((row + column) % 5 == 0) == unseen]  # fmt: skip
    return drawn.choice(pairs)


def _sequence(drawn: random.Random) -> list[str]:
    return drawn.sample(LETTERS, drawn.randint(*LENGTHS))


def _table(drawn: random.Random) -> dict[str, str]:
    return {key: drawn.choice(NUMBERS) for key in drawn.sample(LETTERS, drawn.randint(*PAIRS))}


def _told(table: dict[str, str]) -> str:
    return " , ".join(f"{key} {value}" for key, value in table.items())


def _answer(task: str, given: list[str]) -> str:
    return NUMBERS[len(given)] if task == "count" else " ".join(given if task == "copy" else given[::-1])
