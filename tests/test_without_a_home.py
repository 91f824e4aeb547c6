"""A user who has no home has no cache folder: all is done as ever, and nothing is remembered."""

# ruff: noqa: F811 - fixtures are found by their names
from __future__ import annotations

import json
import os
import pwd
from pathlib import Path
from typing import Any

import pytest

from pylm import Tokenizer
from pylm.cache import cache_folder
from pylm.errors import TokenizerError
from pylm.tokenizer import agreement
from pylm.training.remembered import recall, remember
from pylm.training.torch_backend.backend import TorchBackend
from tests.cli.test_sample import Given, checkpoint, elsewhere, pylm_, sample  # noqa: F401
from tests.cli.test_sample_opening import damaged
from tests.tokenizer.conftest import corpus  # noqa: F401
from tests.tokenizer.shapes import SHAPES
from tests.tokenizer.test_load import publisher, vocab  # noqa: F401


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch, elsewhere: None) -> None:
    def nobody(number: int) -> Any:
        raise KeyError(f"getpwuid(): uid not found: {number}")

    for name in ("HOME", "PYLM_CACHE", "XDG_CACHE_HOME", "TORCHINDUCTOR_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", nobody)


def test_weights_are_checked_each_time(pylm_: Given, checkpoint: Path, homeless: None) -> None:
    assert cache_folder() is None
    assert sample(pylm_)[0] == sample(pylm_)[0]
    damaged(checkpoint / "model.safetensors")
    assert "model.safetensors is damaged" in sample(pylm_, code=1)[1]


def test_ids_are_compared_once_a_process(homeless: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agreement, "_seen", set())
    compared: list[Any] = []
    monkeypatch.setattr(agreement, "_compare", lambda *given: compared.append(given))
    value = json.dumps(SHAPES["llama3"](["a line of text", "and another"]))
    for _ in range(2):
        Tokenizer.from_tokenizer_json(value)
    assert len(compared) == 1


def test_what_is_probed_is_probed_again(homeless: None) -> None:
    said: list[str] = []
    remember("x", {"a": 1}, said.append)
    assert said == ["what was probed is not remembered: there is no home for a cache folder; set PYLM_CACHE"]
    assert recall("x") is None


def test_torch_compiles_where_it_will(homeless: None) -> None:
    class Bare:
        class model:
            blocks = ()

    TorchBackend.compile(Bare())  # type: ignore[arg-type]
    assert "TORCHINDUCTOR_CACHE_DIR" not in os.environ


def test_a_vocabulary_is_fetched_and_not_kept(publisher: Any, homeless: None) -> None:
    _, asked, cache = publisher
    for _ in range(2):
        Tokenizer.load("cl100k_base")
    assert asked == ["/cl100k_base.tiktoken"] * 2 and not cache.exists()
    with pytest.raises(TokenizerError, match="not in the cache, and the network is not to be used") as caught:
        Tokenizer.load("cl100k_base", offline=True)
    assert caught.value.hint == "there is no home for a cache folder: set PYLM_CACHE"
