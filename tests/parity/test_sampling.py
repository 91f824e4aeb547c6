"""Text of the MLX engine: the very tokens that torch draws, and no torch in the process."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

import pylm
from tests.generation.small import small_model, small_tokenizer, write_run

SHAPES: dict[str, dict[str, Any]] = {
    "llama": {},
    "gpt2": {"position": "learned", "norm": "layernorm", "mlp": "gelu", "bias": True, "n_kv_heads": 4},
    "speed": {"value_embeddings": True, "residual_lambdas": True, "qk_norm": True, "logit_softcap": 15.0,
              "mlp": "relu2", "window": 20, "attention_softcap": 8.0, "tied": False},
}  # fmt: skip


@pytest.mark.parametrize("name", SHAPES)
def test_the_same_32_tokens_are_drawn(name: str, tmp_path: Path) -> None:
    tokenizer = small_tokenizer()
    run = write_run(tmp_path / "run", small_model(tokenizer.vocab_size, **SHAPES[name]), tokenizer)
    made = {}
    for backend in ("torch", "mlx"):
        drawn = pylm.generate(run, ["The cat", "on that mat"], backend=backend, device="cpu", dtype="fp32",
                              max_tokens=32, seed=5, n=2, temperature=0.9, top_p=0.95)  # fmt: skip
        made[backend] = [(piece.prompt, piece.sample, piece.id, piece.logprob) for piece in drawn]
    assert len(made["mlx"]) > 64  # a text may end before its 32nd
    assert [one[:3] for one in made["mlx"]] == [one[:3] for one in made["torch"]]
    np.testing.assert_allclose([one[3] for one in made["mlx"]], [one[3] for one in made["torch"]], atol=1e-4)
    assert len({one[2] for one in made["mlx"]}) > 20


def test_guesses_and_a_full_context_change_nothing(tmp_path: Path) -> None:
    tokenizer = small_tokenizer()
    run = write_run(tmp_path / "run", small_model(tokenizer.vocab_size), tokenizer)

    def written(**settings: Any) -> list[int]:
        drawn = pylm.generate(run, "The cat", device="cpu", max_tokens=70, temperature=0, **settings)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "the context of 48 tokens is full")
            return [piece.id for piece in drawn]

    assert written(backend="mlx", speculate=True) == written(backend="mlx") == written(backend="torch")


def test_bf16_is_near_fp32(tmp_path: Path) -> None:
    tokenizer = small_tokenizer()
    run = write_run(tmp_path / "run", small_model(tokenizer.vocab_size), tokenizer)
    from pylm.generation.load import open_session

    ids = tokenizer.encode("The cat on that mat")
    found = {}
    for dtype in ("fp32", "bf16"):
        engine = open_session(str(run), backend="mlx", device="cpu", dtype=dtype).engine
        found[dtype] = engine.prefill(ids, engine.cache(1, 48), 0)
    distance = np.linalg.norm(found["bf16"] - found["fp32"]) / np.linalg.norm(found["fp32"])
    assert 1e-4 < distance < 0.03


def test_the_command_needs_no_torch_and_says_what_computes(tmp_path: Path) -> None:
    tokenizer = small_tokenizer()
    run = write_run(tmp_path / "run", small_model(tokenizer.vocab_size), tokenizer)
    words = [
        "sample",
        "--checkpoint",
        str(run),
        "--backend",
        "mlx",
        "--prompt",
        "The",
        "--max-tokens",
        "5",
        "--seed",
        "1",
    ]
    code = "import sys; sys.modules['torch'] = None; from pylm.cli import run; sys.exit(run(sys.argv[1:]))"
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout and "MLX 0." in done.stderr
    if not mx.metal.is_available():
        assert "for correctness only" in done.stderr
