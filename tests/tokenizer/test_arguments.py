"""What Tokenizer's methods take, and the one sentence for what they do not."""

import numpy as np
import pytest
import tokenizers
from tokenizers import models

from pylm import Tokenizer
from pylm.errors import PylmError, TokenizerError, UsageError
from tests.tokenizer.test_load import as_ranks, small_vocab


@pytest.fixture(scope="module", params=["native", "foreign"])
def tokenizer(request, tmp_path_factory, text_of):
    if request.param == "foreign":
        words = {"<unk>": 0, "a": 1, "b": 2, "c": 5}
        return Tokenizer.from_tokenizer_json(tokenizers.Tokenizer(models.WordLevel(words, unk_token="<unk>")).to_str())
    path = tmp_path_factory.mktemp("ranks") / "r.tiktoken"
    path.write_bytes(as_ranks(small_vocab(text_of(1, 500), 10, holes={260})[0]))
    return Tokenizer.load(path, pattern="gpt2", specials={"<x>": 300})


def test_ids_are_whole_numbers(tokenizer):
    for wrong in ("123", b"12", [1.0], ["1"], [None], np.array([1.5]), [[1]]):
        with pytest.raises(UsageError, match=r"is no id|decoding takes ids") as caught:
            tokenizer.decode(wrong)
        assert caught.value.hint
    assert tokenizer.decode([1]) == tokenizer.decode(np.array([1], dtype=np.int64)) == tokenizer.decode((np.uint16(1),))


def test_an_id_that_is_none_is_the_same_error_everywhere(tokenizer):
    hole = 260 if tokenizer.native else 3
    for wrong in (-1, hole, tokenizer.vocab_size, 1 << 40):
        for ask in (tokenizer.token_bytes, lambda one: tokenizer.decode([one]), tokenizer.decode_stream().push):
            with pytest.raises(TokenizerError, match=r"is none of this tokenizer|is not a token") as caught:
                ask(wrong)
            assert caught.value.hint


def test_bytes_may_lie_in_whatever_holds_bytes(tokenizer):
    for text in (bytearray(b"a"), memoryview(b"a")):
        assert tokenizer.encode(text) == tokenizer.encode(b"a") == tokenizer.encode_batch([text])[0].tolist()


def test_threads_are_counted_from_nought(tokenizer):
    with pytest.raises(UsageError, match="threads is -1"):
        tokenizer.encode_batch(["a"], threads=-1)


def test_special_tokens_of_ranks_are_each_named_once_and_numbered_from_nought(tmp_path, text_of):
    path = tmp_path / "r.tiktoken"
    path.write_bytes(as_ranks(small_vocab(text_of(1, 300), 5)[0]))
    for specials, said in ((["<a>", "<a>"], "<a> is named twice"), ({"<a>": -1}, "id -1"), ({"<a>": "7"}, "id '7'")):
        with pytest.raises(UsageError, match=said) as caught:
            Tokenizer.load(path, pattern="gpt2", specials=specials)
        assert caught.value.hint


def test_no_name_is_no_tokenizer():
    with pytest.raises(UsageError, match="no tokenizer is named"):
        Tokenizer.load("")


@pytest.mark.parametrize("option", ["memory", "documents", "bytes", "threads", "min_frequency", "vocab_size"])
@pytest.mark.parametrize("value", ["2G", 1.5, True])
def test_counts_of_training_are_whole_numbers(option, value, tmp_path):
    with pytest.raises(UsageError, match=f"{option} is {value!r}"):
        Tokenizer.train(tmp_path, **{"vocab_size": 300, option: value})
    with pytest.raises(PylmError):
        Tokenizer.train(tmp_path, vocab_size=300, threads=-1)
