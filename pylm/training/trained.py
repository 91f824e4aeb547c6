"""What of a model a run changes: all of it, unless parts of it are frozen, or all of it beneath an adapter."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pylm.errors import ConfigError
from pylm.model.growing import TABLES
from pylm.model.lora import Adapter
from pylm.model.parameters import parameters
from pylm.wording import param

if TYPE_CHECKING:
    from pylm.config.schema import Finetune
    from pylm.config.schema import Model as Shape

__all__ = ["EVERYTHING", "Trained", "trained_by", "trained_of"]

WORDS = ("embeddings", "head", "norms", "layers:0-5")
_LAYERS = re.compile(r"layers:(\d{1,9})(?:-(\d{1,9}))?")


@dataclass(frozen=True)
class Trained:
    """Which parameters learn, and which rows of frozen tables.

    Attributes:
        frozen: Names of parameters that have no gradient, no moments, and stay as they are to the bit.
        new: Rows of tokens that are new, which learn in every table all the same; None where no token is.
        adapter: What learns beside the weights, all of which are frozen then.
        dpo_beta: Of learning by pairs of answers; None where the next token is learned.
    """

    frozen: frozenset[str] = frozenset()
    new: range | None = None
    adapter: Adapter | None = None
    dpo_beta: float | None = None

    def rows(self, name: str) -> slice | None:
        """Return the rows of a parameter that learn; None where none do."""
        if name not in self.frozen:
            return slice(None)
        if self.new and name.endswith(TABLES):
            return slice(self.new.start, self.new.stop)
        return None

    def saved(self, shape: Shape) -> int:
        """Return how many numbers a checkpoint holds: those of the model, and of an adapter its own and new rows."""
        whole = {name: one.shape for name, one in parameters(shape).items()}
        if self.adapter is None:
            return sum(map(math.prod, whole.values()))
        rows = [len(self.new) * whole[name][1] for name in whole if self.new and name.endswith(TABLES)]
        return sum(map(math.prod, self.adapter.sizes(shape).values())) + sum(rows)


EVERYTHING = Trained()


def trained_by(shape: Shape, finetune: Finetune, new: range | None) -> Trained:
    """Return what learns where a model of this shape is tuned; the rows of new tokens do in any case."""
    beta = finetune.dpo_beta if finetune.prefers else None
    if not finetune.adapts:
        return replace(trained_of(shape, finetune.freeze, new), dpo_beta=beta)
    if finetune.freeze:
        raise ConfigError(
            f"{param('freeze', ','.join(finetune.freeze))}: under {param('method', finetune.method)} all "
            "weights stay already",
            f"{param('lora_targets')} says what gets adapters",
        )
    return Trained(frozenset(parameters(shape)), new, Adapter.of(finetune, shape), beta)


def trained_of(shape: Shape, freeze: Sequence[str], new: range | None) -> Trained:
    """Return what learns in a model of this shape; refuse words that freeze nothing of it, or all of it.

    Args:
        shape: completed.
        freeze: `embeddings`, `head`, `norms`, `layers:0-5`, `layers:3`; several may stand in one word, with commas.
        new: rows of tokens that are new.
    """
    names = parameters(shape)
    words = [word.strip() for several in freeze for word in several.split(",")]
    frozen = {name for word in words for name in _named(word, names, shape)}
    trained = Trained(frozenset(frozen), new)
    if all(trained.rows(name) is None for name in names):
        raise ConfigError(f"{param('freeze', ','.join(words))} leaves nothing that learns", "freeze less")
    return trained


def _named(word: str, names: Mapping[str, object], shape: Shape) -> list[str]:
    """Return the parameters that a word means."""
    assert shape.n_layers is not None
    said = f"freeze {word}"
    if word == "embeddings":
        return [name for name in names if name.endswith(("embed.weight", "position.weight", "value.weight"))]
    if word == "head":
        if shape.tied:
            raise ConfigError(f"{said}: the head is the table of embeddings here", "freeze embeddings freezes both")
        return ["head.weight"]
    if word == "norms":
        if not shape.norm_gain:
            raise ConfigError(f"{said}: the norms of this model learn nothing", "leave it out")
        return [name for name in names if re.search(r"(^|[._])norm\.", name)]
    if (match := _LAYERS.fullmatch(word)) is None:
        raise ConfigError(f"{said}: there is no such part of a model", f"such as {', '.join(WORDS)}")
    first, last = int(match[1]), int(match[2] or match[1])
    if not first <= last < shape.n_layers:
        raise ConfigError(f"{said}: the model has layers from 0 to {shape.n_layers - 1}", "count them from 0")
    return [name for name in names if any(name.startswith(f"blocks.{layer}.") for layer in range(first, last + 1))]
