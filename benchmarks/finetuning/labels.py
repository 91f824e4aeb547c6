"""Labels and bins beside TRL's: the same tokens are learned, and windows are as full."""

from __future__ import annotations

import json
import random
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from benchmarks.compare import Compare
from benchmarks.report import Row

ROOT = Path(__file__).resolve().parent.parent.parent
BESIDE = ROOT / ".venv" / "peers-after" / "bin" / "python"  # of `make peers-after`
SIDES = Path(__file__).with_name("trl_sides.py")
EXAMPLES = 1000
WORDS = (
    "the a in of and to what who why how is are was it tree house river blue seven 12 1999 naïve Zürich 猫 😀".split()
)
TEMPLATES = ("qwen2_5", "qwen3", "llama3", "phi3", "gemma")  # TRL's own, for training
MEDIAN, CONTEXT = 150, 1024
CROSSINGS = "finetuning_crossings.txt"  # beside the rows: the examples that differ, a line each
AROUND = 16  # letters of the text on each side of a border


def beside(function: str, out: Path, **arguments: Any) -> Any:
    """What TRL answers in the environment that has it."""
    if not BESIDE.exists():
        pytest.skip("TRL is not there: make peers-after")
    words = [str(BESIDE), str(SIDES), function, json.dumps(arguments), str(out)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(out.read_text())


def templates() -> list[Path]:
    """Templates of TRL's that mark what is learned."""
    folder = next(BESIDE.parent.parent.glob("lib/python3*/site-packages/trl/chat_templates"), None)
    return [] if folder is None else [folder / f"{name}_training.jinja" for name in TEMPLATES]


def trl_version() -> str:
    found = subprocess.run(
        [str(BESIDE), "-c", "import importlib.metadata as m; print(m.version('trl'))"], capture_output=True, text=True
    )
    return found.stdout.strip()


def said(drawn: random.Random, most: int) -> str:
    """Words as people write them, with ends of lines, spaces and letters that stick to each other."""
    return "".join(drawn.choice(WORDS) + drawn.choice(" " * 6 + "\n,.'-") for _ in range(drawn.randint(1, most)))


def pairs() -> list[dict[str, Any]]:
    drawn = random.Random(1)
    border = lambda: drawn.choice(["", "", " ", "\n", "  "])  # noqa: E731
    return [{"prompt": said(drawn, 40) + border(), "completion": border() + said(drawn, 12)} for _ in range(EXAMPLES)]


def talks() -> list[dict[str, Any]]:
    drawn = random.Random(2)
    turns = lambda: [  # noqa: E731
        turn
        for _ in range(drawn.randint(1, 3))
        for turn in ({"role": "user", "content": said(drawn, 20)}, {"role": "assistant", "content": said(drawn, 12)})
    ]
    return [{"messages": turns()} for _ in range(EXAMPLES)]


class Difference(NamedTuple):
    """An example that has other labels here than in TRL."""

    index: int
    crossed: bool  # a merge joins its prompt with what is learned
    before: str  # the text that ends at the border
    after: str
    ours: int  # labels that are learned
    theirs: int

    def line(self, what: str) -> str:
        """It as a line of the list."""
        border = f"{json.dumps(self.before, ensure_ascii=False)} | {json.dumps(self.after, ensure_ascii=False)}"
        return f"{what}, example {self.index}: {border}, {self.ours} labels here, {self.theirs} in TRL"


def differences(rows: list[dict[str, Any]], theirs: list[Any], tokenizer: Any, template: Any) -> list[Difference]:
    """The examples that have other labels than TRL's."""
    from pylm.data.chat import Masker

    masker, found = Masker(tokenizer, template), []
    for index, (row, (ids, labels)) in enumerate(zip(rows, theirs, strict=True)):
        made = masker.mask(row)
        ours = np.where(made.counts, made.ids, -100).tolist()
        # a conversation ends with an end of text that nothing learns
        if made.ids[: len(ids)].tolist() == ids and ours[1 : len(ids)] == labels[1:]:
            if not made.counts[len(ids) :].any():
                continue
        border = int(made.counts.argmax())
        before, after = (tokenizer.decode(some.tolist()) for some in np.split(made.ids, [border]))
        counts = int(made.counts.sum()), sum(label != -100 for label in labels)
        found.append(Difference(index, made.crossed, before[-AROUND:], after[:AROUND], *counts))
    return found


@pytest.mark.filterwarnings("ignore:Benchmark fixture was not used")
def test_labels(compare: Compare, tmp_path: Path) -> None:
    from pylm.data.chat import tokens_needed
    from pylm.data.chat.templates import Template
    from pylm.tokenizer import Tokenizer
    from pylm.tokenizer.grown import grown

    drawn = random.Random(0)
    plain = Tokenizer.train(lambda: [said(drawn, 200) for _ in range(2000)], vocab_size=500)
    sets: list[tuple[list[dict[str, Any]], Tokenizer, Template | None]] = [(pairs(), plain, None)]
    for file in templates():
        template = Template(file.name.removesuffix("_training.jinja"), file.read_text(), is_given=True)
        sets.append((talks(), grown(plain, tokens_needed(template, plain)), template))
    asked = []
    for number, (rows, tokenizer, template) in enumerate(sets):
        place = tmp_path / str(number)
        tokenizer.save(place)
        (place / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        (place / "template.jinja").write_text("" if template is None else template.text)
        asked.append({"tokenizer": str(place), "rows": str(place / "rows.jsonl")})
        asked[-1]["template"] = None if template is None else str(place / "template.jinja")
    answered = beside("labels", tmp_path / "out.json", sets=asked)
    listed: list[str] = []
    for (rows, tokenizer, template), theirs in zip(sets, answered, strict=True):
        what = "prompts and completions" if template is None else f"conversations by {template.name}"
        found = differences(rows, theirs, tokenizer, template)
        crossed = [one for one in found if one.crossed]
        listed += [one.line(what) for one in crossed]
        name = f"other labels than TRL's, {what}: {len(crossed)} where a merge crosses, and where none does"
        others = len(found) - len(crossed)
        verdict = "met" if others == 0 and len(crossed) < EXAMPLES / 2 else "short"
        compare.report.add(
            compare.subject, Row(name, others, 0, trl_version(), None, None, "0", verdict, f"of {EXAMPLES}")
        )
    (compare.report.folder / CROSSINGS).write_text("".join(f"{line}\n" for line in listed))


@pytest.mark.filterwarnings("ignore:Benchmark fixture was not used")
def test_bins(compare: Compare, tmp_path: Path) -> None:
    from pylm.data import Loader
    from pylm.data.chat import prepare
    from pylm.tokenizer import Tokenizer

    drawn = np.random.default_rng(5)
    lengths = np.clip(drawn.lognormal(np.log(MEDIAN), 0.8, 20_000).round().astype(int), 8, CONTEXT).tolist()
    letters = Tokenizer.train(lambda: ["a"], vocab_size=257)  # a token a letter
    rows = ({"prompt": "a", "completion": "b" * (length - 1)} for length in lengths)
    folder = prepare(rows, letters, tmp_path / "x", val=0)
    loader = Loader(folder, CONTEXT, 1, window="packed")
    assert loader.tokens == sum(lengths) + len(lengths)  # an end of text each, which is no input
    share = 100 * sum(lengths) / (loader.windows * CONTEXT)
    theirs = beside("bins", tmp_path / "out.json", lengths=lengths, context=CONTEXT)
    name = "windows of 1,024 that examples of a median of 150 fill"
    verdict = "met" if loader.windows <= theirs else "short"
    compare.report.add(
        compare.subject,
        Row(name, loader.windows, theirs, trl_version(), loader.windows / theirs, None, "≤ 1×", verdict, "windows"),
    )
    verdict = "met" if share >= 98 else "short"
    compare.report.add(compare.subject, Row("how full they are", share, None, None, None, None, "≥ 98 %", verdict, "%"))
