"""The small model and its tokenizer, made once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from pylm.model.torch import Model
from pylm.tokenizer import Tokenizer
from tests.generation.small import small_model, small_tokenizer


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return small_tokenizer()


@pytest.fixture(scope="session")
def model(tokenizer: Tokenizer) -> Model:
    return small_model(tokenizer.vocab_size)


@pytest.fixture(autouse=True, scope="package")
def one_thread() -> Iterator[None]:
    """These models are so small that a second thread is only waited for."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
