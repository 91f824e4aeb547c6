"""Soups of adapters: merged they are the mean of what the adapters are when merged, whatever their ranks and order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import pylm
from pylm.checkpoint import find, open_weights, read, verify, write
from pylm.config.cascade import dump
from pylm.config.schema import Config
from pylm.errors import CheckpointError
from pylm.finetuning.adapters import write as write_adapter
from pylm.model import lora, names
from tests.generation.small import small_model, small_tokenizer, write_run

SHAPE: Any = {"n_layers": 1, "d_model": 16, "n_heads": 2, "n_kv_heads": 1, "tied": False}
TARGETS = ("attention.qkv", "mlp.down", "embed", "head")
TOKENIZER = small_tokenizer()
MODEL = small_model(TOKENIZER.vocab_size, **SHAPE)
GROWN = small_tokenizer("<|one|>", "<|two|>")
NEW = 2  # tokens that the base does not have


@pytest.fixture(autouse=True)
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYLM_CACHE", str(tmp_path / "cache"))
    torch.set_num_threads(1)
    return write_run(Path("runs/base"), MODEL, TOKENIZER)


def adapter(
    name: str, seed: int, rank: int = 3, alpha: float = 6.0, on: str = "runs/base", targets: tuple[str, ...] = TARGETS
) -> str:
    """Write an adapter of random factors as a run, which knows tokens that its base does not have."""
    rows = TOKENIZER.vocab_size
    shape = MODEL.shape.model_copy(update={"vocab_size": rows + NEW})
    draw = np.random.default_rng(seed)
    sizes: dict[str, tuple[int, ...]] = dict(lora.Adapter(rank, alpha, 0.0, targets).sizes(shape))
    sizes |= {"embed.rows": (NEW, 16), "head.rows": (NEW, 16)}
    held = {key: lora.to_tensor(draw.standard_normal(size).astype(np.float32)) for key, size in sizes.items()}
    base = {"path": str(find(on).resolve()), "weights": read(find(on)).identity}
    told = {"rank": rank, "alpha": alpha, "dropout": 0.1, "targets": list(targets)}
    told |= {"vocabulary": rows + NEW, "rows": [rows, rows + NEW], "base": base}
    state = {"step": seed, "tokenizer": "1" * 64, "adapter": told}
    folder = Path("runs", name, "checkpoints", f"step_{seed}")
    folder.parent.mkdir(parents=True, exist_ok=True)
    config = dump(Config(model=shape), [f"model.{key}" for key in type(shape).model_fields])
    texts = {key: data.decode() for key, data in GROWN.files().items()}
    write(folder, weights=held, optimizer={}, state=state, config=config, texts=texts)  # type: ignore[arg-type]
    return f"runs/{name}"


def whole(checkpoint: str) -> dict[str, np.ndarray[Any, Any]]:
    """Return the weights of an adapter on its base, in float64: the base plus scale times the product."""
    opened = open_weights(checkpoint)
    found = {
        name: lora.to_numpy(one).astype(np.float64) for name, one in names.read(open_weights("runs/base"))[1].items()
    }
    held, state = opened.weights(), read(opened.path).state["adapter"]
    for table in ("embed", "head"):
        found[f"{table}.weight"] = np.concatenate([found[f"{table}.weight"], np.zeros((NEW, 16))])
    for name in (name for name in held if name.endswith(".lora_a")):
        module = name.removesuffix(".lora_a")
        a, b = (lora.to_numpy(held[f"{module}.{kind}"]).astype(np.float64) for kind in ("lora_a", "lora_b"))
        found[f"{module}.weight"] += state["alpha"] / state["rank"] * (a.T @ b.T if module == "embed" else b @ a)
    for table in ("embed", "head"):
        found[f"{table}.weight"][-NEW:] = lora.to_numpy(held[f"{table}.rows"])
    return found


def off(made: dict[str, Any], parts: list[str], shares: list[float]) -> float:
    """Return how far weights are from the average of those of adapters, at most, of the largest number."""
    each = [whole(name) for name in parts]
    wanted = {name: sum(share * one[name] for share, one in zip(shares, each, strict=True)) for name in each[0]}
    assert made.keys() == wanted.keys()
    return max(float(np.abs(made[name] - wanted[name]).max() / np.abs(wanted[name]).max()) for name in wanted)


def test_the_mean_of_what_they_do_is_one_adapter_of_the_base() -> None:
    parts = [adapter("a", 1), adapter("b", 2, rank=2, alpha=6.0), adapter("c", 3, rank=3)]
    progress: list[tuple[int, int | None]] = []
    made = pylm.soup(parts, out="runs/mean", progress=lambda *told: progress.append(told))
    assert verify(made.path).state == made.state and not (made.path / "model.safetensors").exists()
    assert off(whole("runs/mean"), parts, [1 / 3] * 3) < 2e-7
    told = made.state["adapter"]
    assert told["rank"] == 8 and told["base"]["weights"] == verify(find("runs/base")).identity
    assert [len(lora.to_numpy(one)) for name, one in made.weights().items() if name.endswith("lora_a")] == [8] * 4
    assert {each["path"]: each["share"] for each in made.state["soup"]["parents"]} == dict.fromkeys(parts, 1 / 3)
    assert progress[-1][0] == progress[-1][1]
    merged = write_adapter("runs/mean", Path("merged"))
    found = {name: lora.to_numpy(one) for name, one in read(merged).weights().items()}
    assert off(found, parts, [1 / 3] * 3) < 1e-6  # products in fp32


@pytest.mark.parametrize("weights", [None, [1.0, 2.5]])
def test_the_order_does_not_matter(weights: list[float] | None) -> None:
    parts, method = [adapter("a", 1), adapter("b", 2, rank=5)], "mean" if weights is None else "weighted"
    one = pylm.soup(parts, out="one", method=method, weights=weights)
    two = pylm.soup(parts[::-1], out="two", method=method, weights=weights and weights[::-1])
    assert [path.read_bytes() for path in sorted(one.path.iterdir())] == [
        path.read_bytes() for path in sorted(two.path.iterdir())
    ]
    assert off(whole("one"), parts, [1 / 2] * 2 if weights is None else [1 / 3.5, 2.5 / 3.5]) < 2e-7


def test_an_adapter_that_counts_nothing_adds_nothing() -> None:
    parts = [adapter("a", 1, alpha=0.0), adapter("b", 2), adapter("c", 3, alpha=0.0)]
    pylm.soup(parts, out="soup")
    assert off(whole("soup"), parts, [1 / 3] * 3) < 2e-7
    pylm.soup(parts[::2], out="none")
    assert off(whole("none"), parts[::2], [1 / 2] * 2) < 2e-7


def test_what_is_not_finite_is_named() -> None:
    parts = [adapter("a", 1), adapter("b", 2)]
    held = read(find(adapter("c", 3)))
    factors = {**held.weights(), "head.lora_b": lora.to_tensor(np.full((262, 3), np.nan, np.float32))}
    write(Path("d"), weights=factors, optimizer={}, state=held.state, config=held.config(), texts=held.texts())
    with pytest.raises(CheckpointError, match=r"d holds numbers in head\.lora_b that are not finite"):
        pylm.soup([*parts, "d"], out="soup")
    assert not Path("soup").exists()


def test_ema_goes_over_the_steps_and_greedy_over_what_evaluates() -> None:
    for seed in (1, 2, 3):
        adapter("steps", seed)
    steps = [f"runs/steps/step_{seed}" for seed in (1, 2, 3)]
    pylm.soup("runs/steps", out="ema", method="ema", t=0.5)
    assert off(whole("ema"), steps, [0.25, 0.25, 0.5]) < 2e-7
    Path("val.txt").write_text("that cat on the mat<|endoftext|>then ran<|endoftext|>at them all" * 8)
    made = pylm.soup(steps, out="greedy", method="greedy", data="val.txt").state
    taken = [each["path"] for each in made["soup"]["candidates"] if each["taken"]]
    assert made["adapter"]["rank"] == 3 * len(taken)
    assert off(whole("greedy"), taken, [1 / len(taken)] * len(taken)) < 2e-7


def test_what_makes_no_soup_is_refused_by_name() -> None:
    write_run(Path("runs/other"), small_model(TOKENIZER.vocab_size, 2, **SHAPE), TOKENIZER)
    a, b = adapter("a", 1), adapter("b", 2)
    other, fewer = adapter("on-other", 3, on="runs/other"), adapter("fewer", 4, targets=TARGETS[:1])
    bases = "… in one and ".join(read(find(name)).identity[:12] for name in ("runs/base", "runs/other"))
    refused = [
        ([a, other], {}, f"make no soup: the base is {bases}…"),
        ([a, fewer], {}, "make no soup: what is adapted is"),
        ([a, "runs/base"], {}, "runs/a is an adapter, and runs/base holds all weights of a model"),
        (["runs/base", a], {}, "runs/a is an adapter, and runs/base holds all weights of a model"),
        ([a, b], {"method": "slerp"}, "slerp of two adapters' factors is not that of what they do"),
        ([a, b], {"method": "karcher"}, "karcher of two adapters' factors is not that of what they do"),
    ]
    for parts, options, message in refused:
        with pytest.raises(CheckpointError) as caught:
            pylm.soup(parts, out="out", **options)
        assert message in caught.value.message and caught.value.hint
    path = find(b) / "adapter.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x7f")
    with pytest.raises(CheckpointError, match=r"adapter\.safetensors is damaged"):
        pylm.soup([a, b], out="out")
    assert not Path("out").exists()
