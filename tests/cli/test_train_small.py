"""`pylm train` on little text: without validation where none can be held back, and refused before anything is made."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from pylm import checkpoint
from pylm.cli import run
from pylm.data.stories import SEPARATOR, stories
from pylm.runs import read_lines

SHAPE = ["--n-layers", "1", "--n-heads", "1", "--d-model", "16", "--d-ff", "16"]
QUICK = ["--max-steps", "1", "--batch-tokens", "2048", "--sample-every", "null", "--precision", "fp32"]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("small")
    for size, name in ((100, "words"), (1_000, "k1"), (20_000, "k20"), (70_000, "k70"), (152_000, "book")):
        text = "".join(stories(size, 1))[: size if size < 1000 else None]
        (folder / f"{name}.txt").write_text(text.replace(SEPARATOR, "\n\n") if name in ("words", "book") else text)
    return folder


@pytest.fixture(autouse=True)
def here(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workplace)
    monkeypatch.setenv("PYLM_CACHE", str(workplace / "cache"))


def validated(folder: str) -> bool:
    return any("val_loss" in record for record in read_lines(Path(folder, "metrics.jsonl")))


@pytest.mark.parametrize("text", ["k1", "k20", "k70"])
def test_a_small_text_trains_without_validation_and_says_so_first(text: str, capsys: Any) -> None:
    held = "no validation split" if text == "k1" else "without validation"
    assert run(["train", f"{text}.txt", "--max-steps", "1", "--out", f"runs/{text}"]) == 0
    said = capsys.readouterr().err
    assert said.count(held) == 1
    for plan in ("2 layers of 128", "model  ", "length  "):
        assert said.index(held) < said.index(plan)
    assert not validated(f"runs/{text}")
    assert [record["step"] for record in read_lines(Path(f"runs/{text}/metrics.jsonl"))] == [1]


def test_prompts_come_from_a_packed_split_that_holds_no_whole_window(workplace: Path) -> None:
    """Packed windows end with their document, and a sample's prompt is eight tokens of whatever is there."""
    words = ["--data", "data/k70", *SHAPE, "--context-length", "256", "--max-steps", "1", "--batch-tokens", "2048"]
    words += ["--data.window", "packed", "--sample-every", "1", "--precision", "fp32"]
    text = "".join(stories(70_000, 1))
    (workplace / "k70.txt").write_text(text)
    assert run(["tokenize", "k70.txt", "--vocab-size", "300", "--val", "0.004", "--out", "data/k70", "--force"]) == 0
    assert run(["train", *words, "--out", "runs/packed"]) == 0
    assert Path("runs/packed/samples.jsonl").read_text().count("\n") == 2


def test_what_is_said_brings_validation_back(capsys: Any) -> None:
    assert run(["train", "k20.txt", *SHAPE, *QUICK, "--context-length", "256", "--out", "runs/none"]) == 0
    said = capsys.readouterr().err
    assert "the text held back for it is" in said and "a window of 256 takes one more than that" in said
    length = said.partition("--context-length ")[2].partition(",")[0]
    assert run(["train", "k20.txt", *SHAPE, *QUICK, "--context-length", length, "--out", "runs/some"]) == 0
    assert "without validation" not in capsys.readouterr().err and validated("runs/some")


def test_one_long_document_under_a_long_context(capsys: Any) -> None:
    words = ["--preset", "gpt2-124m", *SHAPE, *QUICK, "--out", "runs/book"]
    assert run(["train", "book.txt", *words]) == 0
    assert "a window of 1,024 takes one more than that" in capsys.readouterr().err
    assert not validated("runs/book")
    # killed or stopped, it goes on in the same way
    assert run(["train", "--resume", "auto", "--out", "runs/book", "--max-steps", "2"]) == 0
    assert "training without validation" in capsys.readouterr().err


@pytest.mark.parametrize("shape", [[], ["--depth", "3"], [*SHAPE, "--context-length", "256"]])
def test_a_text_without_one_window_is_refused_first_and_the_hint_works(
    shape: list[str], capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pylm.training import size

    with monkeypatch.context() as patch:  # nothing is measured before
        patch.setattr(size, "measured_flops", lambda *_: pytest.fail("measured"))
        assert run(["train", "words.txt", *shape, "--out", "runs/words"]) == 1
    err = capsys.readouterr().err
    assert "words.txt is too small to train on" in err and "a window of 256" in err and "layers" not in err
    assert not Path("runs/words").exists()
    option = err.partition("hint: ")[2].split(" trains")[0]
    at = shape.index("--context-length") if "--context-length" in shape else len(shape)
    words = ["train", "words.txt", *shape[:at], *shlex.split(option), "--max-steps", "1", "--out"]
    assert run([*words, f"runs/words-{len(shape)}"]) == 0


def test_a_folder_to_validate_on_that_was_asked_for_must_hold_a_window(capsys: Any) -> None:
    assert run(["tokenize", "k1.txt", "--out", "data/little"]) == 0
    assert run(["tokenize", "k20.txt", "--tokenizer", "data/little", "--out", "data/more"]) == 0
    line = ["train", "--data", "data/more", *SHAPE, *QUICK, "--context-length", "2048", "--data.val", "data/little"]
    assert run([*line, "--out", "runs/val"]) == 1
    err = capsys.readouterr().err
    assert "data.val data/little is" in err and "leave --val out" in err and not Path("runs/val").exists()


def test_a_vocabulary_is_built_as_large_as_asked(capsys: Any) -> None:
    words = ["--vocab-size", "300", *SHAPE, *QUICK, "--context-length", "64"]
    assert run(["train", "k70.txt", *words, "--out", "runs/other"]) == 1  # it is tokenized already, with another
    err = capsys.readouterr().err
    again = err.partition("; ")[2].partition(" makes")[0]
    assert again == "pylm tokenize k70.txt --vocab-size 300 --force"
    assert run(shlex.split(again)[1:]) == 0
    assert run(["train", "k70.txt", *words, "--out", "runs/300"]) == 0
    assert json.loads(Path("data/k70/manifest.json").read_text())["vocab_size"] == 300


def test_text_that_gives_too_small_a_vocabulary_says_what_works_when_typed(capsys: Any) -> None:
    Path("same.txt").write_text("so it goes. " * 3000)
    words = ["train", "same.txt", *SHAPE, *QUICK, "--context-length", "64", "--out", "runs/same"]
    assert run([*words, "--vocab-size", "2000"]) != 0
    size = capsys.readouterr().err.partition("vocabulary of ")[2]
    hinted = [word for word in size.replace(",", "").split() if word.isdigit()][-1]
    assert run([*words, "--vocab-size", hinted]) == 0


def test_several_texts_and_a_pattern_are_one(capsys: Any) -> None:
    for name in ("part-a", "part-b"):
        Path(f"{name}.txt").write_text("".join(stories(8_000, ord(name[-1]))))
    assert run(["train", "part-a.txt", "part-b.txt", *SHAPE, *QUICK, "--context-length", "64", "--out", "r/1"]) == 0
    both = json.loads(Path("data/part-a/manifest.json").read_text())["splits"]["train"]["tokens"]
    assert run(["train", "part-*.txt", *SHAPE, *QUICK, "--context-length", "64", "--out", "r/2"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 6 and both > 2000
    assert run(["train", "part-a.txt", "nowhere.txt"]) == 1
    assert "nowhere.txt: no such file" in capsys.readouterr().err


def test_time_that_is_added_is_spent_on_steps(capsys: Any) -> None:
    words = [
        *SHAPE,
        *QUICK,
        "--context-length",
        "64",
        "--max-steps",
        "10",
        "--out",
        "runs/pace",
        "--eval-every",
        "null",
    ]
    assert run(["train", "k20.txt", *words]) == 0
    spent = json.loads(Path("runs/pace/checkpoints/step_10/state.json").read_text())["progress"]["seconds"]
    again = ["train", "--resume", "auto", "--out", "runs/pace", "--max-steps", "null", "--max-time", "+2s"]
    assert run(again) == 0
    assert "its time is up" in "".join(capsys.readouterr())
    state = checkpoint.read(checkpoint.find("runs/pace/last")).state
    assert state["step"] > 10 and state["length"]["seconds"] == pytest.approx(spent + 2)
