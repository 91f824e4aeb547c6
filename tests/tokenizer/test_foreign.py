"""Vocabularies that our encoder does not run: `tokenizers` does, behind the same interface."""

import json
import pickle

import pytest
import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

from pylm import Tokenizer
from pylm.errors import PylmError, TokenizerError, UsageError

SPECIALS = ["[UNK]", "[PAD]", "<|endoftext|>"]


def word_piece(lines):
    made = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer()
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.decoder = decoders.WordPiece()
    made.train_from_iterator(
        lines, trainers.WordPieceTrainer(vocab_size=900, special_tokens=SPECIALS, show_progress=False)
    )
    return made


def unigram(lines):
    made = tokenizers.Tokenizer(models.Unigram())
    made.normalizer = normalizers.NFKC()
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=700, special_tokens=SPECIALS, unk_token="[UNK]", show_progress=False)
    made.train_from_iterator(lines, trainer)
    return made


def character_bpe(lines):
    made = tokenizers.Tokenizer(models.BPE(unk_token="[UNK]", end_of_word_suffix="</w>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.decoder = decoders.BPEDecoder(suffix="</w>")
    trainer = trainers.BpeTrainer(
        vocab_size=700, special_tokens=SPECIALS, end_of_word_suffix="</w>", show_progress=False
    )
    made.train_from_iterator(lines, trainer)
    return made


@pytest.fixture(scope="module", params=[word_piece, unigram, character_bpe], ids=lambda make: make.__name__)
def pair(request, corpus, tmp_path_factory):
    theirs = request.param(corpus.read_text()[:80_000].replace("<|endoftext|>", "\n").split("\n"))
    theirs.post_processor = processors.TemplateProcessing(
        single="$A <|endoftext|>", special_tokens=[("<|endoftext|>", theirs.token_to_id("<|endoftext|>"))]
    )
    path = tmp_path_factory.mktemp("foreign") / "tokenizer.json"
    theirs.save(str(path))
    return Tokenizer.load(path), theirs


def test_ids_are_those_of_tokenizers(pair, hostile):
    ours, theirs = pair
    assert not ours.native
    for text in hostile:
        assert ours.encode(text, "all") == theirs.encode(text, add_special_tokens=False).ids, repr(text)


def test_special_tokens_in_text_are_text_by_default(pair):
    ours, theirs = pair
    end = theirs.token_to_id("<|endoftext|>")
    assert ours.eot == end
    assert end not in ours.encode("a <|endoftext|> b")
    assert ours.encode("a <|endoftext|> b", {"<|endoftext|>"}).count(end) == 1
    assert ours.encode("[PAD] <|endoftext|>", {"<|endoftext|>"})[-1] == end
    assert theirs.token_to_id("[PAD]") not in ours.encode("[PAD] <|endoftext|>", {"<|endoftext|>"})
    with pytest.raises(TokenizerError, match=r"the special token <\|endoftext\|> at character 2"):
        ours.encode("a <|endoftext|>", "none_raise")
    with pytest.raises(UsageError, match="is no special token"):
        ours.encode("a", {"<nope>"})
    with pytest.raises(UsageError, match="allowed_special is 'some'"):
        ours.encode("a", "some")


def test_the_end_of_a_stream_is_the_whole(pair, hostile):
    ours, _ = pair
    for text in hostile[:150]:
        ids = ours.encode(text, "all")
        stream = ours.decode_stream()
        assert "".join([*(stream.push(token_id) for token_id in ids), stream.finish()]) == ours.decode(ids)


def test_batches_pickles_and_folders_keep_the_ids(pair, hostile, tmp_path):
    ours, _ = pair
    wanted = [ours.encode(text) for text in hostile[:60]]
    assert [ids.tolist() for ids in ours.encode_batch(hostile[:60], threads=2)] == wanted
    copy = pickle.loads(pickle.dumps(ours))
    saved = Tokenizer.load(ours.save(tmp_path / "tok"))
    for other in (copy, saved):
        assert other.identity == ours.identity
        assert [other.encode(text) for text in hostile[:60]] == wanted


def test_identity_is_of_the_vocabulary_and_not_of_white_space(pair):
    ours, theirs = pair
    value = json.loads(theirs.to_str())
    assert Tokenizer.from_tokenizer_json(json.dumps(value, indent=7)).identity == ours.identity
    vocab = value["model"]["vocab"]
    if isinstance(vocab, dict):
        first, second = sorted(vocab, key=vocab.get)[10:12]
        vocab[first], vocab[second] = vocab[second], vocab[first]
    else:
        vocab[10], vocab[11] = vocab[11], vocab[10]
    assert Tokenizer.from_tokenizer_json(json.dumps(value)).identity != ours.identity


def test_lone_surrogates_count_as_unknown_characters(pair):
    ours, _ = pair
    assert ours.encode("a\ud800b") == ours.encode("a\ufffdb")
    assert ours.encode("\ud83d\ude00") == ours.encode("😀")
    assert ours.encode_batch(["\udfff", "b"])[0].tolist() == ours.encode("\ufffd")
    assert ours.encode(b"a\xffb") == ours.encode("a\ufffdb")


def test_ids_of_no_token_are_refused(pair):
    ours, _ = pair
    for wrong in (-1, ours.vocab_size, 1 << 40):
        with pytest.raises(TokenizerError, match="is none of this tokenizer"):
            ours.decode([wrong])


def test_it_has_no_ranks(pair):
    ours, _ = pair
    with pytest.raises(TokenizerError, match="tiktoken ranks cannot hold"):
        ours.to_ranks()


def test_damaged_files_are_one_sentence_or_still_load(pair):
    import random

    rng = random.Random(5)
    _, theirs = pair
    whole = theirs.to_str()
    refused = 0
    for trial in range(80):
        value = json.loads(whole)
        if trial % 2:
            text = list(whole)
            for _ in range(3):
                text[rng.randrange(len(text))] = rng.choice('{}[]",:0a-')
            data = "".join(text)
        else:  # a field gone, or of another kind
            part = value[rng.choice([key for key in value if isinstance(value[key], dict)])]
            part[rng.choice(list(part))] = rng.choice([None, 3, "x", [], {}, [[1]], -1])
            data = json.dumps(value)
        try:
            Tokenizer.from_tokenizer_json(data).encode("some text of no use")
        except PylmError as error:
            refused += 1
            assert "\n" not in error.message
    assert refused > 20
    with pytest.raises(TokenizerError, match="is no JSON"):
        Tokenizer.from_tokenizer_json("[" * 100_000)
