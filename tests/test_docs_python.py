"""The Python of every page runs as it stands, block after block, in a folder with what the pages speak of."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pylm.tokenizer import Tokenizer
from tests.generation.small import small_model, write_run
from tests.support.small_runs import SMALL

ROOT = Path(__file__).resolve().parent.parent
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: str) -> list[str]:
    return BLOCK.findall((ROOT / page).read_text(encoding="utf-8"))


def texts() -> Iterator[dict[str, Any]]:
    yield {"texts": ["once", "upon"]}


def rows() -> Iterator[dict[str, Any]]:
    yield {"rows": lambda: iter([{"text": "There once was a dog."}])}


def examples() -> Iterator[dict[str, Any]]:
    turns = [{"role": "user", "content": "Who sat?"}, {"role": "assistant", "content": "The cat."}]
    Path("chat.jsonl").write_text(json.dumps({"messages": turns}) + "\n")
    yield {}


def tuning() -> Iterator[dict[str, Any]]:
    import pylm

    turns = [{"role": "user", "content": "Who sat?"}, {"role": "assistant", "content": "The cat."}]
    Path("chat.jsonl").write_text(f"{json.dumps({'messages': turns})}\n" * 8)
    shutil.rmtree("runs/a", ignore_errors=True)
    shutil.copytree("runs/x", "runs/a")
    for name in SMALL:
        if name.startswith("PYLM_MODEL__"):  # the base has a shape of its own
            os.environ.pop(name)
    os.environ["PYLM_TRAIN__BATCH_TOKENS"] = "4096"  # 8 of its windows
    yield {"pylm": pylm}


def questions() -> Iterator[dict[str, Any]]:
    """A run of the page's name, and the files of its tasks."""
    shutil.copytree("runs/x", "runs/a", dirs_exist_ok=True)
    Path("tasks").mkdir()
    rows = ({"query": f"The cat {number}", "choices": ["sat", "ran"], "gold": number % 2} for number in range(12))
    Path("tasks/arc_easy.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    Path("mine.csv").write_text('question,choices,answer\nWho sat?,"[""the cat"", ""a dog""]",A\n')
    yield {}


def tokens() -> Iterator[dict[str, Any]]:
    import torch

    yield {"idx": torch.randint(4096, (2, 8)), "targets": torch.randint(4096, (2, 8))}


def tensors() -> Iterator[dict[str, Any]]:
    """What the blocks of the kernels' page are handed, one after the other; its patches have tests of their own."""
    import torch

    import pylm_kernels
    from pylm_kernels.ops.rms_norm import reference

    def qkv(heads: int, time: int = 7) -> torch.Tensor:
        return torch.randn(2, time, heads * 64)

    def cache(heads: int) -> torch.Tensor:
        return torch.zeros(2, 16, heads, 64)

    ends, one = torch.tensor([0, 5, 14], dtype=torch.int32), torch.ones(64)
    q, k, v = (torch.randn(2, 7, 12, 64) for _ in range(3))
    yield {"x": torch.randn(2, 5, 768), "h": torch.randn(2, 5, 768), "weight": torch.zeros(768)}
    config = {"rope_theta": 1e4, "hidden_size": 768, "num_attention_heads": 12, "max_position_embeddings": 2048}
    yield {"qkv": qkv(36), "q": q, "k": k, "v": v, "a": one, "b": one, "documents": ends, "config": config}
    yield {"cu_seqlens": ends, "batch": 2, "time": 7}
    lengths = torch.zeros(2, dtype=torch.int32)
    caches = {"k_cache": cache(8), "v_cache": cache(8), "lengths": lengths, "positions": torch.arange(7)}
    yield {"qkv": qkv(48), **caches}
    yield {"qkv": qkv(36, 1), "k_cache": cache(12), "v_cache": cache(12), "batch": 2, "torch": torch}
    x, head = torch.randn(6, 32), torch.nn.Linear(32, 50)
    yield {"x": x, "lm_head": head, "logits": head(x).detach(), "targets": torch.randint(50, (6,))}
    mx = pytest.importorskip("mlx.core")
    yield {"x": mx.ones((2, 768)), "h": mx.ones((2, 768)), "weight": mx.ones(768), "qkv": mx.ones((2, 7, 20 * 64))}
    yield {"pylm_kernels": pylm_kernels, "forward": reference.rms_norm, "backward": print, "serves": lambda *_: "never"}


# What a page's reader has at hand, block by block; the last ones serve those that follow too
GIVEN: dict[str, Callable[[], Iterator[dict[str, Any]]]] = {
    "README.md": lambda: iter(()),
    "docs/apple.md": lambda: iter(()),
    "docs/cleaning.md": rows,
    "docs/contamination.md": texts,
    "docs/finetuning-data.md": examples,
    "docs/finetuning.md": tuning,
    "docs/mixing.md": lambda: iter(()),
    "docs/models.md": tokens,
    "docs/python.md": lambda: iter(()),
    "docs/quickstart.md": texts,
    "docs/sampling.md": lambda: iter(()),
    "docs/sources.md": lambda: iter(()),
    "docs/tasks.md": questions,
    "kernels/README.md": tensors,
}
# Pages whose blocks are programs of their own, and blocks that are patches of other projects: where these are run
ELSEWHERE = {
    "docs/adapters.md": "tests/finetuning/test_adapters.py",
    "docs/trackers.md": "tests/runs/test_dashboards.py",
}
PATCHES = {"kernels/README.md": "kernels/tests/test_readme.py"}


def pages() -> list[str]:
    found = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("kernels/*.md")]
    return sorted(str(page.relative_to(ROOT)) for page in found if BLOCK.search(page.read_text(encoding="utf-8")))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A text, its tokenizer and shards, and runs trained on them."""
    from pylm.data.prepare import prepare
    from pylm.data.stories import stories

    where = tmp_path_factory.mktemp("docs")
    (where / "my.txt").write_text("".join(stories(30_000)))
    (where / "more.jsonl").write_text('{"text": "There once was a dog."}\n')
    (where / "books").mkdir()
    (where / "books" / "a.txt").write_text("".join(stories(200_000)))
    tokenizer = Tokenizer.train(where / "books", 400, chat=True)
    tokenizer.save(where / "tok")
    for name in ("mine", "wiki", "web"):
        prepare([str(where / "books")], tokenizer=str(where / "tok"), out=where / "data" / name)
    model = small_model(tokenizer.vocab_size, context_length=512)
    for name in ("x", "mine"):
        write_run(where / "runs" / name, model, tokenizer, step=500)
    yield where


@pytest.mark.parametrize("page", sorted(GIVEN))
def test_the_python_of_a_page_runs(page: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if page == "docs/apple.md":
        pytest.importorskip("mlx.core", reason="MLX is not installed: pip install 'mlx[cpu]'")
    monkeypatch.chdir(folder)
    for name, value in {**SMALL, "PYLM_CACHE": str(folder / "cache")}.items():
        monkeypatch.setenv(name, value)
    if page == "kernels/README.md":  # which registers a backend
        from pylm_kernels import dispatch

        monkeypatch.setattr(dispatch, "_registered", {op: dict(known) for op, known in dispatch._registered.items()})
    names: dict[str, Any] = {"np": np}
    given = GIVEN[page]()
    for number, block in enumerate(blocks(page)):
        here = next(given, None)
        if page in PATCHES and here is None:
            break
        names |= here or {}
        block = block.replace("5m", "1s")  # a reader has the time
        exec(compile(block, f"{page} block {number}", "exec"), names)
    assert os.getcwd() == str(folder)


def test_every_page_with_python_is_run() -> None:
    assert set(pages()) == {*GIVEN, *ELSEWHERE}
    for there in (*ELSEWHERE.values(), *PATCHES.values()):
        assert (ROOT / there).is_file()
