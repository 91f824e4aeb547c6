"""`pylm.import_`: a model of another program in, a checkpoint of ours out."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pylm.checkpoint import Checkpoint, open_weights, read, write
from pylm.checkpoint.directory import sweep
from pylm.checkpoint.opened import holds_weights
from pylm.config.cascade import dump
from pylm.config.schema import Config
from pylm.config.schema import Model as Shape
from pylm.errors import CheckpointError, UsageError
from pylm.generation.load import carried_or_named, folder_of, tokenizer_of
from pylm.interchange import gguf_in, torch_in
from pylm.interchange.gguf_header import file_in
from pylm.interchange.tensors import Cast, bytes_of, cast
from pylm.model.layouts import read_json
from pylm.model.names import Stored, Tensor, from_hugging_face
from pylm.wording import param

if TYPE_CHECKING:
    from pylm.tokenizer import Tokenizer

__all__ = ["import_"]

Path_ = str | os.PathLike[str]
Progress = Callable[[int, "int | None"], object]
KINDS = "a folder with config.json and model.safetensors, a .gguf file, a .pt of nanoGPT or nanochat, or hub:ORG/NAME"
GENERATION = "generation_config.json"


@dataclass(frozen=True)
class Foreign:
    """A model of another program, by our names."""

    format: str
    shape: Shape
    weights: Mapping[str, Stored]
    tokenizer: Tokenizer | None
    step: int = 0
    texts: Mapping[str, str] = field(default_factory=dict)  # what else the checkpoint is to hold


def import_(
    source: Path_,
    *,
    out: Path_,
    tokenizer: str | None = None,
    vocab_size: int | None = None,
    progress: Progress = lambda done, total: None,
    say: Callable[[str], None] = lambda text: None,
) -> Checkpoint:
    """Return a checkpoint of ours, made of a model of another program, weight by weight as it was.

    ::

        pylm.import_("path/to/folder", out="mine")
        pylm.import_("ckpt.pt", out="mine", tokenizer="gpt2", vocab_size=50257)

    It is a CHECKPOINT everywhere, and `pylm.train(init_from=…)` goes on from it. A pickle is opened with weights_only
    in a process of its own.

    Args:
        source: A folder in Hugging Face's layout (GPT-2, Llama, Mistral, Qwen); a .gguf file;
            a .pt of nanoGPT, nanochat, microgpt, nash-llm or buildingLLMFromScratch, or its folder; hub:ORG/NAME.
        out: The folder to make.
        tokenizer: For a source that carries none.
        vocab_size: Rows of the vocabulary to keep, where the last are padding. All if not given.
        progress: Called with the bytes that are written, and how many there will be.
        say: Told what a user wants to read.
    """
    place = Path(out)
    if place.exists():
        raise UsageError(f"{place} exists already", "name another, or remove it first")
    sweep(place)
    with _opened(os.fspath(source), tokenizer, say) as model:
        if vocab_size is not None:
            model = _cut(model, vocab_size)
        _refuse_tokenizer(model)
        return _written(place, model, os.fspath(source), progress)


@contextmanager
def _opened(source: str, tokenizer: str | None, say: Callable[[str], None]) -> Iterator[Foreign]:
    """Yield the model of a source, whatever it is."""
    path = folder_of(source) if source.startswith("hub:") else Path(source)
    # beside a file that was named another model's may lie
    words = tokenizer_of(path, tokenizer) if path.is_dir() else _beside(path, tokenizer)
    if path.is_dir() and (path / "config.json").is_file() and holds_weights(path):
        shape, tensors = from_hugging_face(_weights(path), path / "config.json")
        yield Foreign("Hugging Face's layout", shape, tensors, words, texts=_generation(path))
        return
    file = file_in(path) if path.is_dir() else path if path.suffix == ".gguf" else None
    if file is not None and file.is_file():
        yield _gguf(file, tokenizer, say)
        return
    pickle = torch_in.file_in(path) if path.is_dir() else path
    if pickle is not None and pickle.is_file() and pickle.suffix in torch_in.SUFFIXES:
        with tempfile.TemporaryDirectory(prefix="pylm-import-") as folder:
            yield _torch(pickle, Path(folder), words, say)
        return
    raise CheckpointError(f"{source} is none of what is read: {_what(path)}", f"name {KINDS}")


def _weights(folder: Path) -> Mapping[str, Stored]:
    """Return the tensors of a folder in Hugging Face's layout, by its own names."""
    try:
        return open_weights(folder).weights()
    except CheckpointError as error:
        raise CheckpointError(error.marked[0], "fetch it, or save it, again") from None


def _gguf(file: Path, tokenizer: str | None, say: Callable[[str], None]) -> Foreign:
    held = gguf_in.read(file, needs_tokenizer=tokenizer is None)
    if held.unpacked:
        say(f"unpacked to fp32: tensors in {', '.join(held.unpacked)}")
    words = carried_or_named(held.tokenizer, tokenizer, file)
    ends = {GENERATION: json.dumps({"eos_token_id": held.ends})} if held.ends else {}
    return Foreign("GGUF", held.shape, held.weights, words, texts=ends)


def _torch(file: Path, folder: Path, words: Tokenizer | None, say: Callable[[str], None]) -> Foreign:
    held = torch_in.read(file, folder / "tensors.safetensors")
    if held.shape.mlp == "gelu":
        say(f"{held.format} computes GELU exactly and pylm in GPT-2's tanh form: logits differ a little")
    model = Foreign(held.format, held.shape, held.weights, words, held.step)
    return _cut(model, held.vocab_size) if held.vocab_size else model


def _what(path: Path) -> str:
    if path.is_dir():
        names = sorted(entry.name for entry in path.iterdir())
        return f"a folder with {', '.join(names[:4])}{' and more' if names[4:] else ''}" if names else "an empty folder"
    return f"a file {path.suffix}" if path.is_file() else "it is not there"


def _beside(file: Path, tokenizer: str | None) -> Tokenizer | None:
    return tokenizer_of(file.parent) if tokenizer is None else _named(tokenizer)


def _named(tokenizer: str) -> Tokenizer:
    from pylm.tokenizer import Tokenizer

    return Tokenizer.load(tokenizer)


def _generation(folder: Path) -> dict[str, str]:
    """Return the file that says where generation ends, where there is one."""
    path = folder / GENERATION
    return {GENERATION: json.dumps(read_json(path), ensure_ascii=False, indent=2)} if path.is_file() else {}


def _cut(model: Foreign, rows: int) -> Foreign:
    """Return a model whose vocabulary has its first rows only."""
    assert model.shape.vocab_size is not None
    if not 0 < rows <= model.shape.vocab_size:
        raise UsageError(f"{param('vocab_size', rows)} of a vocabulary of {model.shape.vocab_size:,}", "name no more")
    weights = dict(model.weights)
    for name in ("embed.weight", "head.weight"):
        if (held := weights.get(name)) is not None:
            data = memoryview(held.data).cast("B")
            weights[name] = Tensor(held.dtype, (rows, *held.shape[1:]), data[: len(data) // held.shape[0] * rows])
    return replace(model, weights=weights, shape=model.shape.model_copy(update={"vocab_size": rows}))


def _refuse_tokenizer(model: Foreign) -> None:
    rows = model.shape.vocab_size
    if model.tokenizer is not None and rows is not None and model.tokenizer.vocab_size > rows:
        raise CheckpointError(
            f"the tokenizer has {model.tokenizer.vocab_size:,} ids and the model {rows:,}: it is another model's",
            f"name the model's own: {param('tokenizer', 'T')}",
        )


def _written(place: Path, model: Foreign, source: str, progress: Progress) -> Checkpoint:
    total, done = bytes_of(model.weights), 0

    def count(written: int) -> None:
        nonlocal done
        done += written
        progress(done, total)

    state: dict[str, Any] = {"version": 1, "step": model.step, "imported": {"from": source, "format": model.format}}
    texts = dict(model.texts)
    if model.tokenizer is not None:
        state["tokenizer"] = model.tokenizer.identity
        texts |= {name: data.decode() for name, data in model.tokenizer.files().items() if name.endswith(".json")}
    keys = [f"model.{key}" for key in Shape.model_fields]
    weights: dict[str, Cast] = cast(model.weights, None, count)
    config = dump(Config(model=model.shape), keys)
    return read(write(place, weights=weights, optimizer={}, state=state, config=config, texts=texts))
