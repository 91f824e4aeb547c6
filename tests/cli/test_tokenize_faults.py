"""`pylm tokenize` and `pylm tokenizer train` where things go wrong: hostile texts, kills, signals, want of threads."""

import contextlib
import fcntl
import gzip
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pylm import _rust
from pylm._rust import Bpe
from pylm.cli import run
from pylm.errors import DataError, TokenizerError, UsageError
from pylm.tokenizer import folder as folders

END = "<|endoftext|>"
PYLM = [sys.executable, "-m", "pylm"]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith(("PYLM_", "SLURM_")):
            monkeypatch.delenv(name)


@pytest.fixture
def tok(tmp_path):
    bpe = Bpe.from_merges([(ord("t") - 33, ord("h") - 33), (256, ord("e") - 33)], "gpt2", [END])
    (tmp_path / "tok").mkdir()
    (tmp_path / "tok" / "tokenizer.json").write_text(bpe.to_tokenizer_json())
    return bpe


def request(**changes):
    asked = {
        "tokenizer": "x",
        "vocab_size": 300,
        "eot": 299,
        "split": END,
        "field": "text",
        "column": "text",
        "invalid": "error",
        "skip_bad": False,
        "allow_special": [],
        "validation": 0.0,
        "shard_tokens": 100_000_000,
        "limit": None,
        "header": "none",
        "training": None,
    }
    return json.dumps(asked | changes)


def documents_of(tok, folder):
    ids = np.concatenate([np.fromfile(path, "<u2") for path in sorted(Path(folder).glob("train_*.bin"))])
    ends = np.flatnonzero(ids == dict(tok.specials)[END])
    starts = [0, *(ends[:-1] + 1)]
    return [tok.decode_bytes(ids[a:b].astype(np.uint32)).decode() for a, b in zip(starts, ends, strict=True)]


def said(capsys, *args, code):
    assert run([str(arg) for arg in args]) == code
    out, err = capsys.readouterr()
    assert "Traceback" not in err and "defect of pylm" not in err
    return out + err


@pytest.mark.parametrize("name", ["blank.txt", "blank.txt.gz"])
def test_blank_lines_take_time_in_their_number(tmp_path, tok, name):
    text = b"doc one\n" + b"\n" * 3_000_000 + b"doc two\n" + b" \t\r\n" * 500_000
    Path(name).write_bytes(gzip.compress(text, 1) if name.endswith("gz") else text)
    # quadratic, it would take a day
    split = [name, "--split", "blank", "--out", "x"]
    subprocess.run([*PYLM, "tokenize", *split, "--tokenizer", "tok", "--val", "0"], check=True, timeout=60)
    assert documents_of(tok, "x") == ["doc one", "doc two"]
    train = [*PYLM, "tokenizer", "train", *split[:-1], "t", "--vocab-size", "258"]
    subprocess.run(train, check=True, timeout=60)


def test_split_line_means_lines_everywhere(capsys, tok):
    lines = ["one line", "two line", "three line here"] * 30
    Path("lines.txt").write_bytes("\r\n".join(lines).encode() + b"\n\n")
    assert run(["tokenize", "lines.txt", "--tokenizer", "tok", "--split", "line", "--val", "0", "--out", "x"]) == 0
    assert documents_of(tok, "x") == lines
    found = [text for batch in _rust.Documents(["lines.txt"], split="line") for text, _, _ in batch]
    assert found == lines
    assert _rust.train_bpe(["lines.txt"], vocab_size=260, split="line")["documents"] == len(lines)
    for command in (["tokenize", "--help"], ["tokenizer", "train", "--help"]):
        run(command)
        assert "line" in capsys.readouterr().out.split("--split")[1][:200]
    for call in (
        lambda: _rust.Documents(["lines.txt"], split=""),
        lambda: _rust.train_bpe(["lines.txt"], vocab_size=260, split=""),
    ):
        with pytest.raises(UsageError, match="--split was given nothing"):
            call()


class Alarm(Exception):
    """Raised by a signal's handler."""


@contextlib.contextmanager
def alarmed(seconds):
    def ring(*_):
        raise Alarm

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_signals_are_heard_while_sources_are_looked_through(tok):
    # one document in a file that is to be read to its end before anything is planned
    Path("long.txt.gz").write_bytes(gzip.compress(b"x " * 100_000_000, 1))
    with pytest.raises(Alarm), alarmed(0.02):
        _rust.tokenize(["long.txt.gz"], "x", tok, request(validation=0.1), dry_run=True)
    with pytest.raises(Alarm), alarmed(0.02):
        _rust.train_bpe(["long.txt.gz"], vocab_size=258)


def test_exceptions_of_callbacks_and_handlers_pass_through_as_themselves(tok):
    Path("text.txt").write_text("the text " * 1000)

    def failing(*_):
        raise ZeroDivisionError("theirs")

    def slow(texts):
        _sleep(0.5)
        return [[1] for _ in texts]

    with pytest.raises(ZeroDivisionError, match="theirs"):
        _rust.tokenize(["text.txt"], "a", slow, request(), progress=failing)
    with pytest.raises(ZeroDivisionError, match="theirs"):
        _rust.tokenize(["text.txt"], "b", tok, request(), files=failing)
    with pytest.raises(ZeroDivisionError, match="theirs"):
        _rust.train_bpe(["text.txt"], vocab_size=258, progress=failing)

    def of_ours(texts):
        raise UsageError("not so", "but so")

    with pytest.raises(UsageError, match="not so"):
        _rust.tokenize(["text.txt"], "c", of_ours, request())
    with pytest.raises(TokenizerError, match="the tokenizer failed: ZeroDivisionError: theirs") as caught:
        _rust.tokenize(["text.txt"], "d", failing, request())
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    # eight of ten seconds of work are ahead when the handler raises
    texts = ["".join(chr(97 + (i * i + n) % 23) for i in range(3000)) for n in range(500)] * 40
    for threads in (1, 2):
        with pytest.raises(Alarm), alarmed(0.05):
            for _ in range(1000):
                tok.encode_batch(texts, threads=threads)
    with pytest.raises(Alarm), alarmed(0.05):
        for _ in range(10_000):
            tok.encode("".join(texts[:500]))


def _sleep(seconds):
    import time

    time.sleep(seconds)


def test_no_more_threads_is_said_in_a_sentence(tmp_path, tok):
    Path("text.txt").write_text("the text of it\n" * 100_000)
    # no stack of 128 TB can be had: the system's refusal of a thread, whoever the user is and whatever the limits
    env = {**os.environ, "RUST_MIN_STACK": str(1 << 47)}
    for args in (
        [*PYLM, "tokenize", "text.txt", "--tokenizer", "tok", "--out", "x", "--threads", "2"],
        [*PYLM, "tokenizer", "train", "text.txt", "--vocab-size", "260", "--out", "t", "--threads", "3"],
    ):
        done = subprocess.run(args, env=env, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 1 and "the system starts no more threads" in done.stderr, done.stderr
        assert "panicked" not in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "x" / "manifest.json").exists()


def test_a_batch_is_encoded_by_the_threads_that_there_are(tok):
    code = (
        "import pylm; tok = pylm.Tokenizer.load('tok'); texts = [f'the text {n} ' * 999 for n in range(99)]; "
        "print([list(ids) for ids in tok.encode_batch(texts, threads=3)] == [tok.encode(text) for text in texts])"
    )
    env = {**os.environ, "RUST_MIN_STACK": str(1 << 47)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "True\n", "")


def test_options_that_cannot_be_honoured_are_refused(capsys, tok):
    Path("text.txt").write_text("some text " * 1000)
    common = ["tokenize", "text.txt", "--tokenizer", "tok", "--out", "x"]
    train = ["tokenizer", "train", "text.txt", "--vocab-size", "260", "--out", "t"]
    assert "there is no rank -1 in a world of 2" in said(capsys, *common, "--rank", "-1", "--world", "2", code=2)
    assert "there is no rank 0 in a world of -2" in said(capsys, *common, "--rank", "0", "--world", "-2", code=2)
    told = said(capsys, *common, "--shard-tokens", "5000", code=2)
    assert "--shard-tokens 5000 is too few: a shard holds 128 KiB of text at least" in told
    least = told.split("hint: --shard-tokens ")[1].split()[0]
    said(capsys, *common, "--shard-tokens", least, "--dry-run", code=0)
    for command in (common, train):
        assert "--field body is for jsonl, and no source is jsonl" in said(capsys, *command, "--field", "body", code=2)
        assert "--column b is for parquet, and no source" in said(capsys, *command, "--column", "b", code=2)
    assert not Path("x").exists() and not Path("t").exists()
    for call in (
        lambda: _rust.tokenize(["text.txt"], "x", tok, request(), threads=-1),
        lambda: _rust.train_bpe(["text.txt"], vocab_size=260, threads=-1),
    ):
        with pytest.raises(UsageError, match="-1 threads cannot work"):
            call()


def test_small_shards_are_as_small_as_they_are_asked_to_be(capsys, tok):
    Path("text.txt").write_text(END.join("some text of words " * 200 for _ in range(300)))
    args = ["tokenize", "text.txt", "--tokenizer", "tok", "--out", "x", "--val", "0", "--shard-tokens", "150k"]
    found = json.loads(said(capsys, *args, "--json", code=0))["splits"]["train"]["shards"]
    assert len(found) > 5 and all(100_000 < shard["tokens"] < 200_000 for shard in found[:-1])


def test_a_source_that_is_named_twice_is_said_to_be_taken_once(capsys, tok):
    Path("in").mkdir()
    Path("in/a.txt").write_text("some text " * 100)
    sources = ["in/a.txt", "./in/a.txt", "in"]
    told = said(capsys, "tokenize", *sources, "--tokenizer", "tok", "--out", "x", "--val", "0", code=0)
    assert "a.txt is named more than once, and taken once" in told and "1 documents" in told
    told = said(capsys, "tokenizer", "train", *sources, "--vocab-size", "260", "--out", "t", code=0)
    assert "a.txt is named more than once, and taken once" in told


def test_what_kills_left_beside_a_tokenizer_goes_with_the_next_save(tmp_path, tok):
    left, live = tmp_path / ".t.tmp-dead0000", tmp_path / ".t.tmp-live0000"
    for folder in (left, live, tmp_path / ".other.tmp-dead"):
        folder.mkdir()
        (folder / "tokenizer.json").write_text("{")
    handle = os.open(live, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    try:
        for _ in range(2):  # new, and in place of one that is there
            folders.write(tmp_path / "t", {"tokenizer.json": tok.to_tokenizer_json().encode()})
    finally:
        os.close(handle)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".other.tmp-dead", ".t.tmp-live0000", "t", "tok"]
    folders.write(tmp_path / "t", {"tokenizer.json": b"{}"})
    assert sorted(path.name for path in tmp_path.iterdir()) == [".other.tmp-dead", "t", "tok"]


def test_what_a_kill_left_of_stdin_goes_with_the_next_run(tmp_path, tok):
    (tmp_path / ".x.stdin-dead").mkdir()
    (tmp_path / ".x.stdin-dead" / "stdin").write_text("gigabytes")
    args = [*PYLM, "tokenize", "-", "--tokenizer", "tok", "--out", "x", "--val", "0"]
    subprocess.run(args, input=b"some text", check=True, capture_output=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tok", "x"]


def test_two_trainings_do_not_share_a_state(capsys, tmp_path):
    Path("text.txt").write_text("some text of words, and some more of it " * 200)
    state = tmp_path / ".t.training"
    state.mkdir()
    (state / "lock").touch()
    with (state / "lock").open("r+") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        args = ["tokenizer", "train", "text.txt", "--vocab-size", "270", "--out", "t"]
        assert "another training keeps its state in .t.training" in said(capsys, *args, code=1)
        assert (state / "lock").exists()
    with pytest.raises(DataError), (state / "lock").open("r+") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        _rust.train_bpe(["text.txt"], vocab_size=270, state=state)
    said(capsys, *args, code=0)
    assert not state.exists() and Path("t/tokenizer.json").exists()
