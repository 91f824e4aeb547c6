"""Each example runs as it stands, in an empty folder, on a text that is made here."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pylm.data.stories import stories
from tests.support.small_runs import SMALL

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
TESTED = {"train.py", "quickstart.ipynb", "kernels_in_your_model.py", "finetune.py"}


def ran(folder: Path, *words: str) -> str:
    environment = {**os.environ, **SMALL, "PYLM_CACHE": str(folder / "cache")}
    done = subprocess.run([sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_example_is_tested() -> None:
    assert {path.name for path in EXAMPLES.iterdir() if path.suffix in (".py", ".ipynb")} == TESTED


def test_train(tmp_path: Path) -> None:
    (tmp_path / "my.txt").write_text("".join(stories(200_000)), encoding="utf-8")
    said = ran(tmp_path, str(EXAMPLES / "train.py"), "my.txt", "runs/mine", "0.05")
    assert "my.txt is tokenized: data/my" in said and "parameters" in said and "validation loss" in said
    assert (tmp_path / "runs/mine/checkpoints/last").is_file()
    again = ran(tmp_path, str(EXAMPLES / "train.py"), "my.txt", "runs/mine", "0.05")
    assert "which it had reached before" in again


def test_finetune(tmp_path: Path) -> None:
    (tmp_path / "my.txt").write_text("".join(stories(100_000)), encoding="utf-8")
    ran(tmp_path, str(EXAMPLES / "train.py"), "my.txt", "runs/mine", "0.02")
    turns = [{"role": "user", "content": "say red cat"}, {"role": "assistant", "content": "red cat"}]
    rows = [json.dumps({"messages": [{**turns[0], "content": f"say {n}"}, turns[1]]}) for n in range(60)]
    (tmp_path / "chat.jsonl").write_text("\n".join(rows), encoding="utf-8")
    said = ran(tmp_path, str(EXAMPLES / "finetune.py"), "runs/mine", "chat.jsonl", "runs/tuned", "1")
    assert "60 examples" in said and "the vocabulary grows" in said and "learning rate" in said
    assert "loss of held-out answers" in said and (tmp_path / "runs/tuned/checkpoints/last").is_file()


def test_the_notebook_runs_from_top_to_bottom(tmp_path: Path) -> None:
    cells = json.loads((EXAMPLES / "quickstart.ipynb").read_text(encoding="utf-8"))["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    assert all(not cell.get("outputs") for cell in cells), "a notebook is committed without its outputs"
    # shorter than a reader's, and the last value of a cell is shown, as a notebook does
    short = [text.replace("400_000", "150_000").replace('"20s"', '"4s"').replace('"+5s"', '"+2s"') for text in code]
    assert sum(one != other for one, other in zip(code, short, strict=True)) == 3
    (tmp_path / "cells.py").write_text("\n".join(map(with_last_value_shown, short)), encoding="utf-8")
    said = ran(tmp_path, "cells.py")
    assert "<pylm.Run runs/notebook step" in said and "validation loss" in said
    assert "no such key: learnig_rate" in said and "did you mean learning_rate?" in said


def with_last_value_shown(cell: str) -> str:
    last = ast.parse(cell).body[-1]
    if not isinstance(last, ast.Expr) or isinstance(last.value, ast.Call):
        return cell
    return f"{cell}\nprint(repr({ast.unparse(last.value)}))"


@pytest.mark.parametrize("name", sorted(TESTED - {"quickstart.ipynb"}))
def test_an_example_says_how_it_is_used(name: str) -> None:
    assert (ast.get_docstring(ast.parse((EXAMPLES / name).read_text(encoding="utf-8"))) or "").count("\n") >= 1
