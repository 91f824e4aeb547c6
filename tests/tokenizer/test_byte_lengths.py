"""How many bytes each id stands for: tiktoken's for byte-level vocabularies, what `tokenizers` decodes for others."""

import json

import numpy as np
import pytest
import tiktoken
import tokenizers
from tiktoken.load import load_tiktoken_bpe
from tokenizers import decoders, models, pre_tokenizers, trainers

from pylm import Tokenizer
from tests.tokenizer.shapes import SHAPES, added

PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


def test_ranks_are_as_long_as_tiktokens(corpus, tmp_path):
    trained = Tokenizer.train([corpus], vocab_size=2000, pattern="gpt2", specials=["<|endoftext|>", "<|pad|>"])
    (tmp_path / "x.tiktoken").write_bytes(trained.to_ranks())
    ranks = load_tiktoken_bpe(str(tmp_path / "x.tiktoken"))
    specials = {"<|endoftext|>": 2005, "<|turn|>": 2003}  # with holes before, between and none behind
    ours = Tokenizer.load(tmp_path / "x.tiktoken", pattern="gpt2", specials=specials)
    theirs = tiktoken.Encoding("x", pat_str=PATTERN, mergeable_ranks=ranks, special_tokens=specials)
    expected = np.zeros(theirs.n_vocab, int)
    for token in ranks.values():
        expected[token] = len(theirs.decode_single_token_bytes(token))
    lengths = ours.byte_lengths()
    assert lengths.dtype == np.int32 and len(lengths) == ours.vocab_size == theirs.n_vocab
    assert lengths.tolist() == expected.tolist() and (lengths == 0).sum() == 2006 - len(ranks)


@pytest.mark.parametrize("name", ["qwen2_5", "llama3", "phi2"])
def test_a_text_has_the_bytes_of_its_ids(name, text_of, hostile):
    ours = Tokenizer.from_tokenizer_json(json.dumps(SHAPES[name]([text_of(1, 4000)])))
    lengths = ours.byte_lengths()
    for text in [text_of(2, 5000), *hostile[:200]]:
        ids = ours.encode(text)
        assert lengths[ids].sum() == len(ours.decode_bytes(ids)), repr(text)
    marked = "one<|endoftext|>two <|im_end|>" if name == "qwen2_5" else "one<|endoftext|>two"
    if name != "llama3":
        assert lengths[ours.encode(marked, "all")].sum() == len("onetwo ") - (name != "qwen2_5")


@pytest.mark.parametrize("name", SHAPES)
def test_text_behind_another_token_is_as_long_as_tokenizers_says(name, text_of):
    value = SHAPES[name]([text_of(seed, 1500) for seed in range(4)])
    ours, theirs = Tokenizer.from_tokenizer_json(json.dumps(value)), tokenizers.Tokenizer.from_str(json.dumps(value))
    lengths = ours.byte_lengths()
    special = {token["id"] for token in value["added_tokens"] if token["special"]}
    special |= set() if ours.eot is None else {ours.eot}  # command_r's is not flagged as special
    assert set(np.flatnonzero(lengths == 0)) == special
    before = theirs.token_to_id("a")
    seen = 0
    for token in sorted(set(range(theirs.get_vocab_size())) - special):
        text = theirs.decode([before, token, before], skip_special_tokens=False)
        if "\ufffd" not in text:  # bytes that are no character alone
            assert lengths[token] == len(text.encode()) - 2, theirs.id_to_token(token)
            seen += 1
        elif theirs.id_to_token(token).startswith("<0x"):
            assert lengths[token] == 1
    assert seen > 300


def test_what_a_configuration_names_is_special_whatever_its_flag_says(text_of):
    value = SHAPES["qwen2_5"]([text_of(1, 3000)])
    value["added_tokens"] += [
        {"id": 606 + at, **token} for at, token in enumerate(added(("<end>", False, False), ("<fill>", False, False)))
    ]
    config = {"eos_token": {"content": "<end>"}, "pad_token": "<fill>", "bos_token": "the"}
    plain, named = (Tokenizer.from_tokenizer_json(json.dumps(value), given) for given in (None, config))
    ids = [named.added["<end>"], named.added["<fill>"]]
    assert plain.byte_lengths()[ids].tolist() == [5, 6] and named.byte_lengths()[ids].tolist() == [0, 0]
    assert np.delete(plain.byte_lengths(), ids).tolist() == np.delete(named.byte_lengths(), ids).tolist()
    assert plain.byte_lengths()[plain.added["<tool_call>"]] == len("<tool_call>")
    assert plain.byte_lengths()[plain.encode("the")].sum() == 3


def test_an_unknown_token_stands_for_no_text_that_anybody_knows():
    made = tokenizers.Tokenizer(models.Unigram([("<?>", 0.0), ("▁a", -1.0), ("▁", -1.5), ("ä", -2.0)], unk_id=0))
    made.pre_tokenizer, made.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    ours = Tokenizer.from_tokenizer_json(made.to_str())
    assert ours.byte_lengths().tolist() == [0, 2, 1, 2]


def test_vocabularies_that_decode_whole_sequences_have_none(text_of):
    made = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.pre_tokenizer, made.decoder = pre_tokenizers.BertPreTokenizer(), decoders.WordPiece()
    made.train_from_iterator([text_of(1, 3000)], trainers.WordPieceTrainer(vocab_size=300, show_progress=False))
    assert Tokenizer.from_tokenizer_json(made.to_str()).byte_lengths() is None


def test_a_table_is_the_callers_own(text_of):
    ours = Tokenizer.from_tokenizer_json(json.dumps(SHAPES["llama3"]([text_of(1, 2000)])))
    ours.byte_lengths()[:] = 7
    assert set(ours.byte_lengths().tolist()) - {7} and ours.byte_lengths()[ours.eot] == 0
