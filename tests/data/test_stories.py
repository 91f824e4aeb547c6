"""The demo's stories: the same for a seed, grammatical, faithful to their people, seldom the same sentence twice."""

import random
import re

import pytest

from pylm.data.stories import SEPARATOR, judge, parse, sentences, stories, story


def documents(size: int, seed: int) -> list[str]:
    return [text.removesuffix(SEPARATOR) for text in stories(size, seed)]


def test_a_seed_is_a_corpus_and_size_only_adds_to_it() -> None:
    short, long = "".join(stories(20_000, 7)), "".join(stories(60_000, 7))
    assert long.startswith(short) and len(short) >= 20_000
    assert "".join(stories(20_000, 8)) != short
    assert long.isascii()


def test_every_sentence_parses_and_everybody_stays_who_they_are() -> None:
    seen = set()
    for text in documents(300_000, 1):
        parsed = [parse(sentence) for sentence in sentences(text)]
        people = {slot: name for found in parsed if found for slot, name in found.slots.items() if slot in ("H", "F")}
        assert 8 <= len(parsed) <= 14
        for found in parsed:
            assert found is not None and found.agrees(people["H"], people["F"]), text
            seen.add(found.moment)
    assert len(seen) == 12  # every moment of a story was met


def test_what_no_template_wrote_does_not_parse() -> None:
    rng = random.Random(2)
    good = 0
    for _ in range(500):
        words = rng.choice(sentences(story(rng))).split(" ")
        one, other = rng.sample(range(len(words)), 2)
        words[one], words[other] = words[other], words[one]
        good += parse(" ".join(words)) is not None
    assert good < 50  # two colours or two names in each other's place are good English too
    assert parse("Once upon a time.") is None
    assert parse("At last, Lily found the red ball under.") is None
    assert parse("At last, Lily found the red ball under the bush.") is not None


def test_another_name_or_pronoun_is_seen() -> None:
    found = parse("Then she saw something red under the bush, and it was the ball.")
    assert found is not None
    assert found.agrees("Lily", "Tom") and not found.agrees("Tom", "Lily")
    found = parse("Lily hugged Tom, and both of them were happy.")
    assert found is not None
    assert found.agrees("Lily", "Tom") and not found.agrees("Lily", "Ben")


def test_few_sentences_of_a_new_story_stand_in_a_corpus() -> None:
    corpus = {sentence for text in documents(3_000_000, 1) for sentence in sentences(text)}
    new = [sentence for text in documents(60_000, 2) for sentence in sentences(text)]
    assert sum(sentence in corpus for sentence in new) / len(new) < 0.12


def five_grams(texts: list[str], count: int, seed: int) -> list[str]:
    """Stories of a model that knows what follows four words, and shorter ends of them where it has met no more."""
    rng = random.Random(seed)
    follows: dict[tuple[str, ...], list[str]] = {}
    for text in texts:
        words = re.findall(r"\w+|[^\w ]| ", text) + [SEPARATOR]
        for place, word in enumerate(words):
            for length in range(5):
                if place >= length:
                    follows.setdefault(tuple(words[place - length : place]), []).append(word)
    made = []
    for _ in range(count):
        words = ["Long"]
        while words[-1] != SEPARATOR and len(words) < 600:
            length = next(length for length in (4, 3, 2, 1, 0) if tuple(words[-length:] if length else ()) in follows)
            words.append(rng.choice(follows[tuple(words[-length:] if length else ())]))
        made.append("".join(words).removesuffix(SEPARATOR))
    return made


def test_new_stories_pass_the_judge_and_a_five_gram_model_does_not() -> None:
    texts = documents(1_500_000, 1)
    corpus = SEPARATOR.join(texts)
    new = judge(documents(60_000, 2), corpus)
    assert new.sentences > 700 and new.grammatical == new.faithful == 1.0 and new.copied < 0.12
    assert judge(texts[:50], corpus).copied == 1.0
    guessed = judge(five_grams(texts, 60, 3), corpus)
    assert guessed.sentences > 300 and guessed.faithful < 0.5


def test_the_judge_sees_another_name() -> None:
    text = "Long ago, a kind cat named Lily lived by the river and liked to run. Lily and Tom were friends, and they "
    text += "shared their soup every day.\nAt last, Tom found the red ball under the bush.\n"
    assert judge([text]).faithful == 1.0
    assert judge([text.replace("last, Tom", "last, Ben")]).faithful == pytest.approx(2 / 3)
    assert judge([text.replace("found the red", "found red the")]).grammatical == pytest.approx(2 / 3)
    assert judge([]).sentences == 0
