"""What a process holds that trains in torch, beside its model: the interpreter, torch, what its first step loads."""

from __future__ import annotations

import torch

from pylm.config.schema import Model as Shape
from pylm.config.schema import Train
from pylm.config.shape import complete
from pylm.training.backend import MicroBatch
from pylm.training.torch_backend import backend as torch_backend

__all__ = ["warm_up"]

VOCABULARY, TOKENS = 512, 64


def warm_up(shape: Shape, train: Train) -> None:
    """Train a model of a few thousand parameters for a step, and evaluate it, with the same kinds of layers.

    Kernels, their code and the threads' own memory are there afterwards, as in any process that trains.
    """
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    small = {"n_layers": 2, "n_heads": 1, "n_kv_heads": 1, "d_model": 64, "head_dim": 64, "d_ff": 64}
    tiny = shape.model_copy(update={**small, "vocab_size": None, "context_length": TOKENS})
    settings = train.model_copy(update={"micro_batch": 1, "compile": False})
    made = torch_backend.make(complete(tiny, VOCABULARY), settings)
    ids = torch.zeros(1, TOKENS, dtype=torch.int64).numpy()
    made.step([MicroBatch(ids, ids)], lr=1e-3)
    made.loss(MicroBatch(ids, ids))
    torch.set_rng_state(state)
    torch.set_num_threads(threads)
