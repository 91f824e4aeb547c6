"""What a model is judged by, found and checked: a run's own split, shards of the same tokenizer, or text."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pylm.config.cascade import resolve
from pylm.config.schema import Config
from pylm.data.folder import TOKEN_FILES
from pylm.data.identity import identify
from pylm.errors import CheckpointError, DataError, PylmError, TokenizerError, UsageError
from pylm.evaluation.examples import (
    Example,
    examples_of,
    examples_of_shards,
    ids_of_labels,
    in_pieces,
    masks_beside,
    passages,
)
from pylm.evaluation.reading import Passage, documents, prefix_of, texts, windows, within
from pylm.tokenizer import Tokenizer
from pylm.wording import param

if TYPE_CHECKING:
    from pylm.checkpoint import Checkpoint
    from pylm.data.chat.templates import Template
    from pylm.data.identity import Identity
    from pylm.evaluation.answered import Masked
    from pylm.generation.load import Opened

__all__ = ["Judged", "by_examples", "by_shards", "by_text", "is_shards", "of_ours", "own_data"]

NO_WINDOW = "hold no window"  # how the loader says that there are too few tokens


@dataclass(frozen=True)
class Judged:
    """Passages to read, what they are called, and what else the numbers depend on."""

    name: str
    passages: Iterator[Passage]
    settings: Callable[[], dict[str, Any]]  # asked once all is read
    tokens: int | None = None  # about how many targets there are, where that is known
    examples: Callable[[], Iterable[Masked]] | None = None  # that ask for answers, where it is of such
    labels: Mapping[str, Sequence[int]] = field(default_factory=dict)  # that they have, in ids

    def empty(self) -> PylmError:
        """Return the error for passages without a target."""
        return DataError(f"{self.name} holds nothing to predict", f"name other data with {param('data', 'DIR')}")


def is_shards(data: Any) -> bool:
    """Say whether data is a folder of shards or a file of tokens, and not text."""
    if not isinstance(data, str | os.PathLike):
        return False
    path = Path(os.fspath(data))
    if path.is_dir():
        return (path / "manifest.json").is_file() or any(each.suffix in TOKEN_FILES for each in path.iterdir())
    return path.suffix in TOKEN_FILES


def own_data(
    opened: Opened, split: str, by_document: bool, stride: int | None, prefix: str, limit: int | None,
    say: Callable[[str], None],
) -> Judged:  # fmt: skip
    """Return the split that a run was judged by."""
    if not (opened.folder / "config.yaml").is_file():
        raise CheckpointError(
            f"{opened.folder} does not say what it was judged by", f"name it with {param('data', 'DIR')}"
        )
    config = resolve(files=[opened.folder / "config.yaml"], environ={}).config
    source = config.data.mix or config.data.path
    if source is None:
        raise CheckpointError(f"{opened.folder} names no data", f"name some with {param('data', 'DIR')}")
    try:
        identity = identify(source, config.data.val)
    except DataError as error:
        raise DataError(
            error.marked[0],
            f"the run was trained on it: run pylm from there, or name other data: {param('data', 'DIR')}",
        ) from error
    bound = _state(opened).get("data")
    if bound not in (None, identity.fingerprint):
        say("the data has changed since the run was trained on it")
    if split == "val" and identity.validation is None:
        name = source if isinstance(source, str) else next(iter(source))
        raise _no_split(name, split)
    if split == "train":
        folders = [source] if isinstance(source, str) else list(source)
        if len(folders) > 1:
            raise DataError(
                f"the run was trained on a mix of {', '.join(folders)}, which are judged one by one",
                f"name one: {param('data', folders[0])} and {param('split', 'train')}",
            )
        return by_shards(opened, folders[0], split, by_document, stride, prefix, limit, config)
    assert identity.validation is not None
    named = "val" if config.data.val is None else "train"
    return by_shards(opened, identity.validation, named, by_document, stride, prefix, limit, config)


def by_shards(
    opened: Opened, path: str, split: str, by_document: bool, stride: int | None, prefix: str, limit: int | None,
    config: Config | None = None,
) -> Judged:  # fmt: skip
    """Return a split of shards, in training's windows or by document."""
    identity = identify(path)
    _same_tokenizer(opened, identity, path)
    if config is None:
        config = Config.model_validate({"model": {"context_length": opened.engine.context_length}})
    _refuse_empty(path, split, identity)
    settings: dict[str, Any] = {"data": identity.fingerprint, "split": split, "limit": limit}
    if (made := masks_beside(path)) is not None:
        return _by_masks(opened, path, split, made, stride, limit, settings)
    if by_document:
        return _documents_of_shards(opened, path, split, stride, prefix, limit, settings)
    from pylm.evaluation.validation import Validation

    data = {"path": path, "val": path if split == "train" else None, "window": config.data.window}
    asked = {"model": {"context_length": opened.engine.context_length}, "train": {"eval_batches": None}, "data": data}
    try:
        validation = Validation(Config.model_validate(asked), identify(path, data["val"]))
    except DataError as error:
        if NO_WINDOW not in error.message:
            raise
        raise DataError(error.marked[0], f"{param('by_document', True)} reads what is shorter") from error
    found = windows(validation, limit)
    tokens = min(validation.windows, limit or validation.windows) * opened.engine.context_length
    settings |= {"windows": config.data.window}
    return Judged(path, within(found, opened.engine.vocab_size, path), lambda: settings, tokens)


def _by_masks(
    opened: Opened, path: str, split: str, made: dict[str, Any], stride: int | None, limit: int | None,
    settings: dict[str, Any],
) -> Judged:  # fmt: skip
    """Return the examples of shards with masks, each read alone, by what counts of it."""
    if stride is not None:
        raise UsageError(f"{path} holds examples, which are read whole", f"leave out {param('stride')}")

    def examples() -> Iterator[Example]:
        return islice(examples_of_shards(path, split), limit)

    is_text = made.get("form") == "text"  # of which nothing is asked, and which may be longer than the context
    labels = {}
    if made.get("labels"):
        tokenizer = Tokenizer.load(path)
        template = made.get("template_name") and _own_template(tokenizer)
        labels = ids_of_labels(made["labels"], tokenizer, template)
    read = in_pieces(examples(), opened.engine.context_length) if is_text else examples()
    found = _seen(within(passages(read), opened.engine.vocab_size, path), opened, path)
    settings |= {"documents": True, "examples": True}
    return Judged(path, found, lambda: settings, examples=None if is_text else examples, labels=labels)


def by_examples(opened: Opened, dataset: Any, limit: int | None) -> Judged:
    """Return the examples of a dataset, read through the model's own template by its own tokenizer."""
    from pylm.data import Examples
    from pylm.data.streaming.stream_of import named

    tokenizer = opened.tokenizer
    if tokenizer is None:
        raise _no_tokenizer(opened)
    template, learned = _tuned(opened, tokenizer)
    held = Examples(dataset, tokenizer, template=template, context_length=opened.engine.context_length)
    digest = hashlib.sha256()

    def examples() -> Iterator[Example]:
        return islice(examples_of(held), limit)

    def settings() -> dict[str, Any]:
        return {"data": digest.hexdigest(), "documents": True, "examples": True, "limit": limit}

    labels = ids_of_labels(learned or held.labels, tokenizer, template) if held.labels else {}
    found = passages(examples(), digest.update)
    asked = None if held.form == "text" else examples
    return Judged(named(dataset) or "examples", found, settings, examples=asked, labels=labels)


def _tuned(opened: Opened, tokenizer: Tokenizer) -> tuple[Template | None, list[str]]:
    """Return the template that a model was tuned with, where one wrote its examples, and the labels that it learned."""
    if not (opened.folder / "config.yaml").is_file():
        return None, []
    config = resolve(files=[opened.folder / "config.yaml"], environ={}).config
    made = masks_beside(config.data.path) if config.data.path is not None else None
    template = _own_template(tokenizer) if config.finetune.template is not None else None
    return template, [] if made is None else list(made.get("labels", []))


def _own_template(tokenizer: Tokenizer) -> Template | None:
    """Return the template that a tokenizer carries, as one that is asked for: it writes prompts, too."""
    from pylm.data.chat.templates import Template

    own = tokenizer.chat_template
    return None if own is None else Template("the tokenizer's", own, is_given=True)


def _seen(found: Iterable[Passage], opened: Opened, path: str) -> Iterator[Passage]:
    """Yield passages that the model sees whole; refuse others."""
    most = opened.engine.context_length
    for passage in found:
        if len(passage.inputs) > most:
            raise DataError(
                f"{path} holds an example of {len(passage.inputs) + 1:,} tokens, and the model sees {most:,}",
                f"make it ready for this model, with {param('context_length', most)}",
            )
        yield passage


def _documents_of_shards(
    opened: Opened, path: str, split: str, stride: int | None, prefix: str, limit: int | None, settings: dict[str, Any]
) -> Judged:
    from pylm.data.folder import read_manifest
    from pylm.data.shard_documents import shard_documents

    manifest = read_manifest(Path(path)) or {}
    eot = manifest.get("eot") if opened.tokenizer is None else opened.tokenizer.eot
    each = islice(shard_documents(path, split, eot), limit)
    length = opened.engine.context_length
    found = documents(each, length, prefix_of(prefix, opened.begin, eot), eot, stride)
    settings |= {"documents": True, "stride": stride or length, "prefix": prefix}
    return Judged(path, within(found, opened.engine.vocab_size, path), lambda: settings)


def by_text(opened: Opened, source: Any, stride: int | None, prefix: str, limit: int | None) -> Judged:
    """Return the documents of a text, encoded by the model's own tokenizer."""
    if opened.tokenizer is None:
        raise _no_tokenizer(opened)
    from pylm.data.streaming.stream_of import named

    digest = hashlib.sha256()
    length, eot = opened.engine.context_length, opened.tokenizer.eot
    each = texts(source, opened.tokenizer, limit, digest.update)
    found = documents(each, length, prefix_of(prefix, opened.begin, eot), eot, stride)

    def settings() -> dict[str, Any]:
        how = {"documents": True, "stride": stride or length, "prefix": prefix, "limit": limit}
        return {"data": digest.hexdigest(), **how}

    return Judged(named(source) or "text", found, settings)


def _no_tokenizer(opened: Opened) -> TokenizerError:
    return TokenizerError(
        f"{opened.folder} carries no tokenizer to read text with", f"name it: {param('tokenizer', 'T')}"
    )


def of_ours(folder: Path) -> Checkpoint | None:
    """Return what a checkpoint of ours says of itself; None for another's."""
    from pylm.checkpoint import read

    return read(folder) if (folder / "manifest.json").exists() else None


def _state(opened: Opened) -> dict[str, Any]:
    """Return what a checkpoint of ours says of its run; nothing of another's."""
    ours = of_ours(opened.folder)
    return {} if ours is None else ours.state


def _same_tokenizer(opened: Opened, identity: Identity, path: str) -> None:
    """Refuse shards of another tokenizer: their ids mean something else."""
    ours = _state(opened).get("tokenizer") if opened.tokenizer is None else opened.tokenizer.identity
    if identity.tokenizer is not None and ours is not None and identity.tokenizer != ours:
        raise DataError(
            f"{path} is of another tokenizer than {opened.folder}",
            f"give its text, {param('data', 'FILE')}, which the model's own reads",
        )


def _no_split(path: str, split: str) -> DataError:
    other = "train" if split == "val" else "val"
    hint = f"name other data with {param('data', 'DIR')}, or {param('split', other)}"
    return DataError(f"{path} has no {'validation' if split == 'val' else 'training'} split", hint)


def _refuse_empty(path: str, split: str, identity: Identity) -> None:
    """Refuse a folder without that split."""
    if Path(path).is_dir() and split == "val" and identity.validation is None:
        raise _no_split(path, split)
