"""`pylm data clean` and its neighbours: the lines that a person reads, configurations, and what goes wrong."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pylm.cli import run
from pylm.data.for_training import prepare_for_training
from tests.data.cleaning.run.corpus import digest, documents, lines, write

PYLM = [sys.executable, "-m", "pylm", "data", "clean"]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith(("PYLM_", "SLURM_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PYLM_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def source(tmp_path: Path) -> str:
    write(tmp_path / "rows.jsonl", documents())
    return "rows.jsonl"


Caught = pytest.CaptureFixture[str]


def said(capsys: Caught, *args: object, code: int = 0) -> str:
    """What a command of `pylm` prints, errors and all."""
    capsys.readouterr()
    assert run(list(map(str, args))) == code, capsys.readouterr().err
    out, err = capsys.readouterr()
    return out + err


def test_the_closing_lines_say_what_went_and_where_to_look(capsys: Caught, source: str) -> None:
    shown = said(capsys, "data", "clean", source, "--out", "out", "--rules", "none")
    assert "of 283 documents kept" in shown and "exact_duplicate" in shown and shown.endswith("out/report.html\n")
    assert "most of the text went" not in shown
    again = said(capsys, "data", "clean", source, "--out", "out", "--rules", "none")
    assert again.startswith("out is done already: ")


def test_a_text_that_is_nearly_all_gone_is_said_to_be(capsys: Caught) -> None:
    verses = [
        {"text": f"Some {word} came quickly. Another left under morning {word[::-1]}"}
        for word in ("rose", "snow", "tide", "wind")
    ]
    write(Path("verses.jsonl"), verses)
    shown = said(capsys, "data", "clean", "verses.jsonl", "--out", "out")
    assert "all of the text went" in shown and "--rules none" in shown
    named = re.search(r"--set (\S+)=off.* (pylm data rethreshold out \1=off) ", shown)
    assert named
    assert said(capsys, *named[2].split()[1:]).count("before") == 1  # the line that it names works


def test_a_folder_is_verified_to_the_byte(capsys: Caught, source: str) -> None:
    said(capsys, "data", "clean", source, "--out", "out")
    assert "out is sound" in said(capsys, "data", "verify", "out")
    path = Path("out/text_00000.jsonl")
    path.write_bytes(path.read_bytes().replace(b"the", b"teh", 1))
    assert "text_00000.jsonl: another content" in said(capsys, "data", "verify", "out", code=3)


def test_a_configuration_says_what_is_cleaned_and_how(capsys: Caught, source: str) -> None:
    Path("c.yaml").write_text(
        f"data:\n  sources: {{{source}: 1}}\n"
        "  clean: {rules: gopher, near: 0.95, exact: off, pii: off, set: {gopher.word_count: 3}}\n"
    )
    said(capsys, "data", "clean", "--config", "c.yaml", "--out", "a")
    options = ["--rules", "gopher", "--near", "0.95", "--no-exact", "--pii", "off", "--set", "gopher.word_count=3"]
    said(capsys, "data", "clean", source, "--out", "b", *options)
    assert digest(Path("a")) == digest(Path("b"))
    said(capsys, "data", "clean", "--config", "c.yaml", "--pii", "mask", "--out", "c")  # what is typed goes before
    assert json.loads(Path("c/job.json").read_text())["request"]["pii"] == "mask"
    Path("c.yaml").write_text("data:\n  clean: {ruels: gopher}\n")
    shown = said(capsys, "data", "clean", source, "--config", "c.yaml", "--out", "d", code=2)
    assert "cleaning has no option ruels" in shown and "rules" in shown


def test_tokenizing_cleans_as_the_configuration_says(capsys: Caught, source: str) -> None:
    Path("c.yaml").write_text("data:\n  clean: {rules: none, near: off}\n")
    common = ["--vocab-size", "300", "--model", "bpe"]
    told = said(capsys, "tokenize", source, "--config", "c.yaml", "--out", "a", *common)
    assert "cleaned first: " in told and "exact_duplicate" in told and "near_duplicate" not in told
    said(capsys, "data", "clean", source, "--out", "kept", "--rules", "none", "--near", "off")
    said(capsys, "tokenize", "kept", "--out", "b", *common)
    for name in ("train_00000.bin", "val_00000.bin"):
        assert (Path("a") / name).read_bytes() == (Path("b") / name).read_bytes()


def test_training_cleans_its_own_text(source: str) -> None:
    done = prepare_for_training([source], 300, clean={"rules": "none", "near": "off"})
    assert done.cleaned is not None
    reasons = {one["reason"] for one in done.cleaned["removed"] if one["documents"]}
    assert "exact_duplicate" in reasons and "near_duplicate" not in reasons


def test_a_cleaned_folder_can_be_cleaned_again(capsys: Caught, source: str) -> None:
    said(capsys, "data", "clean", source, "--out", "once", "--rules", "none", "--no-exact", "--near", "off")
    said(capsys, "data", "clean", "once", "--out", "twice", "--rules", "none", "--pii", "tag", "--near", "off")
    kept = Path("twice/text_00000.jsonl").read_text(encoding="utf-8").split("\n")[:-1]
    pairs = [json.loads(line, object_pairs_hook=lambda pairs: [name for name, _ in pairs]) for line in kept]
    assert any("cluster" in names for names in pairs) and all(len({*names}) == len(names) for names in pairs)


def test_compressed_sources_keep_their_fields(capsys: Caught) -> None:
    rows = [{"id": "a", "text": "one", "n": 0.1}, {"id": "b", "text": "two", "deep": {"x": [1]}}]
    text = write(Path("a.jsonl"), rows).read_bytes()
    Path("b.jsonl.gz").write_bytes(gzip.compress(text))
    plain = ["--rules", "none", "--no-exact", "--near", "off"]
    for name in ("a.jsonl", "b.jsonl.gz"):
        said(capsys, "data", "clean", name, "--out", name[0], *plain)
        assert lines(Path(name[0]), "text") == rows
    said(capsys, "data", "clean", "a.jsonl", "--out", "z", "--compress", "zst", *plain)
    said(capsys, "data", "clean", "z/text_00000.jsonl.zst", "--out", "c", *plain)
    assert lines(Path("c"), "text") == rows
    arrow = pytest.importorskip("pyarrow")
    packed = arrow.input_stream("z/text_00000.jsonl.zst", compression="zstd").read()
    assert packed == Path("a/text_00000.jsonl").read_bytes()


def test_parquet_keeps_its_columns(capsys: Caught) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    arrow = pytest.importorskip("pyarrow")
    rows = [{"id": "a", "body": "one", "n": 1, "x": [1, 2]}, {"id": "b", "body": "two", "n": None, "x": []}]
    parquet.write_table(arrow.Table.from_pylist(rows), "rows.parquet")
    said(capsys, "data", "clean", "rows.parquet", "--column", "body", "--out", "p", "--rules", "none", "--near", "off")
    kept = lines(Path("p"), "text")
    assert [(line["id"], line["text"]) for line in kept] == [("a", "one"), ("b", "two")]
    assert kept[0]["n"] == 1 and kept[0]["x"] == [1, 2] and not kept[1].get("n")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--rules", "finweb"], "there are no rules finweb"),
        (["--set", "gopher.word_cuont=5"], "gopher.word_cuont"),
        (["--set", "gopher.word_count"], "sets nothing"),
        (["--languages", "Klingonese"], "Klingonese"),
        (["--near", "1.5"], "near"),
        (["--keep", "frist"], "frist"),
        (["--repair", "mojibak"], "there is no repair mojibak"),
        (["--classifier", "rows.jsonl:good>=0.5"], "rows.jsonl"),
        (["--classifier", "none.bin:good>=0.5"], "none.bin"),
        (["--language-model", "rows.jsonl"], "rows.jsonl"),
        (["--url-list", "none.txt"], "none.txt"),
        (["--against", "none.jsonl"], "none.jsonl"),
        (["--bad-words", "none.txt"], "none.txt"),
        (["--rules", "fineweb2:none"], "none"),
        (["--tags-only", "--keep-removed"], "--tags-only"),
        (["--field", "body"], "body"),
        (["--limit", "some"], "some"),
    ],
)
def test_what_cannot_be_is_one_sentence(capsys: Caught, source: str, options: list[str], sentence: str) -> None:
    capsys.readouterr()
    assert run(["data", "clean", source, "--out", "out", *options]) in (1, 2, 3)
    out, err = capsys.readouterr()
    told = err.strip().splitlines()
    assert not out and told[0].startswith("error: ") and sentence in told[0], err
    assert len(told) <= 2 and not Path("out/manifest.json").exists()


def test_sources_without_text_are_one_sentence(capsys: Caught) -> None:
    for name, text in (("empty.jsonl", ""), ("none.jsonl", '{"text": null}\n'), ("blank.txt", "\n\n")):
        Path(name).write_text(text)
    for name in ("empty.jsonl", "none.jsonl"):
        assert "hold no text" in said(capsys, "data", "clean", name, "--out", name[0], code=1)
    assert "missing.txt" in said(capsys, "data", "clean", "missing.txt", "--out", "m", code=1)


def test_tags_of_somebody_else_are_left_alone(capsys: Caught, source: str) -> None:
    said(capsys, "data", "clean", source, "--out", "done", "--keep-removed")
    Path("out/tags").mkdir(parents=True)
    Path("out/tags/mine.txt").write_text("mine")
    for command in (("clean", source), ("rethreshold", "done", "gopher.word_count=1")):
        assert "holds a file that no job of ours wrote" in said(capsys, "data", *command, "--out", "out", code=1)
        assert Path("out/tags/mine.txt").read_text() == "mine"


def test_what_an_error_advises_is_done_in_the_same_folder(capsys: Caught) -> None:
    Path("bad.txt").write_bytes(b"one \xff two\n")
    assert "--invalid replace" in said(capsys, "data", "clean", "bad.txt", "--out", "out", code=1)
    assert "pylm data clean" in said(capsys, "data", "verify", "out", code=1)
    said(capsys, "data", "clean", "bad.txt", "--out", "out", "--invalid", "replace", "--rules", "none")
    assert [line["text"] for line in lines(Path("out"), "text")] == ["one \ufffd two\n"]
    shown = said(capsys, "data", "clean", "bad.txt", "--out", "out", "--near", "off", code=1)
    assert "out holds text cleaned with" in shown


def test_broken_lines_that_are_left_out_are_told(capsys: Caught) -> None:
    Path("rows.jsonl").write_text('{"text": "one"}\n{"text": "two", broken\n[]\n')
    shown = said(capsys, "data", "clean", "rows.jsonl", "--out", "out", "--rules", "none", "--skip-bad")
    assert "1 of 1 documents kept" in shown and "2 broken lines left out" in shown


def test_a_folder_of_another_run_is_left_alone(capsys: Caught, source: str) -> None:
    said(capsys, "data", "clean", source, "--out", "out")
    before = digest(Path("out"))
    shown = said(capsys, "data", "clean", source, "--out", "out", "--near", "off", code=1)
    assert "out holds text cleaned with near" in shown and "--force" in shown and digest(Path("out")) == before
    said(capsys, "data", "clean", source, "--out", "out", "--near", "off", "--force")
    write(Path("other.jsonl"), documents(2))
    assert "out holds text" in said(capsys, "data", "clean", "other.jsonl", "--out", "out", "--near", "off", code=1)


def test_a_full_disk_leaves_what_is_complete_and_a_rerun_goes_on(capsys: Caught) -> None:
    Path("texts").mkdir()
    for number in range(6):
        write(Path("texts") / f"{number}.jsonl", documents(number, 120))
    plain = ["texts", "--rules", "none", "--near", "off"]
    said(capsys, "data", "clean", *plain, "--out", "whole")
    most = Path("whole/text_00000.jsonl").stat().st_size
    for share in (0.02, 0.5, 0.99):  # in a part, in the tags, in the text
        limit = int(most * share)
        code = "import sys; from pylm.cli import run; sys.exit(run(sys.argv[1:]))"
        full = subprocess.run(
            [sys.executable, "-c", code, "data", "clean", *plain, "--out", "x"],
            capture_output=True,
            text=True,
            check=False,
            preexec_fn=lambda most=limit: resource.setrlimit(resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY)),
        )
        assert full.returncode == 1 and "cannot write" in full.stderr, full.stderr
        assert not Path("x/manifest.json").exists() and not list(Path("x").glob("*.tmp*"))
    said(capsys, "data", "clean", *plain, "--out", "x")
    assert digest(Path("x")) == digest(Path("whole"))


def test_ctrl_c_stops_it_and_the_same_command_goes_on(capsys: Caught) -> None:
    Path("texts").mkdir()
    for number in range(12):
        write(Path("texts") / f"{number}.jsonl", documents(number, 150))
    args = ["texts", "--threads", "1", "--out"]
    process = subprocess.Popen([*PYLM, *args, "x"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not list(Path("x").glob(".parts/*.json")) and time.monotonic() < deadline:
        time.sleep(0.005)
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    if process.returncode != 0:  # it may have been done by then
        assert process.returncode == 130 and "Traceback" not in err and not Path("x/manifest.json").exists(), err
    said(capsys, "data", "clean", *args, "x")
    said(capsys, "data", "clean", *args, "whole")
    assert digest(Path("x")) == digest(Path("whole"))
