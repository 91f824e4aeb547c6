"""Regexes mean the same here and in Hugging Face's engine, or it is said that they do not."""

import json
import re
import warnings
from pathlib import Path

import pytest
import tokenizers
from tokenizers import pre_tokenizers

from pylm import Tokenizer
from pylm._rust import Bpe, portable_pattern
from pylm.errors import TokenizerError, UsageError
from pylm.tokenizer.byte_alphabet import byte_to_char
from tests.tokenizer.shapes import LLAMA3, added, byte_level, split

BYTES = list(byte_to_char())
# what Rust's engines read alone, or in another way than Oniguruma
TWO_WAYS = [
    r"\w+|\s+|[^\w\s]+",
    r"\W|\w{1,4}",
    r"\b\p{L}+\b|\d+\B|.",
    r"[\w']+|[^\W_]|\s",
    r"\pL+|\PL",
    "^.|.$|[ab]+",
    "(?m)^.|.$|[ab]+",
    "(?s).{1,7}",
    "[[:alpha:]]+|[[:^alpha:][:digit:]]+",
    r"\p{N}{1,3}+|\D",
    "(?i)strasse|s+|[k-m]|.",
    "(?i:ss|st)|(?i:ﬁ|é)",
    r"\xe9|\u00e9|\x{e9}+|[\xe0-\xff]{2}",
    "(?<one>a|b)(?P<two>c)?|.{2}?",
    r"[a-z&&[^aeiou]]+|[\p{L}--a-z]",
    r"\p{Script=Greek}+|.",
    r"\p{L}+\Z|.",
    r"(?:\n|\A)\w|.",
]
TEXTS = [
    "", "a", "\n", "ab\n\n", "ab\ncd\n", "می‌خواهم कि‍ 👩‍👩‍👧 a‍b", "x² ½ ³¹ ①Ⅳ", "straße STRASSE ﬁﬂ ﬆ ſtS Kk K",
    "é É ééÿ ¡", "α Ωβ word_under-score don't", "1234567 12 3456", "  \n\n a\r\nb\u0085c\u2028d ",
    "pL PLp LpL", "a_b c\tb$^",
]  # fmt: skip


def pieces_here(pattern, text):
    """Lengths of pre-tokens as our engine cuts them: with these ranks each is one token."""
    bpe = Bpe.from_ranks(RANKS, pattern, [])
    return [len(bpe.decode_bytes([token])) for token in bpe.encode(text)]


def pieces_there(pattern, text):
    cut = pre_tokenizers.Split(tokenizers.Regex(pattern), "isolated").pre_tokenize_str(text)
    return [len(piece.encode()) for piece, _ in cut]


def ranks_of(texts):
    """Ranks that hold every stretch of the texts, so that each pre-token is one token."""
    import base64

    found = {bytes([byte]): None for byte in BYTES}
    for text in texts:
        data = text.encode()
        for size in range(2, len(data) + 1):
            found |= dict.fromkeys(data[start : start + size] for start in range(len(data) - size + 1))
    return b"".join(base64.b64encode(token) + b" %d\n" % rank for rank, token in enumerate(found))


RANKS = ranks_of(TEXTS)


@pytest.mark.parametrize("pattern", TWO_WAYS)
def test_what_two_engines_read_in_two_ways_is_spelled_so_that_they_agree(pattern):
    spelled, parts = portable_pattern(pattern)
    assert parts and spelled != pattern
    assert portable_pattern(spelled) == (spelled, [])
    differed = 0
    for text in TEXTS:
        here = pieces_here(spelled, text)
        assert here == pieces_here(pattern, text), repr(text)
        assert here == pieces_there(spelled, text), repr(text)
        try:
            differed += pieces_there(pattern, text) != here
        except BaseException:  # it does not compile there
            differed += 1
    assert differed or pattern.startswith(("(?:", r"\W", "(?<", r"\xe9"))


@pytest.mark.parametrize("pattern", [LLAMA3, r"\p{L}+|\s+(?!\S)|.", r"[^\r\n\p{L}]?+\p{L}++|\s", r"(?<=a)b|(?:c|d)*?e"])
def test_what_both_read_alike_stays_as_it_is(pattern):
    assert portable_pattern(pattern) == (pattern, [])
    assert all(pieces_here(pattern, text) == pieces_there(pattern, text) for text in TEXTS)


@pytest.mark.parametrize("pattern", TWO_WAYS[:9])
def test_a_trained_tokenizer_loads_elsewhere_with_the_same_ids(pattern, tmp_path, hostile):
    (tmp_path / "text.txt").write_text("می‌خواهم कि‍ word Word x² words\n" * 40 + "\n".join(TEXTS), encoding="utf-8")
    ours = Tokenizer.train(tmp_path / "text.txt", vocab_size=300, pattern=pattern, threads=1)
    saved = Tokenizer.load(ours.save(tmp_path / "tok"))
    theirs = tokenizers.Tokenizer.from_file(str(tmp_path / "tok" / "tokenizer.json"))
    assert (saved.identity, saved.pattern) == (ours.identity, ours.pattern) and saved.native
    for text in [*TEXTS, *hostile[:150]]:
        assert ours.encode(text, "all") == saved.encode(text, "all") == theirs.encode(text).ids, repr(text)


@pytest.mark.parametrize("pattern, part", [(r"(a)\1|.", r"\1"), (r"\Ka|.", r"\K"), ("(?x) a", "(?x"), ("(a*)*b", "*")])
def test_training_refuses_what_no_spelling_is_alike_of(pattern, part, tmp_path):
    (tmp_path / "text.txt").write_text("some text")
    with pytest.raises(UsageError) as caught:
        Tokenizer.train(tmp_path / "text.txt", vocab_size=300, pattern=pattern)
    assert caught.value.message.startswith(f"the pattern's {part}") and caught.value.hint
    with pytest.raises(UsageError, match="is not a regex that compiles"):
        Tokenizer.train(tmp_path / "text.txt", vocab_size=300, pattern="(a")


BEFORE = [(r"\w+|\s+|[^\w\s]+", r"\w:"), (r"(a)\1|.", r"\1 refers to"), (r"(?s).{1,7}", "(?s), .")]


@pytest.mark.parametrize("pattern, part", BEFORE)
def test_a_folder_of_ours_from_before_keeps_its_ids_and_says_which_part_differs(pattern, part, tmp_path):
    merges = [(BYTES.index(pair[0]), BYTES.index(pair[1])) for pair in (b"aa", b"bc", b" a")]
    before = Bpe.from_merges(merges, pattern, ["<|endoftext|>"])
    (tmp_path / "tokenizer.json").write_text(before.to_tokenizer_json())
    with pytest.warns(UserWarning, match=re.escape(f"read in another way, for {part}")) as caught:
        ours = Tokenizer.load(tmp_path)
    assert caught[0].filename == __file__
    assert ours.native and ours.pattern == pattern and ours.identity == before.identity
    for text in TEXTS:
        assert ours.encode(text) == before.encode(text).tolist()
    with pytest.warns(UserWarning):
        again = Tokenizer.load(ours.save(tmp_path / "again"))
    assert again.identity == ours.identity
    # the same file with a difference that another program has made means what it means there
    value = json.loads(before.to_tokenizer_json())
    value["post_processor"] = None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            other = Tokenizer.from_tokenizer_json(json.dumps(value))
        except TokenizerError as error:
            assert "(?s)" in pattern and "no sound tokenizer.json" in error.message
        else:
            assert not other.native


FOREIGN = [r"\w+|\s+|[^\w\s]+", "^.|[ab]+|.", "[[:alpha:]]+|.", r"\X", "gpt2", "cl100k", r"\p{N}{1,3}+|\D", r"\b.|."]


@pytest.mark.parametrize("regex", FOREIGN)
def test_a_foreign_regex_has_the_meaning_that_it_has_there(regex, text_of, hostile):
    lines = [text_of(3, 1500).replace("gpt2", ""), "gpt2 gpt2 cl100k gpt2 " * 9, "x² y² ab\nab\n" * 9]
    value = byte_level(lines, split(regex), added(("<|endoftext|>", True, False)))
    theirs = tokenizers.Tokenizer.from_str(json.dumps(value))
    ours = Tokenizer.from_tokenizer_json(json.dumps(value))
    assert not ours.native
    for text in [*TEXTS, *lines, *hostile[:150]]:
        assert ours.encode(text, "all") == theirs.encode(text).ids, repr(text)


def test_a_pattern_that_takes_too_many_steps_is_an_error_and_soon():
    bpe = Bpe.from_ranks(RANKS, r"(a*)*\1b", [])
    with pytest.raises(TokenizerError, match="cannot be followed in the text from byte 0 on"):
        bpe.encode("a" * 60 + "c")
    for count in (100, 2_000):
        assert len(Bpe.from_ranks(RANKS, r"(?:a(?=.))*b|\w|\s", []).encode("a" * count)) == count
    steep = Bpe.from_ranks(RANKS, r"(?:a(?=.))*b|\w|\s", [])
    for encode in (lambda: steep.encode("a" * 1_200_000), lambda: steep.encode_batch(["a" * 1_200_000, "b"] * 2, 2)):
        with pytest.raises(TokenizerError, match="cannot be followed"):
            encode()


def test_a_special_token_that_is_written_as_another_token_is_refused_in_training(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("the cat and the other cats of the whole house\n" * 50)
    for special in ("é", "a", "the"):  # a byte's letter in tokenizer.json, a byte itself, a merge
        with pytest.raises(TokenizerError, match=f"the special token '{special}' is written as another token"):
            Tokenizer.train(tmp_path / "a.txt", 266, specials=["<|end|>", special])


def test_a_file_of_ours_with_such_a_token_loads_as_it_did_and_says_so(tmp_path: Path) -> None:
    json_text = Bpe.from_merges([], "gpt2", ["<|end|>", "é"]).to_tokenizer_json()
    (tmp_path / "tokenizer.json").write_text(json_text)
    with pytest.warns(UserWarning, match="was trained with the special token 'é', which other programs take for"):
        tok = Tokenizer.load(tmp_path)
    assert tok.encode("é", allowed_special="all") == [257]
    assert tok.decode([257]) == "é" and len(tok.encode("é")) == 2
    other = json.loads(json_text)  # somebody else's file that says so is no file of ours
    other["model"]["vocab"]["x y"] = 258
    (tmp_path / "tokenizer.json").write_text(json.dumps(other))
    with pytest.raises(TokenizerError, match="depend on who reads it"):
        Tokenizer.load(tmp_path)
