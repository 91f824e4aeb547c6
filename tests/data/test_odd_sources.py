"""Sources as people have them: what is no text is named, what is left out is said, names may be any bytes."""

from __future__ import annotations

import gzip
import json
import os
import random
import shlex
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pylm._rust import Bpe
from pylm.cli import run

END = "<|endoftext|>"
TEXT = "the cat sat on a mat, and then it ran to see what was there. " * 40


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tok = Bpe.from_merges([(ord("t") - 33, ord("h") - 33)], "gpt2", [END])
    Path("tok").mkdir()
    Path("tok/tokenizer.json").write_text(tok.to_tokenizer_json())


def tokenize(capsys: Any, *args: str, code: int = 0) -> tuple[str, str]:
    capsys.readouterr()
    got = run(["tokenize", "--tokenizer", "tok", "--val", "0", "--out", "x", *args])
    out, err = capsys.readouterr()
    assert got == code, err
    assert "Traceback" not in err and "defect of pylm" not in err
    return out, err


def documents(folder: str = "x") -> list[str]:
    tok = Bpe.from_tokenizer_json(Path(folder, "tokenizer.json").read_bytes())
    texts = []
    for path in sorted(Path(folder).glob("train_*.bin")):
        ids, starts = np.fromfile(path, "<u2"), np.fromfile(path.with_suffix(".idx"), "<u8")
        for start, end in zip(starts, starts[1:], strict=False):
            texts.append(tok.decode_bytes(ids[start : end - 1].astype(np.uint32)).decode())
    return texts


def a_zip(name: str) -> None:
    with zipfile.ZipFile(name, "w") as file:
        file.writestr("word/document.xml", "<w/>")


def an_array(name: str) -> None:
    np.save(name, np.arange(9, dtype="<u2"))


KINDS: list[tuple[str, Callable[[str], object], str, str]] = [
    ("a.pdf", lambda n: Path(n).write_bytes(b"%PDF-1.4\n%\xe2\xe3\xcf\xd3"), "a.pdf is a PDF", "pdftotext a.pdf a.txt"),
    ("a.docx", a_zip, "word processor", "pandoc a.docx -t plain -o a.txt"),
    ("a.zip", a_zip, "a zip archive", "unzip a.zip -d a"),
    (
        "a.txt",
        lambda n: Path(n).write_text(TEXT, encoding="utf-16"),
        "text in UTF-16",
        "iconv -f utf-16 -t utf-8 a.txt",
    ),
    ("a.txt", lambda n: Path(n).write_text(TEXT, encoding="utf-16-le"), "text in UTF-16", "iconv -f utf-16le"),
    ("a.npy", an_array, "an array of numpy", "pylm train --data a.npy"),
    (
        "train.bin",
        lambda n: np.arange(50_000, dtype="<u2").tofile(n),
        "numbers, not text",
        "pylm train --data train.bin",
    ),
    (
        "a.txt.bz2",
        lambda n: Path(n).write_bytes(__import__("bz2").compress(TEXT.encode())),
        "bzip2",
        "bunzip2 -k a.txt.bz2",
    ),
    ("a.txt.xz", lambda n: Path(n).write_bytes(__import__("lzma").compress(TEXT.encode())), "packed with xz", "xz -dk"),
    ("a.txt.gz", lambda n: Path(n).write_text(TEXT), "text that is not packed", "mv a.txt.gz a.txt"),
]


@pytest.mark.parametrize(("name", "make", "said", "hint"), KINDS)
def test_what_is_no_text_is_named_before_anything_is_made(
    capsys: Any, name: str, make: Callable[[str], object], said: str, hint: str
) -> None:
    make(name)
    for line in (
        ["tokenize", name],
        ["tokenize", name, "--invalid", "replace"],
        ["tokenizer", "train", name, "--out", "t"],
    ):
        assert run(line) == 1
        err = capsys.readouterr().err
        assert said in err and hint in err and err.count("error:") == 1 and "vocabulary" not in err
    assert not Path("data").exists() and not Path("t").exists()


def test_hints_work_when_typed(capsys: Any) -> None:
    Path("a b.txt").write_text(TEXT, encoding="utf-16")
    _, err = tokenize(capsys, "a b.txt", code=1)
    line = err.split("hint: ")[1].split(", then")[0]
    subprocess.run(line, shell=True, check=True)
    tokenize(capsys, "a b-utf8.txt")
    assert documents() == [TEXT]
    Path("cut.txt").write_bytes("caf\u00e9 au lait 漢".encode()[:-1])
    _, err = tokenize(capsys, "cut.txt", "--force", code=1)
    assert "cut.txt: byte 14 is not UTF-8 (0xe6): the file ends in the middle of a character" in err
    subprocess.run(err.split("hint: ")[1].split(" leaves")[0], shell=True, check=True)
    tokenize(capsys, "whole.txt", "--force")
    assert documents() == ["caf\u00e9 au lait "]


@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz", "a.jsonl"])
def test_a_byte_order_mark_is_no_text(capsys: Any, name: str) -> None:
    text = "first\ufeff" + END + "second"
    plain = json.dumps({"text": text}) if name == "a.jsonl" else text
    for to, mark in ((name, "\ufeff"), (f"plain-{name}", "")):
        whole = (mark + plain).encode()
        Path(to).write_bytes(gzip.compress(whole) if name.endswith(".gz") else whole)
    _, err = tokenize(capsys, name)
    assert ("byte order mark, which is left out" in err) == (not name.endswith(".gz"))
    expected = [text] if name == "a.jsonl" else ["first\ufeff", "second"]
    assert documents() == expected
    tokenize(capsys, f"plain-{name}", "--force")
    assert documents() == expected


@pytest.mark.parametrize(("shard_tokens", "length"), [("1M", 600_000), ("9M", 1_500_000)])  # units, pieces of one
@pytest.mark.parametrize("first", ["b ", "c ", "f "])
def test_a_marked_document_that_is_cut_stays_on_one_side(
    capsys: Any, first: str, shard_tokens: str, length: int
) -> None:
    # a document's side is chosen by its beginning, which the mark is no part of: each way by another of these
    words = random.Random(3)
    long = first + "".join(words.choices(["the ", "cat ", "sat\n", "then "], k=length))
    rest = END.join(["", *(f"{number} cat" for number in range(2000))])
    found = []
    for name, mark in (("marked.txt", "\ufeff"), ("bare.txt", "")):
        Path(name).write_text(mark + long + rest)
        tokenize(capsys, name, "--shard-tokens", shard_tokens, "--val", "0.5", "--force")
        shards = {split: sorted(Path("x").glob(f"{split}_*.bin")) for split in ("train", "val")}
        found.append({split: b"".join(one.read_bytes() for one in shards[split]) for split in shards})
        assert run(["data", "verify", "x"]) == 0
    assert found[0] == found[1]


def test_names_that_are_no_utf8_are_read_wherever_they_stand(capsys: Any, tmp_path: Path) -> None:
    Path("in").mkdir()
    raw = os.fsencode(tmp_path / "in") + b"/\xff\xfe b.txt"
    Path("in/a.txt").write_text("one")
    Path(os.fsdecode(raw)).write_text("two")
    for source in ("in", "in/*.txt", "**/*b.txt", os.fsdecode(raw)):
        out, _ = tokenize(capsys, source, "--force")
        wanted = ["one", "two"] if source.startswith("in") else ["two"]
        assert documents() == wanted, source
        names = [one["name"] for one in json.loads(Path("x/manifest.json").read_text())["sources"]]
        assert names[-1].endswith("\\xff\\xfe b.txt")
    Path(os.fsdecode(raw)).write_bytes(b"caf\xe9 x")
    _, err = tokenize(capsys, "in", "--force", code=1)
    assert "\\xff\\xfe b.txt: byte 3 is not UTF-8" in err
    # the whole command, whose default folder is named after the file
    args = [sys.executable, "-m", "pylm", "tokenize", raw, "--tokenizer", "tok", "--invalid", "replace", "--val", "0"]
    done = subprocess.run(args, capture_output=True, check=False)
    assert done.returncode == 0 and b"data/__ b" in done.stdout, done.stderr


def test_what_a_folder_holds_beside_its_texts_is_counted(capsys: Any) -> None:
    Path("in/deep").mkdir(parents=True)
    Path("in/a.txt").write_text("one")
    for name in ("b.csv", "deep/c.csv", "d.py", "README"):
        Path("in", name).write_text("two")
    Path("in/lost.txt").symlink_to("nowhere")
    Path("in/link").symlink_to("deep")
    os.mkfifo("in/pipe.txt")
    _, err = tokenize(capsys, "in")
    said = "in also holds what is not read: 1 without a suffix, 2 .csv, 1 .py, 1 link to nothing, 1 link to a folder"
    assert said in err
    Path("in/a.txt").unlink()
    _, err = tokenize(capsys, "in", "--force", code=1)
    assert "holds no txt, md, jsonl or parquet file: 1 without" in err and "in/**/*.csv" in err
    assert "link to what is not there" in tokenize(capsys, "in/lost.txt", "--force", code=1)[1]


def test_json_and_tables_are_read_as_such(capsys: Any) -> None:
    Path("a.json").write_text(json.dumps([{"text": "one"}, {"text": "two"}]))
    Path("b.json").write_text('{"text": "one"}\n{"text": "two"}\n')
    for name in ("a.json", "b.json"):
        _, err = tokenize(capsys, name, "--force")
        assert documents() == ["one", "two"] and "read as plain text" not in err
    Path("c.csv").write_text("a,b\n1,2\n")
    assert "c.csv has no column" in tokenize(capsys, "c.csv", "--force", code=2)[1]
    tokenize(capsys, "c.csv", "--force", "--column", "b")
    assert documents() == ["2"]


def test_lone_surrogates_are_replaced_where_asked(capsys: Any) -> None:
    lines = [r'{"text": "a \ud800 b \ud83d\ude42 \\ud800 \udc00\ud83d"}', '{"text": "whole"}']
    Path("a.jsonl").write_text("\n".join(lines))
    _, err = tokenize(capsys, "a.jsonl", code=1)
    assert "a.jsonl: line 1" in err and "lone surrogate (--invalid replace puts U+FFFD there)" in err
    _, err = tokenize(capsys, "a.jsonl", "--invalid", "replace")
    assert documents() == ["a \ufffd b 🙂 \\ud800 \ufffd\ufffd", "whole"] and "18 bytes that were no UTF-8" in err


@pytest.mark.parametrize("codec", ["brotli"])
def test_a_codec_that_is_not_read_is_named(capsys: Any, codec: str) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    import pyarrow

    parquet.write_table(pyarrow.table({"text": ["one", "two"]}), "a.parquet", compression=codec)
    _, err = tokenize(capsys, "a.parquet", code=1)
    assert f"a sound parquet file packed with {codec}" in err
    line = shlex.split(err.split("zstd: ")[1].splitlines()[0])
    subprocess.run([sys.executable, *line[1:]], check=True)
    tokenize(capsys, "a-zstd.parquet")
    assert documents() == ["one", "two"]


def test_validation_of_few_documents_says_what_it_is(capsys: Any) -> None:
    Path("a.txt").write_text("word")
    _, err = tokenize(capsys, "a.txt", "--val", "0.1")
    assert "too little text for blocks of it: nothing is kept for validation" in err
    Path("b.txt").write_text(TEXT * 50)
    _, err = tokenize(capsys, "b.txt", "--val", "0.1", "--force")
    assert "blocks of the text, at whose borders documents end early" in err


def made_from(hint: str) -> Path:
    """Types both lines of a hint, the first as it is."""
    line, then = hint.removeprefix("pylm tokenize ").split(", then pylm ")
    assert run(["tokenize", *shlex.split(line)]) == 0
    command, option, folder, *_ = shlex.split(then)
    assert (command, option) == ("train", "--data")
    return Path(folder)


def test_what_train_says_of_text_is_a_line_that_works(capsys: Any) -> None:
    Path("my latin.txt").write_bytes(TEXT.encode() + b"caf\xe9 au lait " + TEXT.encode())
    lines = [{"id": "a1", "body": TEXT}, {"id": "a2", "body": "more"}]
    Path("keys.jsonl").write_text("\n".join(map(json.dumps, lines)))
    Path("half.jsonl").write_text(json.dumps({"text": TEXT}) + '\n{"text": "never en\n')
    for name in ("my latin.txt", "keys.jsonl", "half.jsonl"):
        assert run(["train", name, "--preset", "tiny", "--max-steps", "1"]) == 1
        hint = capsys.readouterr().err.split("hint: ")[1].strip()
        folder = made_from(hint)
        assert json.loads((folder / "manifest.json").read_text())["splits"]["train"]["tokens"]
        capsys.readouterr()


@pytest.mark.parametrize("model", ["bpe", "unigram"])
def test_a_tokenizer_is_trained_past_broken_lines_where_asked(capsys: Any, model: str) -> None:
    if model == "unigram":
        pytest.importorskip("sentencepiece")
    lines = [json.dumps({"text": f"{number} {TEXT}"}) for number in range(30)]
    Path("whole.jsonl").write_text("\n".join(lines))
    Path("half.jsonl").write_text("\n".join([*lines[:9], '{"text": "never en', *lines[9:]]))
    train = ["tokenizer", "train", "--vocab-size", "290" if model == "bpe" else "360", "--model", model, "--out"]
    assert run([*train, "broken", "half.jsonl"]) == 1
    assert "line 10" in (err := capsys.readouterr().err) and "--skip-bad" in err
    assert run([*train, "mended", "half.jsonl", "--skip-bad"]) == 0
    assert run([*train, "without", "whole.jsonl"]) == 0
    assert Path("mended/tokenizer.json").read_bytes() == Path("without/tokenizer.json").read_bytes()


def test_a_column_that_is_not_there_is_chosen_from_those_that_are(capsys: Any) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    import pyarrow

    parquet.write_table(pyarrow.table({"id": [1], "body": [TEXT]}), "a.parquet")
    assert run(["train", "a.parquet", "--preset", "tiny"]) == 2
    err = capsys.readouterr().err
    assert "pylm tokenize a.parquet --column COLUMN, then pylm train --data data/a; it has: id, body" in err


def test_a_vocabulary_that_nobody_asked_for_shrinks_to_what_the_text_gives(capsys: Any) -> None:
    Path("same.txt").write_text("ab " * 40_000)
    assert run(["tokenize", "same.txt"]) == 0
    err = capsys.readouterr().err
    size = json.loads(Path("data/same/manifest.json").read_text())["vocab_size"]
    assert f"no more to give: a vocabulary of {size:,} tokens" in err and 256 < size < 272


def test_another_failure_of_training_a_tokenizer_is_not_answered_by_a_smaller_one(monkeypatch: Any) -> None:
    from pylm.data.prepare import prepare
    from pylm.errors import TokenizerError
    from pylm.tokenizer import train

    asked = []

    def fail(text: Any, options: train.TrainOptions) -> train.Parts:
        asked.append(options.vocab_size)
        raise TokenizerError("the moon is in the wrong place")

    monkeypatch.setattr(train, "train_on", fail)
    Path("a.txt").write_text(TEXT * 100)
    with pytest.raises(TokenizerError, match="moon"):
        prepare(["a.txt"])
    assert len(asked) == 1


def test_a_folder_that_may_not_be_written_to_has_its_own_hint(capsys: Any) -> None:
    Path("a.txt").write_text(TEXT)
    Path("locked").mkdir(mode=0o500)
    if os.access("locked", os.W_OK):
        pytest.skip("root may write everywhere")
    _, err = tokenize(capsys, "a.txt", "--out", "locked/x", code=1)
    assert "choose a folder that may be written to, with --out" in err


@pytest.mark.parametrize("name", ["my book.txt", "book", "a.jsonl", "a.parquet", "a.txt.gz", "a.txt.zst"])
def test_text_is_never_trained_on_as_token_ids(capsys: Any, name: str) -> None:
    from pylm.data import Loader
    from pylm.errors import DataError

    # a character of three bytes lies over the end of what is looked at
    text = b"x" * 65535 + "漢 ".encode() * 4000
    Path(name).write_bytes(gzip.compress(text) if name.endswith("gz") else text)
    with pytest.raises(DataError, match="is text, not token ids") as caught:
        Loader(name, 64, 4)
    assert caught.value.hint == f"pylm tokenize {shlex.quote(name)} makes a folder of token ids"
    assert run(["train", "--data", name, "--vocab-size", "50257", "--preset", "tiny", "--max-steps", "1"]) == 1
    err = capsys.readouterr().err
    assert f"{name} is text, not token ids" in err and f"pylm tokenize {shlex.quote(name)}" in err


def test_token_ids_are_read_whatever_their_files_are_called(tmp_path: Path) -> None:
    from pylm.data import Loader
    from pylm.errors import DataError

    random_ids = np.random.default_rng(3).integers(0, 50257, 4000).astype("<u2")
    for ids, name in ((random_ids, "ids"), (random_ids % 100, "ids.u16"), (random_ids % 100, "ids.bin")):
        Path(name).write_bytes(ids.tobytes())
        assert Loader(name, 64, 4).tokens == len(ids)
    Path("ids.bin.gz").write_bytes(gzip.compress(random_ids.tobytes()))
    with pytest.raises(DataError, match="is packed") as caught:
        Loader("ids.bin.gz", 64, 4)
    assert caught.value.hint == "gunzip -k ids.bin.gz, then name ids.bin"


def test_conversations_are_named_and_leaving_them_out_is_not_advised(capsys: Any) -> None:
    talk = {"messages": [{"role": "user", "content": TEXT}, {"role": "assistant", "content": TEXT}]}
    Path("m.jsonl").write_text("\n".join([json.dumps(talk)] * 20))
    assert run(["train", "m.jsonl", "--preset", "tiny", "--max-steps", "1"]) == 1
    err = capsys.readouterr().err
    assert 'it holds a conversation, under "messages"' in err and 'write the text of each under "text"' in err
    assert "--skip-bad" not in err
