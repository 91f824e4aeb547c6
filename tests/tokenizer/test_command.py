"""`pylm tokenizer`, as it is typed."""

import io
import json
import os
import signal
import subprocess
import sys
import time

import pytest
from tiktoken.load import load_tiktoken_bpe

from pylm import Tokenizer
from pylm.cli import run

PYLM = [sys.executable, "-m", "pylm", "tokenizer"]


@pytest.fixture(scope="module")
def tok(corpus, tmp_path_factory):
    folder = tmp_path_factory.mktemp("command") / "tok"
    assert run(["tokenizer", "train", str(corpus), "--vocab-size", "1k", "--out", str(folder), "--chat"]) == 0
    return folder


@pytest.fixture
def pylm(capfdbinary):
    """Runs a command and returns exit code, stdout and stderr."""

    def call(*words):
        code = run(["tokenizer", *map(str, words)])
        out, err = capfdbinary.readouterr()
        return code, out.decode(), err.decode()

    return call


def test_train_writes_what_the_library_trains(tok, corpus):
    assert sorted(path.name for path in tok.iterdir()) == ["tokenizer.json", "tokenizer_config.json"]
    assert Tokenizer.load(tok).identity == Tokenizer.train(corpus, 1000, chat=True).identity


def test_train_tells_facts_as_json_and_exports_ranks(pylm, corpus, tmp_path):
    out = tmp_path / "t"
    options = [
        "--pattern",
        "gpt2",
        "--special",
        "<a>",
        "--special",
        "<b>",
        "--min_frequency",
        2,
        "--export",
        "tiktoken",
    ]
    code, said, _ = pylm("train", corpus, "--vocab-size", 700, "--out", out, *options, "--json")
    facts = json.loads(said)
    assert code == 0 and facts["vocab_size"] == 700 and facts["specials"] == {"<a>": 698, "<b>": 699}
    assert facts["documents"] == 200 and facts["bytes"] > 300_000 and facts["replaced_bytes"] == 0
    loaded = Tokenizer.load(out)
    assert loaded.identity == facts["identity"] and loaded.eot_token == "<a>"
    ranks = load_tiktoken_bpe(str(out / "ranks.tiktoken"))
    assert len(ranks) == 698
    assert Tokenizer.load(out / "ranks.tiktoken", pattern="gpt2", specials=["<a>", "<b>"]).encode("a <b>", "all") == (
        loaded.encode("a <b>", "all")
    )


@pytest.mark.parametrize("kind", ["jsonl", "gz", "folder", "stdin"])
def test_train_reads_any_source(kind, pylm, corpus, tmp_path, monkeypatch):
    documents = corpus.read_text().split("<|endoftext|>")
    options = []
    if kind == "jsonl":
        source = tmp_path / "x.jsonl"
        source.write_text("".join(json.dumps({"body": text}) + "\n" for text in documents))
        options = ["--field", "body"]
    elif kind == "gz":
        import gzip

        source = tmp_path / "x.txt.gz"
        source.write_bytes(gzip.compress(corpus.read_bytes()))
    elif kind == "folder":
        source = tmp_path / "many"
        source.mkdir()
        for index, text in enumerate(documents):
            (source / f"{index:04}.txt").write_text(text)
    else:
        source = "-"
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(corpus.read_bytes())))
    assert pylm("train", source, "--vocab-size", 800, "--out", tmp_path / "t", *options)[0] == 0
    assert Tokenizer.load(tmp_path / "t").identity == Tokenizer.train(corpus, 800).identity


def test_sentencepiece_keeps_its_files(pylm, corpus, tmp_path):
    code, said, _ = pylm(
        "train", corpus, "--vocab-size", 900, "--model", "sp_bpe", "--bytes", "200k", "--out", tmp_path / "t", "--json"
    )
    assert code == 0 and json.loads(said)["bytes"] == 200_000
    assert {path.name for path in (tmp_path / "t").iterdir()} >= {"tokenizer.model", "tokenizer.vocab"}


def test_info(pylm, tok):
    code, said, _ = pylm("info", "--tokenizer", tok, "--json")
    facts = json.loads(said)
    assert code == 0 and facts["vocab_size"] == 1000 and facts["dtype"] == "uint16" and facts["native"]
    assert facts["pattern"] == "cl100k" and facts["eot"] == 997 and facts["chat_template"]
    code, said, _ = pylm("info", "--tokenizer", tok)
    assert code == 0 and "vocab_size     1,000" in said and "<|im_end|> 999" in said


def test_encode_and_decode_are_each_others_inverse(pylm, tok, monkeypatch):
    text = "Größe 漢字 <|endoftext|>\n  two"
    code, said, _ = pylm("encode", "--tokenizer", tok, text)
    assert code == 0 and said.split() == [str(token_id) for token_id in Tokenizer.load(tok).encode(text)]
    assert pylm("decode", "--tokenizer", tok, *said.split()) == (0, text, "")
    code, said, _ = pylm("encode", "--tokenizer", tok, "--allow", "all", "--json", text)
    value = json.loads(said)
    assert 997 in value["ids"] and "<|endoftext|>" in value["tokens"]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(json.dumps(value["ids"]).encode())))
    assert pylm("decode", "--tokenizer", tok) == (0, text, "")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"raw \xff bytes")))
    code, said, _ = pylm("encode", "--tokenizer", tok)
    assert Tokenizer.load(tok).decode_bytes(map(int, said.split())) == b"raw \xff bytes"
    code, said, _ = pylm("encode", "--tokenizer", tok, "--show", "hi\n")
    assert code == 0 and said.endswith("'\\n'\n")


def test_compare(pylm, tok, corpus, tmp_path):
    other = tmp_path / "other"
    Tokenizer.train(corpus, 400).save(other)
    code, said, _ = pylm(
        "compare", "--tokenizer", tok, "--tokenizer", other, corpus, "--plot", tmp_path / "x.svg", "--json"
    )
    value = json.loads(said)
    assert code == 0 and [entry["vocab_size"] for entry in value["tokenizers"]] == [1000, 400]
    assert value["tokenizers"][0]["bytes_per_token"] > value["tokenizers"][1]["bytes_per_token"]
    assert (tmp_path / "x.svg").read_text().startswith("<?xml")
    code, said, _ = pylm("compare", "--tokenizer", tok, corpus, "--by", "file", "--documents", 5)
    assert code == 0 and str(corpus)[-20:] in said and "5 documents" in said


BAD = [
    (["info"], 2, "--tokenizer is missing"),
    (["info", "--tokenizer", "gtp2"], 1, "there is no tokenizer gtp2"),
    (["decode", "--tokenizer", "TOK", "12", "x1"], 2, "'x1' is no id"),
    (["decode", "--tokenizer", "TOK", "1000"], 1, "the id 1000 is none of this tokenizer"),
    (["encode", "--tokenizer", "TOK", "--allow", "none-raise", "a<|im_end|>"], 1, "holds the special token <|im_end|>"),
    (["train", "none.txt", "--out", "OUT"], 1, "none.txt"),
    (["train", "EMPTY", "--out", "OUT"], 1, "empty holds no txt"),
    (["train", "TEXT", "--out", "OUT", "--vocab-size", "100"], 2, "cannot hold the 256 bytes"),
    (["train", "TEXT", "--out", "OUT", "--vocab-size", "32k"], 1, "32"),
    (["train", "TEXT", "--out", "OUT", "--pattern", "(("], 2, "(("),
    (["train", "TEXT", "--out", "OUT", "--model", "unigram", "--export", "tiktoken"], 2, "ranks cannot hold"),
    (["train", "TEXT", "--out", "OUT", "--model", "unigram", "--min-frequency", "2"], 2, "takes no --min-frequency"),
    (["train", "TEXT", "--out", "FULL"], 2, "notes.txt, which is no part of a tokenizer"),
    (["train", "TEXT", "--out", "OUT", "--continue", "gtp2"], 1, "there is no tokenizer gtp2"),
    (["compare", "--tokenizer", "TOK", "--tokenizer", "TOK", "TEXT"], 2, "is named twice"),
    (["compare", "--tokenizer", "TOK", "EMPTY"], 1, "empty holds no txt"),
    (["compare", "--tokenizer", "TOK", "TEXT", "--plot", "x.gif"], 2, "pictures are .svg"),
]


@pytest.mark.parametrize(
    ("words", "code", "said"), BAD, ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else ""
)
def test_what_is_wrong_is_one_sentence_and_nothing_is_written(words, code, said, pylm, tok, tmp_path):
    places = {"TOK": tok, "OUT": tmp_path / "out", "TEXT": tmp_path / "text.txt", "EMPTY": tmp_path / "empty"}
    places["FULL"] = tmp_path / "full"
    places["TEXT"].write_text("some text that is short\n")
    places["EMPTY"].mkdir()
    places["FULL"].mkdir()
    (places["FULL"] / "notes.txt").write_text("mine")
    got, out, err = pylm(*(places.get(word, word) for word in words))
    assert (got, out) == (code, ""), err
    lines = [line for line in err.splitlines() if line]
    assert lines[0].startswith("error: ") and said in lines[0]
    assert len(lines) <= 2 and all(line.startswith("hint: ") for line in lines[1:])
    assert not places["OUT"].exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "full", "text.txt"]


@pytest.mark.parametrize("model", ["bpe", "unigram"])
def test_an_interrupt_stops_training_and_leaves_nothing_half_written(model, text_of, tmp_path):
    text = tmp_path / "text.txt"
    text.write_text(text_of(1, 1_500_000) * (40 if model == "bpe" else 1))
    out = tmp_path / "out"
    command = [*PYLM, "train", str(text), "--vocab-size", "3000", "--model", model, "--out", str(out), "--threads", "1"]
    command += ["--pattern", r"\w+|\W"] if model == "bpe" else []  # a regex of one's own is slower than a named one
    child = subprocess.Popen(command, stderr=subprocess.PIPE, start_new_session=True)
    time.sleep(1.5)
    if child.poll() is None:
        os.killpg(child.pid, signal.SIGINT)
    _, err = child.communicate(timeout=60)
    if child.returncode == 0:
        pytest.skip("it was done before it could be stopped")
    assert child.returncode == 130 and b"interrupted" in err, err
    assert b"Traceback" not in err
    assert [path.name for path in tmp_path.iterdir()] == ["text.txt"]


def test_an_interrupted_training_goes_on_to_the_same_merges(corpus, tmp_path, pylm, monkeypatch):
    from pylm.cli.frame.progress import Progress

    wanted = Tokenizer.train(corpus, 1400).identity
    words = ["train", corpus, "--vocab-size", 1400, "--out", tmp_path / "tok", "--threads", 1]
    plain = Progress.__call__

    def stop(self, done, total=None, *, phase=None, **rest):
        if phase == "merge":
            raise KeyboardInterrupt
        plain(self, done, total, phase=phase, **rest)

    monkeypatch.setattr(Progress, "__call__", stop)
    code, _, err = pylm(*words)
    assert code == 75 and "interrupted" in err and "the same command goes on from there" in err
    assert [path.name for path in tmp_path.iterdir()] == [".tok.training"]
    monkeypatch.setattr(Progress, "__call__", plain)
    assert pylm(*words[:3], 100, *words[4:])[0] == 2  # a mistyped option loses nothing
    assert [path.name for path in tmp_path.iterdir()] == [".tok.training"]
    code, said, _ = pylm(*words, "--json")
    assert code == 0 and json.loads(said)["resumed"] >= 0
    assert Tokenizer.load(tmp_path / "tok").identity == wanted
    assert [path.name for path in tmp_path.iterdir()] == ["tok"]


def test_a_limit_of_memory_gives_the_same_tokenizer_or_says_what_it_takes(corpus, tmp_path, pylm):
    words = ["train", corpus, "--vocab-size", 800, "--out", tmp_path / "tok", "--json", "--memory"]
    code, said, err = pylm(*words, "2M")
    assert (code, said) == (1, "") and "2 MB are allowed" in err and "--memory" in err
    assert list(tmp_path.iterdir()) == []
    code, said, err = pylm(*words, "12M")
    assert code == 0, err
    assert json.loads(said)["identity"] == Tokenizer.train(corpus, 800).identity
    assert [path.name for path in tmp_path.iterdir()] == ["tok"]


def test_a_mistyped_pattern_is_no_regex(pylm, corpus, tmp_path):
    code, _, said = pylm("train", corpus, "--vocab-size", 700, "--pattern", "gtp2", "--out", tmp_path / "t")
    assert code == 2 and "no pattern is called 'gtp2'" in said and "gpt2" in said.splitlines()[1]
    assert not (tmp_path / "t").exists()


def test_a_closed_stdin_is_one_sentence(pylm, tok, monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    for command in ("encode", "decode"):
        code, _, said = pylm(command, "--tokenizer", tok)
        assert code == 2 and said.splitlines()[0] == "error: stdin is closed"
