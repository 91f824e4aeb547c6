"""Words and sentences as spaCy's blank English tokenizer and its sentencizer cut them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from pylm import _rust

PEERS = Path(__file__).resolve().parents[4] / ".venv/peers-data/bin/python"
# what spaCy said, words between spaces, and how many sentences
SAID = [
    ("Hello, world! It's a well-known fact.", "Hello , world ! It 's a well - known fact .", 2),
    ("I can't, you won't; they'd've gone.", "I ca n't , you wo n't ; they 'd 've gone .", 1),
    (
        "We cannot, and cannot. Gonna? Gotta go, gonna go.",
        "We can not , and can not . Gon na ? Got ta go , gon na go .",
        3,
    ),
    (
        "Mr. Smith, Ph.D., met Dr. No at 5 p.m. in St. Louis, Mo.",
        "Mr. Smith , Ph.D. , met Dr. No at 5 p.m. in St. Louis , Mo.",
        1,
    ),
    ("It cost $5.50 (or 10km, 12%, 3kg).", "It cost $ 5.50 ( or 10 km , 12 % , 3 kg ) .", 1),
    ("See https://example.com/a?b=c#d, or mail a.b@c.org.", "See https://example.com/a?b=c#d , or mail a.b@c.org .", 1),
    ("end.Next begins... and/or w/o.", "end . Next begins ... and/or w/o .", 2),
    ("\"Quoted,\" she said: 'yes'.", "\" Quoted , \" she said : ' yes ' .", 1),
    ("The 1990s' end: 3-4 days, 10-year-old.", "The 1990s ' end : 3 - 4 days , 10 - year - old .", 1),
    ("a...b c…d … ....", "a ... b c … d … ....", 1),
    ("He said “no” – never—ever.", "He said “ no ” – never — ever .", 1),
    (":) :-( <3 ^_^ xD", ":) :-( <3 ^_^ xD", 1),
    ("U.S. and U.K. are e.g. states, i.e. parts.", "U.S. and U.K. are e.g. states , i.e. parts .", 1),
    ("x=y; a+b 2+2 3*4 -5 +5", "x = y ; a+b 2 + 2 3 * 4 -5 +5", 1),
    ("Привет, мир! Это «тест».", "Привет , мир ! Это « тест » .", 2),
    ("Ça va? ¿Qué tal? L'été, aujourd'hui.", "Ça va ? ¿ Qué tal ? L'été , aujourd'hui .", 3),
    ("مرحبا، كيف حالك؟", "مرحبا ، كيف حالك ؟", 1),
    ("नमस्ते। आप कैसे हैं?", "नमस्ते । आप कैसे हैं ?", 2),
    ("12a.m. 5pm 100,000 1.5 1,5", "12 a.m. 5 pm 100,000 1.5 1,5", 1),
    ("[1][2](3){4}<5>", "[ 1][2](3){4}<5 >", 1),
    ("can’t don’t it’s James’ James's", "ca n’t do n’t it ’s James ’ James 's", 1),
    ("😀 ok😀 👍🏽", "😀 ok 😀 👍 🏽", 1),
    ("#tag @user 50°C 20°F.", "# tag @user 50 ° C 20 ° F .", 1),
    ("A. B. a. b. Z.", "A. B. a. b. Z.", 1),
    ("fo'c'sle o'clock ma'am y'all", "fo'c'sle o'clock ma'am y' all", 1),
    ("foo/bar foo_bar foo--bar foo---bar foo~bar", "foo / bar foo_bar foo -- bar foo --- bar foo ~ bar", 1),
    ("ABC.DEF abc.def Abc.Def abc.Def", "ABC.DEF abc.def Abc . Def abc . Def", 3),
]
ASK = """
import json, sys
from datatrove.utils.text import split_into_sentences, split_into_words
texts = json.load(sys.stdin)
print(json.dumps([[split_into_words(text, "eng"), len(split_into_sentences(text, "eng"))] for text in texts]))
"""


@pytest.mark.parametrize(("text", "words", "sentences"), SAID)
def test_words_and_sentences_are_those_of_spacy(text: str, words: str, sentences: int) -> None:
    assert " ".join(_rust.words_of(text)) == words
    assert _rust.sentences_of(text) == sentences


@pytest.mark.skipif(not PEERS.exists(), reason="make peers-data installs spaCy")
def test_spacy_says_so() -> None:
    texts = json.dumps([text for text, _, _ in SAID])
    done = subprocess.run([str(PEERS), "-c", ASK], input=texts, capture_output=True, text=True, check=True)
    answers = json.loads(done.stdout.splitlines()[-1])
    assert [(" ".join(words), count) for words, count in answers] == [(words, count) for _, words, count in SAID]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("你好，世界。", "你 好 ， 世 界 。"),
        ("カタカナとABC", "カ タ カ ナ と ABC"),
        ("ภาษาไทยนี้", "ภ า ษ า ไ ท ย นี้"),
        ("កម្ពុជា ၁၂", "ក ម្ ពុ ជា ၁ ၂"),
    ],
)
def test_characters_are_words_where_there_are_no_spaces_between_them(text: str, words: str) -> None:
    assert " ".join(_rust.words_of(text)) == words


@pytest.mark.parametrize("text", ["", " ", "\n\t \u3000"])
def test_nothing_has_no_words_and_one_sentence(text: str) -> None:
    assert (_rust.words_of(text), _rust.sentences_of(text)) == ([], 1)
