"""`pylm.data.mix`: shards of several sources, whose tokens are as their weights."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pylm.data.mixing.choosing import Part, apart, sides_of, taken_of
from pylm.data.mixing.origins import Origin, manifests, named_origins, prepared_texts
from pylm.data.mixing.writing import (
    check_share,
    check_tokens,
    made_here,
    new_folder,
    seal_of,
    taken,
    write_splits,
)
from pylm.errors import UsageError
from pylm.wording import param

if TYPE_CHECKING:
    from pylm.tokenizer import Tokenizer
    from pylm.tokenizer.report import Report

__all__ = ["Mixture", "mix"]


@dataclass(frozen=True)
class Mixture:
    """Shards that were mixed: their folder, what each source gave, and how many copies of validation were left out."""

    folder: Path
    parts: tuple[Part, ...]
    splits: dict[str, Any]
    copies: int = 0
    was_here: bool = False


def mix(
    sources: Any,
    out: str | os.PathLike[str],
    *,
    tokens: int | str | None = None,
    temperature: float | None = None,
    seed: int | None = None,
    val: float = 0.01,
    tokenizer: Tokenizer | str | Path | None = None,
    shard_tokens: int | str = 100_000_000,
    progress: Report | None = None,
    say: Callable[[str], None] | None = None,
) -> Mixture:
    """Write shards of several sources whose shares of the tokens are as their weights, at every point.

    ::

        pylm.data.mix({"data/wiki": 0.7, "data/web": 0.3}, "data/mixed", tokens="1B")
        pylm.data.mix(["data/en", "data/de", "data/ja"], "data/mixed", tokens="1B", temperature=0.3)

    Documents are whole, and the next one is of the source that is furthest behind its share. A source that has no more
    begins anew. What is for validation is chosen in each source by what a document holds, is taken once, and no
    document like it is trained on.

    Args:
        sources: Folders of shards of one tokenizer, or texts (see `source`), with their weights: a mapping, pairs, or
            words such as `wiki:0.7`. Without weights their sizes decide.
        out: The folder to write.
        tokens: How many are for training; as many as there are without repeating any if not given.
        temperature: Without weights, a share is as the source's tokens to this power: 1 as they are, 0 all alike.
        seed: Each pass over a source has an order of its own; the source's order if not given.
        val: The share of documents kept for validation of a source that keeps none yet; 0 for no validation.
        tokenizer: Makes tokens of texts; that of the shards beside them if not given.
        shard_tokens: About how many tokens a shard gets.
        progress: Called about five times a second.
        say: Called with sentences that a user wants to read.
    """
    say, folder = say or (lambda _: None), Path(out)
    share, per_shard = check_share("val", val, least_is_none=True), check_tokens("shard_tokens", shard_tokens)
    total = None if tokens is None else check_tokens("tokens", tokens)
    origins = named_origins(sources)
    _check(origins, temperature, seed)
    known = made_here(folder)  # before texts are tokenized for it
    texts = folder.parent / f".{folder.name}.texts"
    ready = prepared_texts(origins, texts, tokenizer, share, _most(origins, total, share), progress, say)
    described = manifests(ready)
    asked = {
        "mix": [[one.name, one.weight, seal_of(of)] for one, of in zip(ready, described, strict=True)],
        "tokens": total, "temperature": temperature, "seed": seed, "val": share, "shard_tokens": per_shard,
    }  # fmt: skip
    if known is not None:
        if known["made"].get("asked") != asked:
            raise taken(folder)
        shutil.rmtree(texts, ignore_errors=True)
        parts = tuple(Part(**part) for part in known["made"]["parts"])
        return Mixture(folder, parts, known["splits"], known["made"]["copies"], was_here=True)
    sides = apart([sides_of(one, of, share, progress) for one, of in zip(ready, described, strict=True)])
    mixed = taken_of(ready, described, sides, total, temperature, seed, share, say)
    with new_folder(folder, "mix") as scratch:
        made = {"asked": asked, "parts": [vars(part) for part in mixed.parts], "copies": mixed.copies}
        base = {**described[0], **_together(ready, described)}
        assert ready[0].folder is not None
        manifest = write_splits(
            scratch, ready[0].folder, base, mixed.splits, made, val=share, shard_tokens=per_shard, progress=progress
        )
    shutil.rmtree(texts, ignore_errors=True)
    return Mixture(folder, mixed.parts, manifest["splits"], mixed.copies)


def _check(origins: Sequence[Origin], temperature: float | None, seed: int | None) -> None:
    """Refuse what says one thing twice, or nothing that can be."""
    if temperature is not None:
        if isinstance(temperature, bool) or not isinstance(temperature, int | float) or not 0 <= temperature < math.inf:
            raise UsageError(f"temperature is {temperature!r}", "give a number from 0 (all alike), such as 0.3")
        if origins[0].weight is not None:
            raise UsageError(f"weights and {param('temperature')} both say the shares", "give one of them")
    if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**64):
        raise UsageError(f"seed is {seed!r}", "a seed is a whole number, 0 or more and below 2**64")


def _most(origins: Sequence[Origin], total: int | None, val: float) -> Callable[[Origin], int | None]:
    """Return how many tokens of a text are of use: its share and what is kept for validation, where both are known."""
    whole = sum(origin.weight or 0.0 for origin in origins)

    def most(origin: Origin) -> int | None:
        if total is None or origin.weight is None:
            return None
        # a tenth more: a hash keeps about its share for validation, not exactly
        return math.ceil(1.1 * total * origin.weight / whole / (1 - val))

    return most


def _together(origins: Sequence[Origin], described: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return what a manifest says of its sources, said of all that are mixed."""
    sources = [
        {
            "name": origin.name,
            "size": sum(shard["bytes"] for split in of["splits"].values() for shard in split["shards"]),
            "fingerprint": seal_of(of),
        }
        for origin, of in zip(origins, described, strict=True)
    ]
    special = sorted({name for of in described for name in of["settings"]["allow_special"]})
    return {
        "sources": sources,
        "settings": {**described[0]["settings"], "allow_special": special},
        "replaced_bytes": sum(of["replaced_bytes"] for of in described),
        "skipped": {"count": sum(of["skipped"]["count"] for of in described), "first": []},
    }
