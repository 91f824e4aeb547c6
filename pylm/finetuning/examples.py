"""The examples of a tuning as a folder of tokens with masks, and the tokenizer that wrote them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pylm.checkpoint.directory import hash_of
from pylm.data import chat
from pylm.data.folder import read_manifest
from pylm.data.sources import default_folder
from pylm.errors import DataError, UsageError
from pylm.finetuning.events import Grown, Prepared
from pylm.tokenizer import Tokenizer
from pylm.tokenizer.grown import grown
from pylm.training.events import Doing
from pylm.wording import call, param

if TYPE_CHECKING:
    from pylm.config.cascade import Resolved
    from pylm.config.schema import Finetune
    from pylm.finetuning.base import Base
    from pylm.training.events import Event

__all__ = ["Examples", "examples_of"]

VAL = 0.05  # of the examples are held out
DIGITS = 8  # of the hash in a folder's name

OnEvent = Callable[["Event"], None]


@dataclass(frozen=True)
class Examples:
    """Examples as tokens.

    Attributes:
        folder: Shards with masks.
        template: The name of the template that wrote them; None where they are taken as they are.
        new_tokens: Special tokens that the base's tokenizer lacks.
    """

    folder: Path
    template: str | None
    new_tokens: tuple[str, ...]


def examples_of(resolved: Resolved, base: Base, on_event: OnEvent) -> Examples:
    """Make the dataset of a configuration tokens, where `pylm train` puts its own; what is there already is kept."""
    dataset = resolved.config.finetune.dataset
    if dataset is None:
        raise UsageError("nothing to tune on was named", f"{call('finetune', dataset='chat.jsonl')} names examples")
    if (manifest := read_manifest(Path(dataset))) is not None:
        return _prepared_before(Path(dataset), manifest, resolved, base, on_event)
    return _prepared_now(dataset, resolved, base, on_event)


def _prepared_before(
    folder: Path, manifest: dict[str, Any], resolved: Resolved, base: Base, on_event: OnEvent
) -> Examples:
    """Return a folder of examples as it is; refuse one of text, and one of another tokenizer."""
    made = manifest.get("made")
    if not isinstance(made, dict) or made.get("kind") not in ("examples", "pairs"):
        raise DataError(
            f"{folder} holds text as tokens, and no examples", f"{call('train', data=folder, init_from=base.path)}"
        )
    _refuse_other_method(str(folder), resolved.config.finetune, pairs=made["kind"] == "pairs")
    tokenizer = Tokenizer.load(folder)
    new = tuple(name for name, number in tokenizer.added.items() if number >= base.tokenizer.vocab_size)
    if grown(base.tokenizer, sorted(new, key=tokenizer.added.__getitem__)).identity != tokenizer.identity:
        raise DataError(
            f"{folder} is of the tokenizer {tokenizer.identity[:12]}…, {base.path} speaks "
            f"{base.tokenizer.identity[:12]}…",
            "name the dataset that it was made of, and it is tokenized anew",
        )
    _say_grown(new, base, on_event)
    return Examples(folder, made.get("template_name"), new)


def _prepared_now(dataset: str, resolved: Resolved, base: Base, on_event: OnEvent) -> Examples:
    config = resolved.config
    template = chat.template_of(config.finetune.template, base.tokenizer)
    on_event(Doing(f"reading {dataset}"))
    first = next(iter(chat.read(dataset)))
    _refuse_other_method(dataset, config.finetune, pairs=first.rejected is not None)
    written_by = chat.Masker(base.tokenizer, template).written_by(first.form)
    new = tuple(chat.tokens_needed(template, base.tokenizer)) if written_by is not None else ()
    tokenizer = grown(base.tokenizer, new) if new else base.tokenizer
    _say_grown(new, base, on_event)
    context = base.context_length(resolved)
    share = VAL if config.data.val_share is None else config.data.val_share
    tuning, used = config.finetune, None if written_by is None else template
    decides = [tuning.overflow, context, share, tuning.val_dataset, used and used.text, tokenizer.identity]
    files = [hash_of(Path(one)) for one in (dataset, tuning.val_dataset) if one is not None and Path(one).is_file()]
    folder = _folder(dataset, [*decides, files])
    chat.prepare(
        dataset, tokenizer, folder, template=used, overflow=tuning.overflow, context_length=context, val=share,
        val_dataset=tuning.val_dataset, on_event=lambda event: _say(event, dataset, on_event),
    )  # fmt: skip
    return Examples(folder, written_by, new)


def _refuse_other_method(dataset: str, tuning: Finetune, *, pairs: bool) -> None:
    if pairs and not tuning.prefers:
        raise DataError(f"{dataset} has pairs of answers, from which {param('method', tuning.method)} does not learn",
                        f"{param('method', 'dpo-lora' if tuning.adapts else 'dpo')} does")  # fmt: skip
    if tuning.prefers and not pairs:
        raise DataError(f"{dataset} has examples, and {param('method', tuning.method)} learns from pairs of answers",
                        'a pair is {"prompt": …, "chosen": …, "rejected": …}')  # fmt: skip


def _folder(dataset: str, asked: list[Any]) -> Path:
    """Return `data/<dataset>-<hash>`: another tokenizer or template makes another folder, and an edited file too."""
    plain = default_folder([dataset])
    digest = hashlib.sha256(json.dumps(asked).encode()).hexdigest()
    return plain.with_name(f"{plain.name}-{digest[:DIGITS]}")


def _say_grown(new: tuple[str, ...], base: Base, on_event: OnEvent) -> None:
    if not new:
        return
    size = base.tokenizer.vocab_size + len(new)
    padding = max(min(base.shape.vocab_size or 0, size) - base.tokenizer.vocab_size, 0)
    where = "takes rows that were padding" if padding == len(new) else f"grows to {size:,} tokens"
    on_event(Grown(f"the vocabulary {where}: {', '.join(new)}, which begin at the mean", new, size, padding))


def _say(event: object, dataset: str, on_event: OnEvent) -> None:
    """Hand on what preparing says."""
    if isinstance(event, chat.ExamplesRead):
        on_event(Doing(f"{dataset}: {event.examples:,} examples are tokens"))
    elif isinstance(event, chat.ExamplesPrepared):
        on_event(Prepared(_words(event, dataset), event.folder, dict(event.examples), dict(event.counts)))


def _words(event: chat.ExamplesPrepared, dataset: str) -> str:
    """Return what examples became, in a sentence."""
    counted, tokens = (sum(one.values()) for one in (event.counted, event.tokens))
    held, counts = event.examples.get("val", 0), event.counts
    parts = [f"{counts['examples']:,} examples", f"{held:,} held out", f"{counted:,} of {tokens:,} tokens count"]
    parts += [f"{counts['cut']:,} lost the beginning of their prompt"] if counts.get("cut") else []
    parts += [f"{counts['dropped']:,} are too long and left out"] if counts.get("dropped") else []
    written = "" if event.template is None else f", written by the template {event.template}"
    return f"{dataset} is tokenized{written}: {event.folder} ({', '.join(parts)})"
