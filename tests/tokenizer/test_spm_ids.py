"""SentencePiece vocabularies: trained by us or not, the tokenizer.json gives sentencepiece's own ids."""

import io
import json

import pytest
import sentencepiece

from pylm import Tokenizer
from pylm.errors import PylmError, TokenizerError, UsageError
from pylm.tokenizer.scripts import script_of
from pylm.tokenizer.spm_model import NORMAL, parse_model


@pytest.fixture(scope="module", params=["unigram", "sp-bpe"])
def trained(request, corpus, tmp_path_factory):
    tokenizer = Tokenizer.train(corpus, 1500, model=request.param, specials=("<|endoftext|>", "<|x|>"))
    folder = tmp_path_factory.mktemp(request.param) / "tok"
    tokenizer.save(folder)
    return tokenizer, folder


def processor(folder):
    return sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))


def test_hostile_text_gets_sentencepieces_ids(trained, hostile):
    tokenizer, folder = trained
    theirs = processor(folder)
    for text in hostile:
        assert tokenizer.encode(text) == theirs.encode(text), repr(text)


def test_a_long_text_gets_sentencepieces_ids(trained, corpus):
    tokenizer, folder = trained
    text = corpus.read_text()[:150_000].replace("<|endoftext|>", "\n")
    assert tokenizer.encode(text) == processor(folder).encode(text)


def test_text_comes_back_as_it_was(trained, hostile):
    tokenizer, _ = trained
    for text in hostile:
        # U+2581 is how sentencepiece writes a space
        assert tokenizer.decode(tokenizer.encode(text)) == text.replace("\u2581", " ")


def test_batches_in_threads_give_the_same(trained, hostile):
    tokenizer, _ = trained
    one = [ids.tolist() for ids in tokenizer.encode_batch(hostile, threads=1)]
    assert [ids.tolist() for ids in tokenizer.encode_batch(hostile, threads=2)] == one
    assert one == [tokenizer.encode(text) for text in hostile]


def test_folder_and_model_file_load_as_the_same_tokenizer(trained, hostile):
    tokenizer, folder = trained
    for source in (folder, folder / "tokenizer.json", folder / "tokenizer.model"):
        loaded = Tokenizer.load(source)
        assert loaded.identity == tokenizer.identity
        assert [loaded.encode(text) for text in hostile[:50]] == [tokenizer.encode(text) for text in hostile[:50]]
    assert {path.name for path in folder.iterdir()} == {
        "tokenizer.json",
        "tokenizer_config.json",
        "tokenizer.model",
        "tokenizer.vocab",
    }


def test_the_listed_pieces_are_the_models(trained):
    _, folder = trained
    theirs = processor(folder)
    lines = (folder / "tokenizer.vocab").read_text(encoding="utf-8").split("\n")[:-1]
    assert len(lines) == theirs.vocab_size()
    for index, line in enumerate(lines):
        piece, _, score = line.rpartition("\t")
        assert piece == theirs.id_to_piece(index)
        assert float(score) == pytest.approx(theirs.get_score(index), abs=1e-4)


def test_special_tokens_are_text_unless_allowed(trained):
    tokenizer, folder = trained
    end = tokenizer.specials["<|endoftext|>"]
    assert tokenizer.eot == end
    text = "a<|endoftext|>b<unk><|x|>"
    assert tokenizer.encode(text) == processor(folder).encode(text)
    assert tokenizer.encode(text, "all").count(end) == 1
    some = tokenizer.encode(text, {"<|x|>"})
    assert some[-1] == tokenizer.specials["<|x|>"] and end not in some
    assert tokenizer.decode(some) == text


def test_transformers_loads_the_folder_with_the_same_ids(trained, hostile):
    from transformers import AutoTokenizer

    tokenizer, folder = trained
    theirs = AutoTokenizer.from_pretrained(folder)
    for text in hostile[:200]:
        ours = tokenizer.encode(text, "all")
        assert theirs(text, add_special_tokens=False)["input_ids"] == ours, repr(text)
    assert theirs.eos_token_id == tokenizer.eot


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
@pytest.mark.parametrize(
    "options",
    [
        {"normalization_rule_name": "identity"},
        {"normalization_rule_name": "identity", "remove_extra_whitespaces": False, "byte_fallback": True},
        {"normalization_rule_name": "identity", "add_dummy_prefix": False, "split_by_whitespace": False},
        {"normalization_rule_name": "identity", "user_defined_symbols": ["<sep>", "->"], "add_dummy_prefix": False},
    ],
    ids=["defaults", "bytes", "across-words", "symbols"],
)
def test_models_of_others_get_sentencepieces_ids(kind, options, corpus, hostile, tmp_path):
    model = io.BytesIO()
    lines = corpus.read_text()[:150_000].replace("<|endoftext|>", "\n").split("\n")
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_writer=model, model_type=kind, vocab_size=900, minloglevel=2, **options
    )
    (tmp_path / "m.model").write_bytes(model.getvalue())
    theirs = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    ours = Tokenizer.load(tmp_path / "m.model")
    # A symbol of the user's is cut out before spaces are folded by us, after that by sentencepiece
    folds = options.get("remove_extra_whitespaces", True) and "user_defined_symbols" in options
    differ = []
    for text in hostile + ["a<sep>b->c", "<sep>", "x -> y"]:
        if folds and any(symbol in text for symbol in ("<sep>", "->")):
            continue
        # their own names in text are found by `tokenizers` if they hold characters that the model does not know
        if ours.encode(text) != theirs.encode(text) and not any(name in text for name in ("<s>", "</s>", "<unk>")):
            differ.append(text)
    assert differ == []


def test_our_reader_sees_what_sentencepiece_wrote(trained):
    _, folder = trained
    model = parse_model((folder / "tokenizer.model").read_bytes(), "it")
    theirs = processor(folder)
    assert len(model.pieces) == theirs.vocab_size()
    for index, piece in enumerate(model.pieces):
        assert piece.text == theirs.id_to_piece(index)
        assert piece.score == theirs.get_score(index)
        assert (piece.kind == NORMAL) == (
            not any(is_(index) for is_ in (theirs.is_control, theirs.is_unknown, theirs.is_byte))
        )


def test_a_damaged_model_is_one_sentence(trained, tmp_path):
    import random

    rng = random.Random(3)
    _, folder = trained
    whole = (folder / "tokenizer.model").read_bytes()
    path = tmp_path / "bad.model"
    refused = 0
    for trial in range(60):
        data = bytearray(whole[:4000])
        if trial % 2:
            data = data[: rng.randrange(1, len(data))]
        else:
            for _ in range(4):
                data[rng.randrange(len(data))] = rng.randrange(256)
        path.write_bytes(data)
        try:
            Tokenizer.load(path).encode("some text")
        except PylmError as error:
            refused += 1
            assert "\n" not in error.message and len(error.message) < 400
    assert refused > 30


def test_words_and_characters_cannot_be_said(tmp_path, corpus):
    model = io.BytesIO()
    lines = corpus.read_text()[:20_000].split("\n")
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_writer=model, model_type="char", vocab_size=300, minloglevel=2,
        hard_vocab_limit=False,
    )  # fmt: skip
    path = tmp_path / "char.model"
    path.write_bytes(model.getvalue())
    with pytest.raises(TokenizerError, match="word or char kind"):
        Tokenizer.load(path)


def test_bad_requests_are_one_sentence(tmp_path):
    empty = tmp_path / "empty.txt"
    empty.write_text("  \n\n   ")
    short = tmp_path / "short.txt"
    short.write_text("hello world foo bar\n" * 10)
    for model in ("unigram", "sp-bpe"):
        with pytest.raises(TokenizerError, match="there is no text to train on"):
            Tokenizer.train(empty, 1000, model=model)
        with pytest.raises(TokenizerError, match=r"gives a vocabulary of \d+ at most, and 8,000 was asked for"):
            Tokenizer.train(short, 8000, model=model)
        with pytest.raises(TokenizerError, match="cannot hold the bytes, special tokens and characters"):
            Tokenizer.train(short, 290, model=model)
        with pytest.raises(UsageError, match="cannot hold the 256 bytes"):
            Tokenizer.train(short, 200, model=model)
        with pytest.raises(UsageError, match="takes no pattern="):
            Tokenizer.train(short, 1000, model=model, pattern="gpt2")
    with pytest.raises(UsageError, match="takes no character_coverage="):
        Tokenizer.train(short, 1000, character_coverage=0.99)


def test_special_tokens_in_the_text_are_not_learned(trained):
    tokenizer, folder = trained
    pieces = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    names = [entry[0] for entry in pieces] if isinstance(pieces, list) else list(pieces)
    assert not [name for name in names if "endoftext" in name and name not in tokenizer.specials]


def test_the_writing_system_is_told():
    assert script_of("The cat, 123!") == "Latin"
    assert script_of("猫である。名前はまだ無い") == "Japanese"
    assert script_of("人之初，性本善 abc") == "Chinese"
    assert script_of("동해 물과") == "Korean"
    assert script_of("Größe") == "Latin"
    assert script_of("¿¡ 12") == "other"
    assert script_of("हिन्दी") == "Devanagari"
    assert script_of("") == "other"
    assert script_of("😀😀") == "other"
