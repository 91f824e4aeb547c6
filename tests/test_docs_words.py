"""docs/formats.md names every file that a text, a run and a conversation leave, and every key inside of them.

And the pages hang together: links lead to pages and headings that are there, README stays short.
"""

from __future__ import annotations

import io
import json
import random
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from pylm.cli import run
from pylm.runs import read_lines
from tests.generation.small import small_model, write_run

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "formats.md").read_text(encoding="utf-8")
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("kernels/*.md")])
LINK = re.compile(r"\]\(([^)\s]+)\)")
MOST_LINES = 250  # of README
WORDS = "the cat sat on a mat and then it ran to see what was there but there was only an old dog".split()
SHAPE = ["--n-layers", "1", "--n-heads", "2", "--d-model", "32", "--context-length", "16", "--batch-tokens", "64"]
PACE = ["--log-every", "1", "--eval-every", "40", "--save-every", "40", "--schedule", "constant", "--optimizer", "muon"]
FEW = ["--eval-batches", "2", "--sample.max-tokens", "4"]
# Named in the page and not left by this run: other backends, devices, data and precisions
ELSEWHERE = {"forward+backward", "mlx", "cuda", "mps", "loss_scale"}


def section(title: str) -> str:
    """The text under a heading, up to the next one of its level."""
    level = re.search(rf"^(#+) {re.escape(title)}$", PAGE, re.MULTILINE)
    assert level, f"docs/formats.md has no heading {title!r}"
    return re.split(rf"^#{{1,{len(level[1])}}} ", PAGE[level.end() :], maxsplit=1, flags=re.MULTILINE)[0]


def named(text: str) -> set[str]:
    """Whatever stands in backticks, or between quotes in an example of JSON."""
    return {
        *re.findall(r"`([^`\n]+)`", text),
        *re.findall(r'"([^"\n]+)":', text),
        *re.findall(r"^([\w.]+)", text, re.M),
    }


def rows(title: str, column: int) -> dict[str, str]:
    """A section's names in the first column of its tables, each with another column."""
    found = {}
    for line in section(title).splitlines():
        cells = re.split(r"\s*\|\s*", line)[1:-1]
        if line.startswith("| `"):
            found |= dict.fromkeys(re.findall(r"`([^`]+)`", cells[0]), cells[column])
    return found


def file_names(folder: Path) -> set[str]:
    return {re.sub(r"\d{5}", "00000", path.name) for path in folder.iterdir()}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A tokenizer with each of its files, shards, a run whose loss jumps, and a conversation."""
    folder = tmp_path_factory.mktemp("formats")
    chance = random.Random(5)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # products this small only wait for a second one
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("PYLM_CACHE", str(folder / "cache"))
        documents = [" ".join(chance.choices(WORDS, k=chance.randrange(5, 40))) for _ in range(300)]
        Path("a.txt").write_text("<|endoftext|>".join(documents))
        assert run(["tokenizer", "train", "a.txt", "--vocab-size", "300", "--export", "tiktoken", "--out", "tok"]) == 0
        assert run(["tokenize", "a.txt", "--tokenizer", "tok", "--val", "0.1", "--out", "data"]) == 0
        # settled at first, then with a rate at which no loss stays where it was
        line = ["train", "--data", "data", *SHAPE, *PACE, *FEW, "--max-steps", "60", "--average", "ema"]
        assert run([*line, "--out", "runs/x"]) == 0
        rate = ["--learning-rate", "1", "--max-steps", "63", "--max-time", "1h"]
        Path("q.jsonl").write_text('{"query": "a", "choices": ["b", "c"], "gold": 0}\n')
        Path("q.yaml").write_text("tasks: [{name: q, file: q.jsonl, baseline: 50}]\nscore: Q")
        assert run(["train", "--resume", "auto", "--out", "runs/x", *rate, "--suite", "q.yaml"]) == 0
        yield folder
    torch.set_num_threads(threads)


def test_every_file_of_the_folders_is_named(place: Path) -> None:
    checkpoint = place / "runs/x/checkpoints/step_63"
    for folder, title in (
        (place / "tok", "Tokenizer folder"),
        (place / "data", "Token shards"),
        (checkpoint, "Checkpoint folder"),
        (place / "cache", "The cache folder"),
    ):
        names = {name.rstrip("/") for name in named(section(title))} | {"train_00000.idx", "val_00000.idx"}
        names = {*names, *(name.split("/")[0] for name in names)}
        assert file_names(folder) <= names, title
    held = {str(path.relative_to(place / "runs/x")) for path in (place / "runs/x").rglob("*") if path.is_file()}
    held = {re.sub(r"step_\d+/.*", "step_N/", name) for name in held}
    assert held <= named(section("Run folder")), "Run folder"
    assert "incidents.jsonl" in held and "samples.jsonl" in held


def test_every_name_in_metrics_has_its_meaning_and_its_unit(place: Path) -> None:
    records = read_lines(place / "runs/x/metrics.jsonl")
    keys = {key for record in records for key in record}
    phases = {phase for record in records for phase in record.get("phase", {})}
    described = rows("metrics.jsonl", 2)
    assert keys == described.keys(), "the tables name what is written and nothing else"
    assert all(described.values())
    inside = set(re.findall(r"`([\w+]+)`", described["phase"])) - ELSEWHERE
    assert phases == inside
    units = rows("metrics.jsonl", 1)
    assert units["loss"] == "nats a token" and units["memory"] == "bytes" and units["seconds"] == ""  # as above


def test_every_key_of_the_other_files_is_named(place: Path) -> None:
    checkpoint = place / "runs/x/checkpoints/step_63"
    state = json.loads((checkpoint / "state.json").read_text())
    environment = json.loads((place / "runs/x/environment.json").read_text())
    manifest = json.loads((place / "data/manifest.json").read_text())
    for content, title in (
        (state, "Checkpoint folder"),
        (environment, "Run folder"),
        (manifest, "Token shards"),
        (json.loads((checkpoint / "manifest.json").read_text()), "Checkpoint folder"),
    ):
        names = named(section(title)) | (named(section("Run folder")) if content is state else set())
        missing = set(content) - names
        assert not missing, f"{title}: {missing}"
    inside = named(section("Checkpoint folder"))
    for key in ("progress", "length", "loader", "rng"):
        assert set(state[key]) <= inside, key
    assert set(state["choices"]) == set(environment["choices"]) <= named(section("Run folder"))
    shards = named(section("Token shards"))
    for split in manifest["splits"].values():
        assert set(split) <= shards and all(set(shard) <= shards for shard in split["shards"])
    for name, title in (("samples.jsonl", "Run folder"), ("incidents.jsonl", "incidents.jsonl")):
        (record, *_) = read_lines(place / "runs/x" / name)
        assert set(record) <= named(section(title)), name
    assert set(record["documents"][0]) <= named(section("incidents.jsonl"))
    from pylm.checkpoint import read_tensors

    parts = {name.partition(".")[0] for name in read_tensors(checkpoint / "optimizer.safetensors")}
    assert parts == {"step", "first", "second", "momentum"}
    assert all(f"{part}.NAME" in inside or part == "step" for part in parts)


def test_every_key_of_a_conversation_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from pylm import Tokenizer
    from pylm.tokenizer.chat import CHATML
    from tests.generation.small import END, small_tokenizer

    bare = small_tokenizer("<|im_start|>", "<|im_end|>")
    tokenizer = Tokenizer.from_tokenizer_json(
        bare.files()["tokenizer.json"], {"chat_template": CHATML, "eos_token": END}
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYLM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("pylm.checkpoint.verified.A_MOMENT", 0.0)  # what chat finds sound is remembered at any age
    write_run(tmp_path / "runs" / "x", small_model(tokenizer.vocab_size, context_length=256), tokenizer, step=1)
    monkeypatch.setattr(sys, "stdin", io.StringIO("hi\n"))
    assert run(["chat", "--session", "talk.json", "--max-tokens", "4", "--system", "Short."]) == 0
    talk: dict[str, Any] = json.loads((tmp_path / "talk.json").read_text())
    names = named(section("A saved conversation"))
    assert set(talk) <= names
    assert {key for message in talk["messages"] for key in message} <= names
    assert {message["role"] for message in talk["messages"]} <= names
    assert file_names(tmp_path / "cache") <= {name.split("/")[0] for name in named(section("The cache folder"))}
    capsys.readouterr()


def anchors(page: Path) -> set[str]:
    """The names that a page's headings have as targets of links."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for link in LINK.findall(page.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+://", link):
            continue
        path, _, anchor = link.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), f"{page.name} links to {link}, which is not there"
        assert not anchor or anchor in anchors(there), f"{page.name} links to {link}, a heading that is not there"


def test_the_pages_are_all_listed_and_readme_stays_readable() -> None:
    listed = set(LINK.findall((ROOT / "docs" / "README.md").read_text(encoding="utf-8")))
    assert {page.name for page in (ROOT / "docs").glob("*.md")} - {"README.md"} <= listed
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) < MOST_LINES


def test_the_files_of_the_house_are_where_the_page_says() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`([\w./]+(?:\.py|/))`", page))
    kernels = ROOT / "kernels" / "pylm_kernels"
    bases = [ROOT, ROOT / "pylm", ROOT / "pylm" / "cli", kernels, kernels / "ops" / "rms_norm", ROOT / "csrc" / "cpu"]
    assert len(named) >= 40
    assert {name for name in named if not any((base / name).exists() for base in bases)} == set()
