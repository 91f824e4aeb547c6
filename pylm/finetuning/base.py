"""The model that is tuned: its weights, its tokenizer, and how it was trained as far as that is known."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pylm.config.cascade import DEFAULT, resolve
from pylm.data.open import tokenizer_of
from pylm.errors import CheckpointError
from pylm.wording import call

if TYPE_CHECKING:
    from pylm.config.cascade import Resolved
    from pylm.config.schema import Model as Shape
    from pylm.config.schema import Train
    from pylm.tokenizer import Tokenizer

__all__ = ["Base", "open_base"]


@dataclass(frozen=True)
class Base:
    """A checkpoint that is to be tuned.

    Attributes:
        path: Its folder.
        shape: Its shape, with as many tokens as its tables have rows.
        tokenizer: Its tokenizer.
        train: How it was trained; None where it does not say, as a soup or another's model.
        tuned_by: The method that it was tuned by before, whose rate it has then; None where it was trained alone.
        sequences: Those of a step that it was trained with, None where it does not say.
    """

    path: Path
    shape: Shape
    tokenizer: Tokenizer
    train: Train | None
    tuned_by: str | None
    sequences: int | None

    def context_length(self, resolved: Resolved) -> int:
        """Return the context that it is tuned with: its own, unless another is given."""
        is_open = resolved.origin("model.context_length") == DEFAULT
        return self.shape.context_length if is_open else resolved.config.model.context_length

    @property
    def name(self) -> str:
        """How its run is called, else its folder."""
        folder = self.path.parent.parent if self.path.parent.name == "checkpoints" else self.path
        return folder.resolve().name


def open_base(checkpoint: str | None) -> Base:
    """Open what a CHECKPOINT means, `hub:ORG/NAME` too; the newest run's best where None. It needs a tokenizer."""
    from pylm.checkpoint import open_weights, read
    from pylm.generation.load import folder_of
    from pylm.model import names

    path = folder_of(checkpoint)
    shape, _ = names.read(open_weights(path))
    tokenizer = tokenizer_of(str(path))
    if tokenizer is None:
        raise CheckpointError(
            f"{path} carries no tokenizer, by which examples become tokens",
            f"put its tokenizer.json there; one that {call('train', 'my.txt')} makes has it",
        )
    train, tuned_by, sequences = None, None, None
    if (path / "config.yaml").is_file():
        resolved = resolve(files=[path / "config.yaml"], environ={})
        tuned_by = None if resolved.config.finetune.dataset is None else resolved.config.finetune.method
        if resolved.origin("train.learning_rate") != DEFAULT:  # a soup's has no section train
            train = resolved.config.train
    if (path / "manifest.json").is_file():
        sequences = read(path).state.get("loader", {}).get("batch_size")
    return Base(path, shape, tokenizer, train, tuned_by, sequences)
