"""The Tokenizer over the native encoder: training, ids, special tokens, streams, pickles, folders, export."""

import base64
import concurrent.futures
import multiprocessing
import pickle
import subprocess
import sys

import numpy as np
import pytest
import tiktoken
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

import pylm
from pylm import Tokenizer
from pylm.errors import DataError, TokenizerError, UsageError

SPECIALS = ("<|endoftext|>", "<|x|>", "<|x|>y")


@pytest.fixture(scope="module")
def trained(corpus):
    return Tokenizer.train(corpus, 1200, specials=SPECIALS, pattern="cl100k")


@pytest.fixture(scope="module")
def theirs(trained):
    return tokenizers.Tokenizer.from_str(trained.files()["tokenizer.json"].decode())


def test_ids_are_those_of_tokenizers_with_the_same_file(trained, theirs, hostile):
    for text in hostile:
        assert trained.encode(text, "all") == theirs.encode(text, add_special_tokens=False).ids, repr(text)


def test_ids_are_those_of_tiktoken_with_the_exported_ranks(trained, hostile):
    lines = (line.split() for line in trained.to_ranks().splitlines())
    ranks = {base64.b64decode(token): int(rank) for token, rank in lines}
    pattern = (
        r"""'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|"""
        r"""\s++$|\s*[\r\n]|\s+(?!\S)|\s"""
    )
    encoding = tiktoken.Encoding("t", pat_str=pattern, mergeable_ranks=ranks, special_tokens=trained.specials)
    for text in hostile:
        assert trained.encode(text, "all") == encoding.encode(text, allowed_special="all"), repr(text)


def test_special_tokens_follow_the_merges(trained):
    assert trained.vocab_size == 1200
    assert trained.specials == {"<|endoftext|>": 1197, "<|x|>": 1198, "<|x|>y": 1199}
    assert (trained.eot, trained.eot_token) == (1197, "<|endoftext|>")
    assert trained.native and trained.pattern == "cl100k"


def test_which_special_tokens_may_stand_in_text(trained):
    text = "a<|x|>y<|endoftext|>"
    assert trained.encode(text, "all")[1:] == [1199, 1197]
    assert not {1197, 1198, 1199} & set(trained.encode(text))
    assert trained.encode(text, {"<|x|>"}) == [*trained.encode("a"), 1198, *trained.encode("y<|endoftext|>")]
    assert trained.encode(text, ["<|endoftext|>"])[-1] == 1197
    assert [ids.tolist() for ids in trained.encode_batch([text, "b"], allowed_special="all")] == [
        trained.encode(text, "all"),
        trained.encode("b"),
    ]
    with pytest.raises(TokenizerError, match=r"holds the special token <\|x\|>y at character 1"):
        trained.encode(text, "none_raise")
    with pytest.raises(TokenizerError, match="at character 0"):
        trained.encode_batch(["fine", b"<|x|>"], allowed_special="none_raise")
    assert trained.encode("fine", "none_raise") == trained.encode("fine")
    with pytest.raises(UsageError, match="is no special token of this tokenizer"):
        trained.encode(text, {"<|y|>"})
    for text in ("all", "none"):
        assert trained.decode(trained.encode("a<|x|>", text)) == "a<|x|>"
    assert trained.decode([*trained.encode("a"), 1198, 1197], skip_special=True) == "a"


@given(st.binary(max_size=200))
@settings(deadline=None, max_examples=200)
def test_any_bytes_come_back(trained, data):
    assert trained.decode_bytes(trained.encode_array(data)) == data


@given(st.text(max_size=100))
@settings(deadline=None, max_examples=200)
def test_a_stream_gives_whole_characters_and_the_whole_text(trained, text):
    ids = trained.encode(text)
    stream = trained.decode_stream()
    pieces = [stream.push(token_id) for token_id in ids]
    assert "".join([*pieces, stream.finish()]) == text
    so_far = b""
    for token_id, piece in zip(ids, pieces, strict=True):
        so_far += trained.token_bytes(token_id)
        sure = so_far.decode("utf-8", "ignore")
        assert sure.startswith(piece) and "\ufffd" not in piece.replace("\ufffd", "", text.count("\ufffd"))
        so_far = so_far[len(piece.encode()) :]


@given(st.lists(st.integers(0, 1199), max_size=60))
@settings(deadline=None, max_examples=200)
def test_a_stream_of_any_ids_is_what_decode_returns(trained, ids):
    stream = trained.decode_stream()
    assert "".join([*(stream.push(token_id) for token_id in ids), stream.finish()]) == trained.decode(ids)


def test_arrays_are_as_narrow_as_the_vocabulary(trained):
    ids = trained.encode_array("hello world")
    assert ids.dtype == np.uint16 and ids.tolist() == trained.encode("hello world")
    assert trained.encode_array("").shape == (0,)
    assert trained.decode(ids) == "hello world"
    assert trained.decode(np.array(ids, dtype=np.int64)) == "hello world"


def test_batches_do_not_depend_on_threads(trained, hostile):
    wanted = [trained.encode(text) for text in hostile]
    for threads in (0, 1, 2, 7):
        assert [ids.tolist() for ids in trained.encode_batch(hostile, threads)] == wanted
    assert trained.encode_batch([]) == []
    with pytest.raises(TypeError, match="encode_batch takes a sequence"):
        trained.encode_batch("abc")


def test_ids_of_no_token_are_refused(trained):
    for wrong in (1200, -1, 1 << 40):
        with pytest.raises(TokenizerError, match=f"the id {wrong} is none of this tokenizer"):
            trained.decode([5, wrong])


def encode_elsewhere(tokenizer, text):
    return tokenizer.encode(text, "all"), tokenizer.identity, tokenizer.chat_template


def test_it_crosses_to_worker_processes(trained):
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        there = pool.submit(encode_elsewhere, trained, "one<|x|>two 😀").result()
    assert there == (trained.encode("one<|x|>two 😀", "all"), trained.identity, None)
    assert pickle.loads(pickle.dumps(trained)).specials == trained.specials


def test_a_folder_keeps_everything(trained, hostile, tmp_path):
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    folder = trained.save(tmp_path / "tok")
    assert sorted(path.name for path in folder.iterdir()) == ["tokenizer.json", "tokenizer_config.json"]
    again = Tokenizer.load(folder)
    assert (again.identity, again.eot, again.specials) == (trained.identity, trained.eot, trained.specials)
    assert again.files() == trained.files()
    for loaded in (
        AutoTokenizer.from_pretrained(folder),
        PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json")),
    ):
        for text in hostile[:200]:
            assert loaded(text, add_special_tokens=False)["input_ids"] == trained.encode(text, "all"), repr(text)
    assert AutoTokenizer.from_pretrained(folder).eos_token_id == trained.eot


def test_saving_replaces_tokenizers_and_nothing_else(trained, tmp_path):
    trained.save(tmp_path / "tok")
    trained.save(tmp_path / "tok")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(UsageError, match=r"holds thesis.txt, which is no part of a tokenizer"):
        trained.save(tmp_path / "mine")
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError, match="is no folder"):
        trained.save(tmp_path / "file")
    with pytest.raises(TokenizerError, match="cannot write"):
        trained.save("/proc/nope/tok")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "mine", "tok"]


def test_nothing_is_left_of_a_save_that_fails(trained, tmp_path, monkeypatch):
    from pylm.tokenizer import folder

    trained.save(tmp_path / "tok")
    before = (tmp_path / "tok" / "tokenizer.json").read_bytes()

    def full(path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(folder, "flush_folder", full)
    with pytest.raises(TokenizerError, match="no space left on device"):
        trained.save(tmp_path / "tok")
    assert [path.name for path in tmp_path.iterdir()] == ["tok"]
    assert (tmp_path / "tok" / "tokenizer.json").read_bytes() == before


def test_the_identity_names_vocabulary_pattern_and_specials(corpus, trained):
    assert len(trained.identity) == 64
    assert Tokenizer.train(corpus, 1200, specials=SPECIALS, pattern="cl100k", threads=1).identity == trained.identity
    for other in (
        {"specials": SPECIALS[:2], "vocab_size": 1199, "pattern": "cl100k"},
        {"specials": SPECIALS, "vocab_size": 1199, "pattern": "cl100k"},
        {"specials": SPECIALS, "vocab_size": 1200, "pattern": "gpt2"},
    ):
        size = other.pop("vocab_size")
        assert Tokenizer.train(corpus, size, **other).identity != trained.identity


def test_training_goes_on_from_a_tokenizer(corpus, trained, tmp_path):
    folder = trained.save(tmp_path / "tok")
    further = Tokenizer.train(corpus, 1500, continue_from=str(folder))
    assert further.identity == Tokenizer.train(corpus, 1500, specials=SPECIALS, pattern="cl100k").identity
    assert list(further.specials) == list(SPECIALS)
    with pytest.raises(UsageError, match="was trained with the pattern cl100k, not gpt2"):
        Tokenizer.train(corpus, 1500, continue_from=str(folder), pattern="gpt2")
    with pytest.raises(UsageError):
        Tokenizer.train(corpus, 1000, continue_from=str(folder))


def test_chat_brings_roles_and_a_template(corpus, tmp_path):
    tokenizer = Tokenizer.train(corpus, 1000, chat=True)
    assert list(tokenizer.specials) == ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    assert tokenizer.eot == 997
    ids = Tokenizer.load(tokenizer.save(tmp_path / "t")).apply_chat_template(
        [{"role": "user", "content": "<|im_end|>"}]
    )
    assert ids.count(999) == 1 and ids[0] == 998


def test_requests_that_cannot_be(corpus, tmp_path):
    spaces = tmp_path / "spaces.txt"
    spaces.write_text(" \n \t ")
    empty = tmp_path / "empty.txt"
    empty.write_text("")
    short = tmp_path / "short.txt"
    short.write_text("a small text")
    wrong = tmp_path / "wrong.txt"
    wrong.write_bytes(b"fine \xff text " * 100)
    lacks = tmp_path / "x.jsonl"
    lacks.write_text('{"text": "a b c d"}\n{"body": "x"}\n')
    cases = [
        (empty, {}, "no text"),
        (spaces, {}, "no text|white"),
        (short, {}, r"merges|vocabulary"),
        (wrong, {}, r"wrong.txt: byte 5 is not UTF-8"),
        (lacks, {}, r"x.jsonl.*line 2|x.jsonl:2"),
        (tmp_path / "none.txt", {}, "none.txt"),
        (tmp_path, {"pattern": "(("}, r"\(\("),
        (corpus, {"vocab_size": 256}, "a vocabulary of 256 cannot hold the 256 bytes and 1 special"),
        (corpus, {"specials": ("<a>", "<a>")}, "named twice"),
        (corpus, {"specials": ("",)}, "is empty"),
        (corpus, {"model": "bep"}, "no model bep"),
        (corpus, {"vocabsize": 3}, "training takes no vocabsize"),
        (corpus, {"invalid": "ignore"}, "neither error nor replace"),
        (corpus, {"documents": 0}, "documents= is less than 1"),
        ([], {}, "no source"),
    ]
    for source, options, said in cases:
        size = options.pop("vocab_size", 2000)
        with pytest.raises((TokenizerError, UsageError, DataError), match=said) as caught:
            Tokenizer.train(source, size, **options)
        assert "\n" not in caught.value.message, caught.value.message
    assert Tokenizer.train(wrong, 260, invalid="replace").vocab_size == 260


def test_a_part_of_the_text_is_enough_if_asked(corpus, tmp_path):
    documents = corpus.read_text().split("<|endoftext|>")
    few = tmp_path / "few.txt"
    few.write_text("<|endoftext|>".join(documents[:20]))
    assert Tokenizer.train(corpus, 600, documents=20).identity == Tokenizer.train(few, 600).identity
    assert Tokenizer.train(corpus, 600, documents=40).identity != Tokenizer.train(few, 600).identity


def test_the_package_is_light_until_a_name_is_used():
    code = (
        "import sys, pylm; assert 'numpy' not in sys.modules and 'pylm.tokenizer' not in sys.modules;"
        "assert 'Tokenizer' in dir(pylm); pylm.Tokenizer; assert 'torch' not in sys.modules\n"
        "try: pylm.Nothing\n"
        "except AttributeError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "module 'pylm' has no attribute 'Nothing'\n"
    assert pylm.Tokenizer is Tokenizer


def test_the_typed_keywords_are_the_options():
    """TrainKeywords exists for type checkers only: read it from the source."""
    import ast
    import dataclasses
    import inspect

    from pylm.tokenizer import train

    classes = {
        node.name: node for node in ast.walk(ast.parse(inspect.getsource(train))) if isinstance(node, ast.ClassDef)
    }
    typed = [node.target.id for node in classes["TrainKeywords"].body if isinstance(node, ast.AnnAssign)]
    options = [field.name for field in dataclasses.fields(train.TrainOptions)]
    assert typed == [name for name in options if name not in ("sources", "vocab_size")]
