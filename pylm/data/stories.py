"""Small stories, invented here: text for the demo and the tests that any machine can make, seeded, any amount.

A story has a hero, a friend and a thing that is wanted, lost and found; they keep their names, pronouns and colours to
the end. A sentence is a template whose small words are drawn anew, so that most sentences of a corpus stand in it once,
and `parse` reads them back: what a trained model writes can be checked for grammar and for who is who.
"""

from __future__ import annotations

import functools
import random
import re
from bisect import bisect
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate

from pylm.data.story_words import BOYS, GIRLS, WORDS

__all__ = ["SEPARATOR", "Judgement", "Sentence", "judge", "parse", "sentences", "stories", "story"]

SEPARATOR = "<|endoftext|>"

# The same name has the same pronouns in every story.
SHE, HE = ("she", "her", "her"), ("he", "him", "his")
NAMES = {**dict.fromkeys(GIRLS, SHE), **dict.fromkeys(BOYS, HE)}
# Word number r of a list is drawn with a weight of 1 / (r + 8): a common one a dozen times as often as a rare one.
# Names fall faster, with 1 / (r + 4)^1.3: some thirty people are met often enough to be known after a short training.
FLATTENING, NAMES_FLATTENING, NAMES_FALL = 8, 4, 1.3

# One list a moment of the story. Capitals are the story's own: H hero, F friend, X a stranger; T the thing, C its
# colour, A what the hero is, P where it happens; he, him, his are the hero's, fhe the friend's, xhim the stranger's.
# Each leaves thousands of sentences open: of an unseen story, fewer than one in ten stands in a corpus of 3 MB.
MOMENTS: dict[str, list[str]] = {
    "opening": [
        "Once upon a time, there was a {trait} {A} named {H} who lived near the {place}.",
        "{H} was a {trait} and {trait} {A} who lived by the {place}.",
        "Long ago, a {trait} {A} named {H} lived by the {place} and liked to {hobby}.",
        "There once was a {A} called {H}, and everyone at the {place} said that {he} was {trait}.",
        "In a house near the {place} lived {H}, a {trait} and {trait} {A}.",
    ],
    "friend": [
        "{H} had a friend named {F}, and they liked to {hobby} together.",
        "Every {time}, {H} and {his} friend {F} went out to {hobby}.",
        "{His} best friend was {F}, who liked to {hobby} and eat {food}.",
        "{H} and {F} were friends, and they shared their {food} every {time}.",
    ],
    "want": [
        "One {weather} {time}, {H} went to the {P} with {his} {C} {T}.",
        "One {weather} {time}, {he} took {his} {C} {T} to the {P}.",
        "On a {weather} {time}, {H} found a {C} {T} at the {P}.",
        "One {weather} {time}, {F} gave {H} a {C} {T}, and they carried it to the {P}.",
    ],
    "trouble": [
        "But then the {C} {T} was gone, and {H} felt {feeling} and {feeling}.",
        "Suddenly the wind took the {C} {T} away from the {P}, and {he} became {feeling}.",
        "When {H} looked around the {P}, {he} could not see the {C} {T} anymore.",
        "But {H} slipped, and the {C} {T} fell into the {place}.",
        "A {trait} {animal} ran off with the {T}, and {H} was {feeling}.",
    ],
    "cry": [
        '"Oh no, where is my {C} {T}?" said {H}, who was {feeling}.',
        '"I cannot find my {C} {T}!" cried {H} {adverb}.',
        '"Please help me, {F}," said {H}, "my {C} {T} is lost."',
        '{H} sat down {spot} and said, "I want my {C} {T} back."',
    ],
    "answer": [
        '"Do not be {feeling}, {H}," said {F}, "we will look for it at the {place}."',
        '"I will help you find the {T}," said {F}, and {fhe} took {H} by the hand.',
        '{F} thought {adverb} and said, "Let us look {spot}, {H}."',
        '"Maybe a {trait} {animal} took it to the {place}," said {F}.',
    ],
    "search": [
        "They looked {spot} at the {place}, but they only found some {food}.",
        "{F} looked {spot} while {H} {moved} {adverb} to the {place}.",
        "They asked a {trait} {animal}, who had not seen the {C} {T}.",
        "{H} and {F} {moved} all the way to the {place} and looked {spot}.",
        "{He} was {feeling}, but {F} gave {him} some {food}.",
    ],
    "stranger": [
        "Then they met a {trait} {animal} named {X}, who was eating {food}.",
        "At the {place} they saw {X}, a {trait} {animal}.",
        "Soon a {trait} {animal} named {X} came by and asked why {H} was {feeling}.",
    ],
    "clue": [
        '"I saw a {C} {T} {spot}," said {X}.',
        '{X} smiled {adverb} and said, "I think that your {C} {T} is {spot}."',
        "{X} wanted some {food} first, so {H} gave {xhim} {his} own.",
    ],
    "found": [
        "At last, {F} found the {C} {T} {spot}.",
        "There it was: the {C} {T} was {spot} at the {place}!",
        "{H} looked {spot}, and there was {his} {C} {T}.",
        "Then {he} saw something {C} {spot}, and it was the {T}.",
    ],
    "joy": [
        "{H} was so {joy} that {he} wanted to {hobby} until the {time}.",
        '"Thank you, {F}!" said {H}, and {he} was very {joy}.',
        "{H} hugged {F}, and both of them were {joy}.",
        "They were {joy} and ate {food} until the {time} was over.",
    ],
    "ending": [
        "From that {time} on, {H} and {F} knew that {virtue} is a good thing.",
        "{H} {moved} home to the {place} with {his} {C} {T}, and {he} slept well.",
        "After that, {H} and {F} went to the {P} every {time} to {hobby}.",
        "And {H} never forgot that {virtue} makes every {animal} {joy}.",
    ],
}
FIXED = {"T": "thing", "C": "colour", "A": "animal", "P": "place"}
PEOPLE = ("H", "F", "X")
# slot: (whose, which of that name's three forms)
PRONOUNS = {
    **{"he": ("H", 0), "him": ("H", 1), "his": ("H", 2), "He": ("H", 0), "His": ("H", 2)},
    **{"fhe": ("F", 0), "xhim": ("X", 1)},
}
SLOT = re.compile(r"\{(\w+)\}")


def story(rng: random.Random) -> str:
    """Return one story of eight to fourteen sentences in four paragraphs, a line each."""
    fixed: dict[str, str] = {}
    for slot in PEOPLE:
        fixed[slot] = _drawn("name", rng, fixed.values())
    fixed |= {slot: _drawn(kind, rng) for slot, kind in FIXED.items()}
    cry = ["cry"] if rng.random() < 0.7 else []
    meeting = ["stranger", "clue"] if rng.random() < 0.5 else []
    paragraphs = [
        ["opening", "friend"],
        ["want", "trouble", *cry],
        ["answer", *["search"] * rng.choice((0, 1, 1, 2)), *meeting],
        ["found", "joy", "ending"],
    ]
    lines = [" ".join(_fill(rng.choice(MOMENTS[moment]), fixed, rng) for moment in moments) for moments in paragraphs]
    return "\n".join(lines) + "\n"


def stories(size: int, seed: int = 1, strangers: float = 0.0) -> Iterator[str]:
    """Yield stories until `size` bytes are full, each followed by the end-of-text mark.

    Args:
        size: in bytes; the last story may go beyond.
        seed: of all that is drawn.
        strangers: the share of sentences that come from another story: their grammar is right, their people are not.
    """
    rng = random.Random(seed)
    written = 0
    while written < size:
        text = (_with_strangers(story(rng), strangers, rng) if strangers else story(rng)) + SEPARATOR
        written += len(text)
        yield text


def _with_strangers(text: str, share: float, rng: random.Random) -> str:
    others = sentences(story(rng))
    lines = [
        [rng.choice(others) if rng.random() < share else one for one in sentences(line)] for line in text.splitlines()
    ]
    return "\n".join(map(" ".join, lines)) + "\n"


def sentences(text: str) -> list[str]:
    """Return the sentences of a story; what is said and who said it are one."""
    return [part for line in text.splitlines() for part in re.split(r'(?<=[.!?"]) (?=[A-Z"])', line) if part]


def _fill(template: str, fixed: dict[str, str], rng: random.Random) -> str:
    used: set[str] = set()

    def word(match: re.Match[str]) -> str:
        slot = match[1]
        if slot in PRONOUNS:
            return _pronoun(slot, NAMES[fixed[PRONOUNS[slot][0]]])
        if slot in fixed:
            return fixed[slot]
        drawn = _drawn(slot, rng, used)
        used.add(drawn)
        return drawn

    return SLOT.sub(word, template)


def _drawn(kind: str, rng: random.Random, but: Collection[str] = ()) -> str:
    """Return a word of a kind, common ones more often, none of `but`."""
    if kind == "spot":
        return f"{_drawn('near', rng)} {_drawn('landmark', rng)}"
    words, weights = _lists()[kind]
    while True:
        word = words[bisect(weights, rng.random() * weights[-1])]
        if word not in but:
            return word


@functools.cache
def _lists() -> dict[str, tuple[list[str], list[float]]]:
    """Return each list of words with its running sum of weights; names take turns, a girl's and a boy's."""
    names = [name for pair in zip(GIRLS, BOYS, strict=False) for name in pair]
    lists = {
        kind: (words, list(accumulate(1 / (rank + FLATTENING) for rank in range(len(words)))))
        for kind, words in WORDS.items()
    }
    falling = accumulate((rank + NAMES_FLATTENING) ** -NAMES_FALL for rank in range(len(names)))
    return {**lists, "name": (names, list(falling))}


def _pronoun(slot: str, forms: tuple[str, str, str]) -> str:
    form = forms[PRONOUNS[slot][1]]
    return form.capitalize() if slot[0].isupper() else form


@dataclass(frozen=True)
class Sentence:
    """A sentence that some template could have written: its moment, and what its slots hold."""

    moment: str
    slots: dict[str, str]

    def agrees(self, hero: str, friend: str) -> bool:
        """Say whether everybody whom it names, by name or pronoun, is who the story said."""
        people = {"H": hero, "F": friend, "X": self.slots.get("X", "")}
        for slot, value in self.slots.items():
            if slot in ("H", "F") and value != people[slot]:
                return False
            if slot in PRONOUNS and (forms := NAMES.get(people[PRONOUNS[slot][0]])) and value != _pronoun(slot, forms):
                return False
        return True


def parse(sentence: str) -> Sentence | None:
    """Say which template a sentence follows; None for one that no template could have written."""
    for moment, pattern, slots in _patterns():
        if match := pattern.fullmatch(sentence):
            return Sentence(moment, dict(zip(slots, match.groups(), strict=True)))
    return None


@functools.cache
def _patterns() -> list[tuple[str, re.Pattern[str], list[str]]]:
    """Return every template as a regular expression, with the slots in the order of its groups."""
    compiled = []
    for moment, templates in MOMENTS.items():
        for template in templates:
            # split by the slots: text, slot, text, slot, …, text
            parts = SLOT.split(template)
            expression = "".join(
                re.escape(part) if index % 2 == 0 else f"({'|'.join(_choices(part))})"
                for index, part in enumerate(parts)
            )
            compiled.append((moment, re.compile(expression), parts[1::2]))
    return compiled


def _choices(slot: str) -> list[str]:
    """Return all that may stand in a slot."""
    if slot in PEOPLE:
        return list(NAMES)
    if slot in PRONOUNS:
        return sorted({_pronoun(slot, forms) for forms in (SHE, HE)})
    if slot == "spot":
        return [f"{near} {landmark}" for near in WORDS["near"] for landmark in WORDS["landmark"]]
    return WORDS[FIXED.get(slot, slot)]


@dataclass(frozen=True)
class Judgement:
    """The judgement of some stories: how many sentences they have, and the shares of them that are right."""

    sentences: int
    grammatical: float  # some template could have written them
    faithful: float  # and everybody in them is who the story said
    copied: float  # they stand in the corpus, word for word


def judge(texts: Iterable[str], corpus: str = "") -> Judgement:
    """Check stories that somebody wrote; the hero and the friend are those of the first sentences that name them."""
    known = {sentence for text in corpus.split(SEPARATOR) for sentence in sentences(text)}
    count = grammatical = faithful = copied = 0
    for text in texts:
        people: dict[str, str] = {}
        for sentence in sentences(text):
            count += 1
            copied += sentence in known
            found = parse(sentence)
            if found is None:
                continue
            grammatical += 1
            for role in ("H", "F"):
                if role in found.slots:
                    people.setdefault(role, found.slots[role])
            faithful += found.agrees(people.get("H", ""), people.get("F", ""))
    return Judgement(count, *(part / max(count, 1) for part in (grammatical, faithful, copied)))
