"""Soups: the arithmetic against float64, the speed against copying the bytes and mergekit, and the memory.

Three checkpoints of the smallest GPT-2, 124M numbers in fp32 each. Ours hashes what it reads and writes, and flushes;
the copy does neither but flush. mergekit asks for an environment of its own, `.venv/peers-after`.
"""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.compare import Compare, Side
from benchmarks.report import Row

ROOT = Path(__file__).resolve().parent.parent
PEERS = str(ROOT / ".venv" / "peers-after" / "bin" / "python")
VOCABULARY, WIDTH, LAYERS, CONTEXT = 50257, 768, 12, 1024
LARGEST = VOCABULARY * WIDTH * 4 / 1e6  # MB of the largest tensor
NAMES = ("a", "b", "c")
BLOCK = {
    "attention.norm.weight": (WIDTH,), "attention.norm.bias": (WIDTH,),
    "attention.qkv.weight": (3 * WIDTH, WIDTH), "attention.qkv.bias": (3 * WIDTH,),
    "attention.out.weight": (WIDTH, WIDTH), "attention.out.bias": (WIDTH,),
    "mlp.norm.weight": (WIDTH,), "mlp.norm.bias": (WIDTH,),
    "mlp.up.weight": (4 * WIDTH, WIDTH), "mlp.up.bias": (4 * WIDTH,),
    "mlp.down.weight": (WIDTH, 4 * WIDTH), "mlp.down.bias": (WIDTH,),
}  # fmt: skip
SHAPES: dict[str, tuple[int, ...]] = {
    "embed.weight": (VOCABULARY, WIDTH),
    "position.weight": (CONTEXT, WIDTH),
    **{f"blocks.{layer}.{name}": shape for layer in range(LAYERS) for name, shape in BLOCK.items()},
    "norm.weight": (WIDTH,),
    "norm.bias": (WIDTH,),
}


@dataclasses.dataclass(frozen=True)
class Copying(Side):
    """Copying files, which comes with Python."""

    def version(self) -> str | None:
        return platform.python_version()


@dataclasses.dataclass(frozen=True)
class Beside(Side):
    """A side whose environment may be absent."""

    def version(self) -> str | None:
        return super().version() if Path(self.python).exists() else None


# the sides


def ours(folder: str, method: str = "mean", names: tuple[str, ...] = NAMES) -> dict[str, Any]:
    import pylm

    begun = time.perf_counter()
    pylm.soup([f"{folder}/{name}" for name in names], out=f"{folder}/soup", method=method)
    seconds = time.perf_counter() - begun
    shutil.rmtree(f"{folder}/soup")
    return {"seconds": seconds}


def ours_slerp(folder: str) -> dict[str, Any]:
    return ours(folder, "slerp", NAMES[:2])


def ours_karcher(folder: str) -> dict[str, Any]:
    return ours(folder, "karcher")


def copied(folder: str) -> dict[str, Any]:
    seconds = 0.0
    for name in NAMES:
        begun = time.perf_counter()
        with open(f"{folder}/{name}/model.safetensors", "rb") as source, open(f"{folder}/copy", "wb") as made:
            shutil.copyfileobj(source, made, 1 << 22)
            made.flush()
            os.fsync(made.fileno())
        seconds += time.perf_counter() - begun
        os.unlink(f"{folder}/copy")
    return {"seconds": seconds}


def mergekit(folder: str) -> dict[str, Any]:
    from mergekit.config import MergeConfiguration
    from mergekit.merge import run_merge
    from mergekit.options import MergeOptions

    models = [{"model": f"{folder}/{name}", "parameters": {"weight": 1.0}} for name in NAMES]
    asked = MergeConfiguration.model_validate({"merge_method": "linear", "models": models, "dtype": "float32"})
    begun = time.perf_counter()
    run_merge(asked, f"{folder}/merged", MergeOptions(copy_tokenizer=False, lazy_unpickle=True))
    seconds = time.perf_counter() - begun
    shutil.rmtree(f"{folder}/merged")
    return {"seconds": seconds}


# the material


def weights(seed: int) -> dict[str, Any]:
    import numpy as np

    from pylm.checkpoint import Tensor

    random = np.random.default_rng(seed)
    return {name: Tensor.of("F32", shape, random.standard_normal(shape, np.float32)) for name, shape in SHAPES.items()}


def shape_of_all() -> Any:
    from pylm.config.schema import Model
    from pylm.config.shape import complete

    fields = {"n_layers": LAYERS, "n_heads": 12, "d_model": WIDTH, "context_length": CONTEXT, "position": "learned",
              "norm": "layernorm", "mlp": "gelu", "bias": True}  # fmt: skip
    return complete(Model.model_validate(fields), VOCABULARY)


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A folder with three checkpoints."""
    from pylm.checkpoint import write
    from pylm.config.cascade import dump
    from pylm.config.schema import Config, Model

    folder = tmp_path_factory.mktemp("soup")
    config = dump(Config(model=shape_of_all()), [f"model.{key}" for key in Model.model_fields])
    for seed, name in enumerate(NAMES):
        write(folder / name, weights=weights(seed), optimizer={}, state={"step": seed}, config=config, texts={})
    yield str(folder)
    shutil.rmtree(folder)


@pytest.fixture
def three_of_others(tmp_path: Path) -> Iterator[str]:
    """The same as Hugging Face's folders."""
    from pylm.checkpoint import Tensor, write_tensors
    from pylm.model.names import to_hugging_face

    for seed, name in enumerate(NAMES):
        (tmp_path / name).mkdir()
        tensors, config = to_hugging_face(weights(seed), shape_of_all())
        held = {key: Tensor.of(each.dtype, each.shape, each.data) for key, each in tensors.items()}
        write_tensors(tmp_path / name / "model.safetensors", held, {"format": "pt"})
        (tmp_path / name / "config.json").write_text(json.dumps(config))
    yield str(tmp_path)
    shutil.rmtree(tmp_path)


# the rows


@pytest.mark.parametrize(("method", "side"), [("mean", ours), ("slerp", ours_slerp), ("karcher", ours_karcher)])
def test_speed_and_memory(compare: Compare, three: str, method: str, side: Any) -> None:
    bar = 0.7 if method == "mean" else None
    peer = Copying("python", copied, "copying all three")
    agree = lambda mine, theirs: True  # noqa: E731 - they make other things
    run = compare(f"{method}, 124M fp32 each", Side("pylm", side), [peer], rounds=3, agree=agree, folder=three)
    run.faster(bar, than=peer.name)
    run.at_most(round(3 * LARGEST + 64))


def test_against_mergekit(compare: Compare, three_of_others: str) -> None:
    name, peer = "3 × 124M fp32, mean, of Hugging Face's folders", Beside("mergekit", mergekit, python=PEERS)
    if peer.version() is None:
        compare.unmeasured(f"{name} vs mergekit", "mergekit is not installed in .venv/peers-after", "≥ 3×")
    agree = lambda mine, theirs: True  # noqa: E731 - the tests compare the numbers
    compare(name, Side("pylm", ours), [peer], rounds=3, agree=agree, folder=three_of_others).faster(3, than="mergekit")


def row(compare: Compare, name: str, value: float, bar: float, unit: str) -> None:
    verdict = "met" if value <= bar else "short"
    compare.report.add(compare.subject, Row(name, value, None, None, None, None, f"≤ {bar:g} {unit}", verdict, unit))


def test_arithmetic(compare: Compare, three: str, tmp_path: Path) -> None:
    """The largest error of a weighted mean, in units of fp32's last place; of slerp, to the largest number."""
    import numpy as np

    import pylm
    from pylm.checkpoint import read

    paths, factors = [Path(three, name) for name in NAMES], (0.5, 0.2, 0.3)

    def measured() -> tuple[float, float, int]:
        made = pylm.soup(paths, out=tmp_path / "one", method="weighted", weights=factors)
        turned = pylm.soup(paths[::-1], out=tmp_path / "two", method="weighted", weights=factors[::-1])
        arc = pylm.soup(paths[:2], out=tmp_path / "arc", method="slerp", t=0.3)
        given, ulps, off = [read(path).weights() for path in paths], 0.0, 0.0
        for name in SHAPES:
            each = [np.frombuffer(one[name].data, np.float32).astype(np.float64) for one in given]
            wanted = sum(factor * one for factor, one in zip(factors, each, strict=True)).astype(np.float32)
            found = np.frombuffer(made.weights()[name].data, np.float32)
            ulps = max(ulps, float((np.abs(found - wanted) / np.spacing(np.abs(wanted))).max()))
            right = plain_slerp(0.3, each[0], each[1])
            on_arc = np.frombuffer(arc.weights()[name].data, np.float32)
            off = max(off, float(np.abs(on_arc - right).max() / np.abs(right).max()))
        return ulps, off, int(made.identity != turned.identity)

    ulps, off, differ = compare.benchmark.pedantic(measured, rounds=1, iterations=1)
    row(compare, "weighted mean of 3 × 124M vs numpy in float64", ulps, 1, "ulp")
    row(compare, "slerp of 2 × 124M vs mergekit's definition in float64", off, 1e-6, "relative")
    row(compare, "inputs permuted: files that differ", differ, 0, "files")


def plain_slerp(t: float, one: Any, two: Any) -> Any:
    """As in mergekit.merge_methods.slerp, in float64."""
    import numpy as np

    cosine = np.sum(one / np.linalg.norm(one) * (two / np.linalg.norm(two)))
    if abs(cosine) > 0.9995:
        return (1 - t) * one + t * two
    angle = np.arccos(cosine)
    return np.sin((1 - t) * angle) / np.sin(angle) * one + np.sin(t * angle) / np.sin(angle) * two
