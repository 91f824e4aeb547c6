"""Soups: the arithmetic against float64, the speed against copying the bytes and mergekit, and the memory.

Three checkpoints of the smallest GPT-2, 124M numbers in fp32 each. Ours hashes what it reads and writes, and flushes;
the copy does neither but flush; a soup of inputs that were found sound before hashes only what it writes. mergekit asks
for an environment of its own: `make peers-merge`. With --full the anneals of anneals.yaml are trained and averaged,
10,000 bits of the inputs are flipped, and a recipe is killed 50 times.
"""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.compare import Compare, Side
from benchmarks.report import Row

ROOT = Path(__file__).resolve().parent.parent
PEERS = str(ROOT / ".venv" / "peers-after" / "bin" / "python")
MERGEKIT = ROOT / ".venv" / "peers-merge"
VOCABULARY, WIDTH, LAYERS, CONTEXT = 50257, 768, 12, 1024
LARGEST = VOCABULARY * WIDTH * 4 / 1e6  # MB of the largest tensor
NAMES = ("a", "b", "c")
FLIPS, KILLS = 10_000, 50
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
class Mergekit(Side):
    """mergekit, which lies beside the environment of the packages that it imports."""

    def version(self) -> str | None:
        found = sorted(MERGEKIT.glob("mergekit-*.dist-info"))
        return found[0].name.split("-")[1].removesuffix(".dist") if found and Path(PEERS).exists() else None


def beside(function: Any) -> Mergekit:
    return Mergekit("mergekit", function, python=PEERS, environment={"PYTHONPATH": str(MERGEKIT)})


# the sides


def ours(folder: str, method: str = "mean", names: tuple[str, ...] = NAMES, knows: bool = False) -> dict[str, Any]:
    import pylm

    os.environ["PYLM_CACHE"] = f"{folder}/cache"
    if not knows:
        shutil.rmtree(f"{folder}/cache", ignore_errors=True)
    begun = time.perf_counter()
    pylm.soup([f"{folder}/{name}" for name in names], out=f"{folder}/soup", method=method)
    seconds = time.perf_counter() - begun
    shutil.rmtree(f"{folder}/soup")
    return {"seconds": seconds}


def ours_again(folder: str) -> dict[str, Any]:
    return ours(folder, knows=True)


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


def our_command(folder: str) -> dict[str, Any]:
    os.environ["PYLM_CACHE"] = f"{folder}/cache"
    shutil.rmtree(f"{folder}/cache", ignore_errors=True)
    paths = [f"{folder}/{name}" for name in NAMES]
    return timed([str(Path(sys.executable).with_name("pylm")), "soup", *paths, "--out", f"{folder}/soup"])


def mergekit_command(folder: str) -> dict[str, Any]:
    models = [{"model": f"{folder}/{name}", "parameters": {"weight": 1.0}} for name in NAMES]
    asked = Path(folder, "asked.yaml")  # JSON is YAML
    asked.write_text(json.dumps({"merge_method": "linear", "models": models, "dtype": "float32"}))
    program = [sys.executable, "-m", "mergekit.scripts.run_yaml", str(asked)]
    return timed([*program, f"{folder}/soup", "--lazy-unpickle", "--no-copy-tokenizer"])


def timed(command: list[str]) -> dict[str, Any]:
    """Run a command that makes a folder whose name ends in /soup; return its seconds."""
    begun = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    seconds = time.perf_counter() - begun
    shutil.rmtree(next(word for word in command if word.endswith("/soup")))
    return {"seconds": seconds}


def off_mergekit(folder: str, made: str, t: float) -> dict[str, Any]:
    """The largest distance of a soup from what mergekit's own function makes, relative to the largest number."""
    import torch
    from mergekit.merge_methods.slerp import slerp
    from safetensors import safe_open

    files = [f"{folder}/{name}/model.safetensors" for name in (*NAMES[:2], made)]
    one, two, found = (safe_open(file, "pt") for file in files)
    off = {}
    for name in found.keys():
        tensors = [each.get_tensor(name).double() for each in (one, two, found)]
        right = slerp(torch.tensor([t], dtype=torch.float64), tensors[0][None], tensors[1][None])[0]
        off[name] = float((tensors[2] - right).abs().max() / right.abs().max())
    return {"seconds": 0.0, "off": max(off.values())}


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

NO_MERGEKIT = "mergekit is not installed: make peers-merge"


KNOWN = "mean, of inputs found sound before"
SIDES = [("mean", ours), (KNOWN, ours_again), ("slerp", ours_slerp), ("karcher", ours_karcher)]


@pytest.mark.parametrize(("method", "side"), SIDES)
def test_speed_and_memory(compare: Compare, three: str, method: str, side: Any) -> None:
    bar = 0.7 if method.startswith("mean") else None
    peer = Copying("python", copied, "copying all three")
    agree = lambda mine, theirs: True  # noqa: E731 - they make other things
    run = compare(f"{method}, 124M fp32 each", Side("pylm", side), [peer], rounds=3, agree=agree, folder=three)
    run.faster(bar, than=peer.name)
    run.at_most(round(3 * LARGEST + 64))


@pytest.mark.parametrize(
    ("what", "mine", "theirs"), [(", commands", our_command, mergekit_command), ("", ours, mergekit)]
)
def test_against_mergekit(compare: Compare, three_of_others: str, what: str, mine: Any, theirs: Any) -> None:
    """As commands, which is what a user waits for, and without what it takes to import a program."""
    name, peer = f"3 × 124M fp32, mean, of Hugging Face's folders{what}", beside(theirs)
    if peer.version() is None:
        compare.unmeasured(f"{name} vs mergekit", NO_MERGEKIT, "≥ 3×")
    agree = lambda one, other: True  # noqa: E731 - the tests compare the numbers
    run = compare(name, Side("pylm", mine), [peer], rounds=3, agree=agree, folder=three_of_others)
    run.faster(3, than="mergekit")


def test_slerp_against_mergekit(compare: Compare, three_of_others: str) -> None:
    import pylm

    side, name = beside(off_mergekit), "slerp of 2 × 124M vs mergekit's function"
    if side.version() is None:
        compare.unmeasured(name, NO_MERGEKIT, "≤ 1e-06 relative")
    paths = [Path(three_of_others, each) for each in NAMES[:2]]

    def measured() -> float:
        pylm.soup(paths, out=Path(three_of_others, "arc"), method="slerp", t=0.3)
        return float(compare.once(side, folder=three_of_others, made="arc", t=0.3)["off"])

    row(compare, name, compare.benchmark.pedantic(measured, rounds=1, iterations=1), 1e-6, "relative")


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


@pytest.mark.slow
def test_flipped_bits(compare: Compare, tmp_path: Path) -> None:
    """Flip one bit of one input at a time, in place: how many of 10,000 make a soup."""
    import pylm
    from pylm.errors import PylmError
    from tests.soups.small_checkpoints import arrays, checkpoint

    few = [{key: each for key, each in arrays(seed).items() if key != "long"} for seed in range(len(NAMES))]
    names = [checkpoint(tmp_path / name, each) for name, each in zip(NAMES, few, strict=True)]
    files, draw = sorted(Path(names[1]).iterdir()), random.Random(1)

    def flip(path: Path, spot: int, bit: int) -> None:
        with path.open("r+b", buffering=0) as file:
            byte = os.pread(file.fileno(), 1, spot)[0]
            os.pwrite(file.fileno(), bytes([byte ^ bit]), spot)

    def measured() -> int:
        made = 0
        for number in range(FLIPS):
            path = files[number % len(files)]
            place = path, draw.randrange(path.stat().st_size), 1 << draw.randrange(8)
            flip(*place)
            try:
                pylm.soup(names, out=tmp_path / "soup")
                made += 1
                shutil.rmtree(tmp_path / "soup")
            except PylmError:
                pass
            flip(*place)
        pylm.soup(names, out=tmp_path / "soup")  # whose bits all are as they were
        return made

    name = f"{FLIPS:,} bits of an input flipped, one at a time: soups made"
    row(compare, name, compare.benchmark.pedantic(measured, rounds=1, iterations=1), 0, "soups")


@pytest.mark.slow
def test_the_mean_of_anneals(compare: Compare, tmp_path: Path) -> None:
    """Train stage one of five seeds and three anneals of each: is their mean better than the best of them?"""
    from pylm.recipes.run import run

    def measured() -> list[dict[str, Any]]:
        standings = run(str(Path(__file__).with_name("anneals.yaml")), out=tmp_path)
        return [against_best(each) for each in standings if each.instance.step == "result"]

    seeds = compare.benchmark.pedantic(measured, rounds=1, iterations=1)
    for number, each in enumerate(seeds, 1):
        name = f"seed {number}: mean of 3 anneals less the best of them, 95 % by document"
        spread = (each["low"], each["high"])
        compare.report.add(compare.subject, Row(name, each["value"], None, None, None, spread, "< 0", "", "nats"))
    better = sum(each["is_best"] for each in seeds)
    name = f"the mean of 3 anneals is better than the best of them, of {len(seeds)} seeds of stage one"
    verdict = "met" if better >= 4 else "short"
    compare.report.add(compare.subject, Row(name, better, None, None, None, None, "≥ 4 of 5", verdict, "seeds"))


def against_best(standing: Any) -> dict[str, Any]:
    """The mean's loss less that of the anneal which validation chose; whether it is below all on these documents."""
    names = standing.record["read_as"]
    loss = {name: each["loss"] for name, each in zip(names, standing.result["evaluations"], strict=False)}
    mean = next(name for name in loss if name.startswith("mean"))
    singles = [value for name, value in loss.items() if name.startswith("anneal")]
    apart = standing.result["compared"][names.index(mean) - 1]
    return {"is_best": loss[mean] < min(singles), **next(one for one in apart if one["metric"] == "loss")}


@pytest.mark.slow
def test_a_recipe_through_kills(compare: Compare, tmp_path: Path) -> None:
    """Kill a recipe at 50 moments: how many steps come to something else, and how many that were done run again."""
    draw, recipe = random.Random(1), str(ROOT / "tests" / "recipes" / "trained.yaml")

    def started(folder: str) -> subprocess.Popen[bytes]:
        line = [sys.executable, "-m", "pylm", "recipe", "run", recipe, "--out", str(tmp_path / folder)]
        return subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def done(folder: str) -> dict[str, tuple[str, int]]:
        """Return what each step that is done came to, and when that was written."""
        found = {path.parent.name: path for path in (tmp_path / folder).glob("steps/*/done.json")}
        return {name: (json.loads(path.read_text())["identity"], path.stat().st_mtime_ns)
                for name, path in found.items()}  # fmt: skip

    def differing() -> int:
        found = done("killed")
        return sum(found[name][0] != identity for name, (identity, _) in done("whole").items())

    def measured() -> tuple[int, int]:
        begun = time.perf_counter()
        assert started("whole").wait() == 0
        whole, again, other = time.perf_counter() - begun, 0, 0
        for _ in range(KILLS):
            before = done("killed")
            if len(before) == len(done("whole")):  # all of it anew: one recipe is over before fifty kills
                other += differing()
                shutil.rmtree(tmp_path / "killed")
                before = {}
            process = started("killed")
            time.sleep(draw.uniform(0, 0.6 * whole))
            process.kill()
            process.wait()
            after = done("killed")
            again += sum(after.get(name) != each for name, each in before.items())
        assert started("killed").wait() == 0
        return again, other + differing()

    again, other = compare.benchmark.pedantic(measured, rounds=1, iterations=1)
    row(compare, f"a recipe through {KILLS} kills: steps that were done and ran again", again, 0, "steps")
    row(compare, f"a recipe through {KILLS} kills: steps that came to something else", other, 0, "steps")
