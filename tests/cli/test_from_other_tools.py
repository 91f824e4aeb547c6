"""docs/from-other-tools.md does not rot: every command has a row, and every line that it gives works."""

import argparse
import io
import re
import shlex
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import click
import pytest

from pylm.checkpoint import point
from pylm.cli import run
from pylm.cli.commands import COMMANDS
from pylm.cli.frame.command import Group
from pylm.cli.frame.entry import root
from pylm.data import catalogue
from pylm.data.getting.amount import Amount
from pylm.data.getting.call import Got
from pylm.tokenizer import Tokenizer
from pylm.training.ending import ended
from tests.generation.small import small_model, small_tokenizer, write_run
from tests.runs.made import made_run
from tests.runs.written import history, wandb_file, wandb_run

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomli")

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "from-other-tools.md"
MAKE_TARGETS = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
ROW = re.compile(r"^\| `(?P<old>[^`]+)` \| (?P<new>.+) \|$", re.MULTILINE)
SPAN = re.compile(r"`([^`]+)`")

# what each of the older tools' guides names as its commands
COMMANDS_OF = {"nue": 11, "The MLX transformer": 10, "buildingLLMFromScratch": 17, "microgpt": 6, "nash-llm": 14}


def lines():
    spans = [span for row in ROW.finditer(PAGE.read_text()) for span in SPAN.findall(row["new"])]
    return [line for line in dict.fromkeys(spans) if not line.startswith("--")]


def exists(line):
    """Whether the program or target of a line is there."""
    words = shlex.split(line)
    if words[0] == "make":
        return words[1] in MAKE_TARGETS
    assert words[0] == "pylm", line
    found, ctx = root, click.Context(root)
    for word in words[1:]:
        if not isinstance(found, Group):
            break
        found = found.get_command(ctx, word)
        if found is None:
            return False
    return True


def test_every_command_of_the_older_tools_has_a_row():
    page = PAGE.read_text()
    sections = {part.split("\n", 1)[0]: part for part in page.split("\n## ")[1:]}
    assert {name: len(ROW.findall(part)) for name, part in sections.items()} == COMMANDS_OF
    for row in ROW.finditer(page):
        assert SPAN.search(row["new"]) or "the line above" in row["new"], row["old"]


@pytest.mark.parametrize("line", lines())
def test_what_is_named_is_there(line):
    words = shlex.split(line)
    if words[0] in ("make", "pylm"):
        assert exists(line), f"{PAGE.name} names {line}, which is not there"
    elif words[:2] == ["uv", "sync"]:
        assert words[-1] in tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]
    elif words[0] == "pip":
        assert "train" in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
        assert words == ["pip", "install", "./kernels", ".[train]"] and (ROOT / "kernels" / "pyproject.toml").is_file()
    else:
        assert "pytest" in words[:3], line
        for word in words[words.index("pytest") + 1 :]:
            path, _, function = word.partition("::")
            if not word.startswith("-"):
                assert (ROOT / path).exists()
                assert not function or f"def {function}(" in (ROOT / path).read_text()


OLD_FILES = {
    "configs/model_config.yaml": "model: {embedding_dim: 64, num_layers: 2, num_heads: 2}\ntraining: {batch_size: 2}\n",
    "config/model_config.yaml": "model: {n_embd: 64, n_layers: 2, n_heads: 2, block_size: 64}\n",
    "config/training_config.yaml": "training: {batch_size: 8, gradient_accumulation_steps: 16, beta1: 0.9}\n",
    "configs/pretrain_small.yaml": "model: {n_layers: 2, n_heads: 2, d_model: 64, max_seq_len: 64}\n",
    "configs/pretrain_100m.yaml": "model: {n_layers: 12, n_heads: 12, d_model: 768, max_seq_len: 1024}\n",
}


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """A folder with small files where the page's lines expect them: the text is argparse's source."""
    parquet = pytest.importorskip("pyarrow.parquet")
    pyarrow = pytest.importorskip("pyarrow")
    folder = tmp_path_factory.mktemp("older")
    text = Path(argparse.__file__).read_text(encoding="utf-8")
    documents = [part for part in text.split("\n\n") if part.strip()]
    for name in ("build/corpus.txt", "raw_data/a.txt", "raw_data/b.txt", "data/raw/a.txt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    parquet.write_table(pyarrow.table({"text": documents}), folder / "dataset.parquet")
    for name, words in OLD_FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(words)
    return folder


def small(words):
    """The same line for a small input, without the network."""
    smaller = ["400" if before == "--vocab-size" else word for before, word in zip([""] + words, words, strict=False)]
    return [
        "tok" if before == "--tokenizer" and word == "gpt2" else word
        for before, word in zip([""] + smaller, smaller, strict=False)
    ]


def without_the_network(monkeypatch, workplace):
    """Datasets by name are a small file here; that they are fetched as they should be is shown elsewhere."""
    load = Tokenizer.load

    def got(name, out=None, *, limit=None, **_):
        one = catalogue.entry(name)
        Amount.of(one, limit)
        Path(out).mkdir(parents=True)
        return Got(one.full_name, Path(out), {"files": []})

    monkeypatch.setattr("pylm.data.getting.call.get", got)
    monkeypatch.setattr("pylm.data.streaming.elsewhere._of_dataset", lambda *_: (str(workplace / "dataset.parquet"),))
    monkeypatch.setattr(Tokenizer, "load", lambda source, **more: load("tok" if source == "gpt2" else source, **more))


def trained_on(data):
    """The newest run is of a model that reads the ids of a folder, which holds some for validation."""
    shutil.rmtree(data, ignore_errors=True)
    assert run(["tokenize", "raw_data", "--tokenizer", "tok", "--val", "0.2", "--out", str(data)]) == 0
    tokenizer = Tokenizer.load(data)
    shutil.rmtree(f"runs/{data.name}", ignore_errors=True)
    write_run(Path("runs", data.name), small_model(tokenizer.vocab_size), tokenizer)
    point(Path("runs", data.name), "best", 5)


def understood(request, on_event, **_):
    request.given.resolve()
    progress = {"step": 0, "tokens": 0, "seconds": 0.0, "best_loss": None, "best_step": None}
    on_event(ended(Path("runs/x"), progress, "it is a test", 1, already=True))


def imported(source, *, out, **_):
    Path(out).mkdir()
    return SimpleNamespace(path=Path(out), step=0, state={"imported": {"format": source}})


def prepare_configuration(words):
    """What the line before this one in the page has made."""
    imported = {"mine": "configs/model_config", "model": "config/model_config", "training": "config/training_config"}
    for name, old in {**imported, "100m": "configs/pretrain_100m"}.items():
        if f"{name}.yaml" in words and not Path(f"{name}.yaml").exists():
            assert run(["config", "import", f"{old}.yaml", "--out", f"{name}.yaml"]) == 0


@pytest.mark.parametrize("line", [line for line in lines() if line.startswith("pylm ")])
def test_the_lines_work(line, workplace, monkeypatch, capsys):
    if "--model unigram" in line or "--model sp-bpe" in line or ".model" in line:
        pytest.importorskip("sentencepiece")
    monkeypatch.chdir(workplace)
    if ("tok" in line or " eval " in line) and not (workplace / "tok").is_dir() and "tokenizer" in COMMANDS:
        assert run(small(["tokenizer", "train", "raw_data", "--vocab-size", "400", "--out", "tok"])) == 0
    if "data/tokenizer.model" in line:
        assert (
            run(small(["tokenizer", "train", "raw_data", "--model", "sp-bpe", "--vocab-size", "400", "--out", "sp"]))
            == 0
        )
        shutil.copy("sp/tokenizer.model", "data/tokenizer.model")
    if "--config small.yaml" in line and not (workplace / "small.yaml").exists():
        assert run(["config", "import", "configs/pretrain_small.yaml", "--out", "small.yaml"]) == 0
    words = small(shlex.split(line)[1:])
    without_the_network(monkeypatch, workplace)
    if words[:2] == ["data", "get"]:
        words[words.index("--out") + 1] = (
            f"got/{words[words.index('--out') + 1]}"  # the other lines have their own there
        )
    if words[0] == "train":
        # that training trains is shown elsewhere; here, that the line is understood and its configuration resolves
        monkeypatch.setattr("pylm.training.run.train", understood)
        started = lambda request, gpus, **_: understood(request, print) or 0  # noqa: E731
        monkeypatch.setattr("pylm.training.launch.launch.launch", started)
        prepare_configuration(words)
    if words[0] == "import":  # nor is what comes in
        monkeypatch.setattr("pylm.interchange.incoming.import_", imported)
    if words[0] == "finetune":  # nor is tuning
        monkeypatch.setattr("pylm.finetuning.run.finetune", understood)
    if words[0] == "sample":
        if not Path("runs").exists():
            tokenizer = small_tokenizer()
            write_run(Path("runs/x"), small_model(tokenizer.vocab_size), tokenizer)
            point(Path("runs/x"), "best", 5)
        monkeypatch.setattr(sys, "stdin", io.StringIO("Hello\n"))
    if words[0] in ("plot", "compare"):
        for name in set(words) & {"mine"}:
            shutil.rmtree(f"runs/{name}", ignore_errors=True)
            made_run(Path("runs", name))
        for own in re.findall(r"[0-9a-f]{8}", line):  # ids of W&B, whose offline files lie here
            lines_of_it = [wandb_run(own, {"lr": 0.1}), history(0, {"train/loss": 2.0})]
            wandb_file(Path(f"wandb/offline-run-20260101_000000-{own}/run-{own}.wandb"), lines_of_it)
    if words[0] == "eval":
        trained_on(Path(words[words.index("--data") + 1]))
    if "--out" in words:
        out = Path(words[words.index("--out") + 1])
        shutil.rmtree(out) if out.is_dir() else out.unlink(missing_ok=True)
    capsys.readouterr()
    assert run(words) == 0, capsys.readouterr().err
    if "--out" in words:
        assert out.exists()
