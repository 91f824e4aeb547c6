"""Folders of Hugging Face's layout: averaged in their own layout, as safetensors itself reads them."""

from __future__ import annotations

import json
import shutil
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
import safetensors.numpy

import pylm
from pylm.checkpoint import Tensor, open_weights, write_tensors
from pylm.errors import CheckpointError
from pylm.model.names import read, to_hugging_face
from tests.generation.small import small_model, small_tokenizer, stored, write_run

LLAMA = {"n_layers": 2, "tied": False}


def folder(path: Path, seed: int, **shape: Any) -> str:
    tokenizer = small_tokenizer()
    model = small_model(tokenizer.vocab_size, seed, **{**LLAMA, **shape})
    tensors, config = to_hugging_face(stored(model), model.shape)
    held = {name: Tensor.of(each.dtype, each.shape, each.data) for name, each in tensors.items()}
    path.mkdir()
    write_tensors(path / "model.safetensors", held, {"format": "pt"})
    (path / "config.json").write_text(json.dumps(config))
    for name, content in tokenizer.files().items():
        (path / name).write_bytes(content)
    return str(path)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYLM_CACHE", str(tmp_path / "cache"))


def test_the_mean_of_others_folders_is_one_of_theirs() -> None:
    names = [folder(Path(name), seed) for seed, name in enumerate("ab")]
    made = pylm.soup(names, out="out")
    assert made.state["soup"]["method"] == "mean" and json.loads(Path("out/state.json").read_text()) == made.state
    one, two, mean = (safetensors.numpy.load_file(f"{name}/model.safetensors") for name in (*names, "out"))
    for name, found in mean.items():
        wanted = ((one[name].astype(np.float64) + two[name]) / 2).astype(np.float32)
        assert (np.abs(found - wanted) <= np.spacing(np.abs(wanted))).all(), name
    with safetensors.safe_open("out/model.safetensors", "np") as opened:
        assert opened.metadata() == {"format": "pt"} and set(opened.keys()) == set(one)
    for name in ("config.json", "tokenizer.json"):
        assert Path("out", name).read_bytes() == Path("a", name).read_bytes()
    shape, weights = read(open_weights("out"))
    assert shape.tied is False and len(weights) == len(read(open_weights("a"))[1])
    assert pylm.generate("out", "that", max_tokens=3).text()


def test_the_order_and_names_of_folders_are_nothing_to_their_mean_even_where_they_begin_alike(monkeypatch: Any) -> None:
    names = [folder(Path(name), 7) for name in "abc"]
    for step, name in enumerate(names):  # they differ in what stands last in each tensor alone
        held = safetensors.numpy.load_file(f"{name}/model.safetensors")
        for tensor in held.values():
            tensor.reshape(-1)[-1] += np.float32(step * 1e-3 + 1e7 * (step == 1) - 1e7 * (step == 2))
        safetensors.numpy.save_file(held, f"{name}/model.safetensors", {"format": "pt"})
    monkeypatch.setattr("pylm.soups.parents.MARKED", 16)
    sums = set()
    for at, order in enumerate(permutations(names)):
        renamed = [Path(shutil.copytree(name, f"{at}/{place}")) for place, name in enumerate(order)]
        parents = pylm.soup(renamed, out=f"{at}/out").state["soup"]["parents"]
        assert {parent["path"]: parent["identity"] for parent in parents} == {
            str(path): open_weights(name).identity for path, name in zip(renamed, order, strict=True)
        }
        sums.add(Path(f"{at}/out/model.safetensors").read_bytes())
    assert len(sums) == 1


def test_their_differences_are_named_too() -> None:
    a, b = folder(Path("a"), 1), folder(Path("b"), 2, rope_theta=20000.0)
    with pytest.raises(CheckpointError, match=r"a and b make no soup: rope_theta is 10000\.0 in one and 20000\.0 in"):
        pylm.soup([a, b], out="out")
    tokenizer = small_tokenizer()
    write_run(Path("runs/c"), small_model(tokenizer.vocab_size, **LLAMA), tokenizer)
    with pytest.raises(CheckpointError, match="a and runs/c make no soup: the layout is llama in one and pylm's in"):
        pylm.soup([a, "runs/c"], out="out")
