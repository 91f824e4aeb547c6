"""A model on its way out: its shape, its weights by our names, its tokenizer, and where it comes from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pylm.checkpoint import open_weights, read
from pylm.errors import CheckpointError
from pylm.generation.checked import check_files
from pylm.generation.load import folder_of, json_of, tokenizer_of
from pylm.model.names import read as read_weights
from pylm.tokenizer.tokenizer import ENDS

if TYPE_CHECKING:
    from pylm.config.schema import Model as Shape
    from pylm.model.names import Stored
    from pylm.tokenizer import Tokenizer

__all__ = ["Portable", "opened"]


@dataclass(frozen=True)
class Portable:
    """A checkpoint, opened to be written in another format."""

    name: str
    folder: Path
    shape: Shape
    weights: Mapping[str, Stored]
    tokenizer: Tokenizer | None
    ends: tuple[int, ...]  # ids that end a text; the first is the end of a document
    about: Mapping[str, Any]  # the state of a checkpoint of ours; {} for a folder of somebody else's

    @property
    def dtype(self) -> str:
        """Return safetensors' word for what most of it is kept in: the embedding's."""
        return self.weights["embed.weight"].dtype


def opened(checkpoint: str, say: Callable[[str], None] = lambda text: None) -> Portable:
    """Open what a CHECKPOINT means, its files checked against their manifest."""
    folder = folder_of(checkpoint)
    about: Mapping[str, Any] = {}
    if (folder / "manifest.json").exists():
        about = read(folder).state
        check_files(folder, say)
    shape, weights = read_weights(open_weights(folder))
    tokenizer = tokenizer_of(folder)
    if tokenizer is not None and shape.vocab_size is not None and tokenizer.vocab_size > shape.vocab_size:
        raise CheckpointError(
            f"the tokenizer of {folder} has {tokenizer.vocab_size:,} ids and its model {shape.vocab_size:,} logits",
            "put the tokenizer that it was trained with beside it",
        )
    return Portable(str(checkpoint), folder, shape, weights, tokenizer, _ends(folder, tokenizer), about)


def _ends(folder: Path, tokenizer: Tokenizer | None) -> tuple[int, ...]:
    """Return the ids at which others are to stop: those that the folder names, else the end of text and of a turn."""
    said = json_of(folder / "generation_config.json").get("eos_token_id")
    if named := [token for token in (said if isinstance(said, list) else [said]) if type(token) is int]:
        return tuple(named)
    if tokenizer is None:
        return ()
    template = tokenizer.chat_template or ""
    turns = [tokenizer.added[name] for name in ENDS if name in tokenizer.added and name in template]
    first = [] if tokenizer.eot is None else [tokenizer.eot]
    return tuple(dict.fromkeys([*first, *turns]))
