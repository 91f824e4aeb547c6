"""Strings that remember where their characters came from: against characters that tell it themselves."""

import random

import pytest

from pylm.tokenizer.said import Said, joined, mark, mask_of, replaced, spoken, whole

# the template writes these, the conversation those: then a mask can be read off the text
TEMPLATE, BROUGHT = "ab ,\n", "XY\u3000;\u2028"
CASES = {"template": "abß", "brought": "XYŁ"}


def text_of(rng, length):
    letters = "".join(rng.choice(TEMPLATE + BROUGHT) for _ in range(rng.randrange(length)))
    return joined([whole(letter) if letter in BROUGHT else letter for letter in letters])


def told(text):
    return bytes(letter in BROUGHT for letter in str.__str__(text))


def flat(value):
    return [value] if isinstance(value, str) else [part for item in value for part in flat(item)]


def operations(rng, other, third):
    some = rng.choice([None, " ", ",", ";", "a", "X", "ab", "aX", other or "Y"])
    sep = some or rng.choice([" ", "X"])
    count = rng.randrange(-1, 4)
    cut = slice(*(rng.choice([None, *range(-5, 6)]) for _ in range(2)), rng.choice([None, 1, 2, -1]))
    return [
        ("split", (some, count)),
        ("rsplit", (some, count)),
        ("splitlines", (rng.random() < 0.5,)),
        ("partition", (sep,)),
        ("rpartition", (sep,)),
        ("strip", (some,)),
        ("lstrip", (some,)),
        ("rstrip", (some,)),
        ("removeprefix", (sep,)),
        ("removesuffix", (sep,)),
        ("replace", (rng.choice(["", sep, other]), third, count)),
        ("join", ([other, third, "a"],)),
        ("__getitem__", (cut,)),
        ("__add__", (other,)),
        ("__mul__", (rng.randrange(4),)),
    ]


def bare(value):
    if isinstance(value, str):
        return str.__str__(value)
    return [bare(part) for part in value] if isinstance(value, list) else value


def test_every_operation_does_what_str_does_and_keeps_the_marks():
    rng = random.Random(7)
    for _ in range(1500):
        text, other, third = text_of(rng, 14), text_of(rng, 3), text_of(rng, 3)
        assert mask_of(text) == told(text)
        text = whole("X") + text  # then it is one of ours, whatever was drawn
        for name, given in operations(rng, other, third):
            wanted = getattr(bare(text), name)(*map(bare, given))
            made = getattr(text, name)(*given)
            assert made == wanted, (name, given)
            for part in flat(made):
                assert mask_of(part) == told(part), (name, text, given)
        assert [mask_of(letter) for letter in text] == [told(letter) for letter in bare(text)]
        assert replaced(bare(text), "X", other) == bare(text).replace("X", bare(other))
        assert "b" + text == "b" + bare(text) and mask_of("b" + text) == told("b" + bare(text))


def test_letters_that_grow_with_their_case_cannot_be_followed():
    text = joined(["ab", whole("XŁ")])
    assert mask_of(text.upper()) == mask_of(text.lower()) == mask_of(text.title()) == b"\0\0\1\1"
    grown = joined(["aß", whole("X")]).upper()
    assert grown == "ASSX" and mask_of(grown) == b"\1" * 4


def test_all_of_a_conversation_is_marked():
    given = mark({"k": ["v", {"n": 5, "f": 0.5, "t": True, "z": None}], "": ("w",)})
    (key, (value, inner)), (_, last) = given.items()
    assert all(isinstance(text, Said) for text in (key, value, *inner, last[0]))
    assert mask_of(spoken(inner["n"])) == b"\1" and mask_of(spoken(inner["f"])) == b"\1" * 3
    assert inner["t"] is True and inner["z"] is None
    assert not isinstance(spoken(7), Said) and isinstance(spoken([7]), Said)


def test_an_empty_separator_fails_as_with_str():
    for name in ("partition", "rpartition", "split"):
        with pytest.raises(ValueError, match="empty separator"):
            getattr(whole("X"), name)("")
