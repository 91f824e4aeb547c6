"""Tokens that a tokenizer did not have, against the tokenizers package: new ids after the last, all else as it was."""

from __future__ import annotations

from pathlib import Path

import pytest

from pylm.data.stories import stories
from pylm.errors import TokenizerError
from pylm.tokenizer import Tokenizer
from pylm.tokenizer.chat import CHATML
from pylm.tokenizer.grown import grown

NEW = ("<|im_start|>", "<|im_end|>")


@pytest.fixture(scope="module", params=["bpe", "unigram"])
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    text = tmp_path_factory.mktemp("text") / "a.txt"
    text.write_text("".join(stories(60_000, seed=1)))
    return Tokenizer.train(str(text), 400, model=request.param)


def test_ids_follow_the_last_and_all_others_stay(trained: Tokenizer, tmp_path: Path) -> None:
    whole = grown(trained, (*NEW, NEW[0]), CHATML)
    first = trained.vocab_size
    assert whole.vocab_size == first + 2 and [whole.added[name] for name in NEW] == [first, first + 1]
    assert whole.identity != trained.identity and whole.eot == trained.eot
    for text in ("Once upon a time, Zoë said hi.", "<|im_start|>", "".join(stories(2000, seed=3))):
        assert whole.encode(text) == trained.encode(text)
    text = "<|im_start|>user\nHi<|im_end|>\n"
    ids = whole.apply_chat_template([{"role": "user", "content": "Hi"}])
    assert ids[0] == first and first + 1 in ids
    whole.save(tmp_path / "t")
    tokenizers = pytest.importorskip("tokenizers")
    theirs = tokenizers.Tokenizer.from_file(str(tmp_path / "t/tokenizer.json"))
    assert theirs.encode(text, add_special_tokens=False).ids == whole.encode(text, allowed_special="all")
    again = Tokenizer.load(tmp_path / "t")
    assert (again.identity, again.chat_template) == (whole.identity, CHATML)


def test_what_is_there_is_not_added_again(trained: Tokenizer) -> None:
    once = grown(trained, NEW)
    twice = grown(once, NEW)
    assert twice.identity == once.identity and twice.vocab_size == once.vocab_size and twice.chat_template is None


def test_a_token_without_a_name_is_refused(trained: Tokenizer) -> None:
    with pytest.raises(TokenizerError, match="no name for a special token"):
        grown(trained, (" ",))
