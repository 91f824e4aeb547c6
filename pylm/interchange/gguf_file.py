"""A folder with a GGUF file for llama.cpp, and a Modelfile beside it with which Ollama's chats end."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pylm.durable import naming, write_text
from pylm.errors import UsageError
from pylm.interchange import gguf_rope
from pylm.interchange.gguf_names import fields_of, heads_of, names_of, turned
from pylm.interchange.gguf_vocabulary import vocabulary_of
from pylm.interchange.modelfile import modelfile
from pylm.interchange.tensors import as_float32, release, rounded
from pylm.model.floats import FLOATS
from pylm.model.names import qkv_rows

if TYPE_CHECKING:
    from pylm.config.schema import Model as Shape
    from pylm.interchange.portable import Portable

__all__ = ["FILE", "QUANTIZE", "need_gguf", "write_folder"]

FILE = "model.gguf"
SHARD = 5_000_000_000  # bytes of a file
QUANTIZE = ("none", "q8_0", "q4_0")
BLOCK = 32  # numbers that Q8_0 and Q4_0 scale together
FILE_TYPES = {"F32": 0, "F16": 1, "Q4_0": 2, "Q8_0": 7, "BF16": 32}
Numbers = npt.NDArray[Any]


def need_gguf() -> Any:
    """Return the package gguf, or raise with the line that installs it."""
    try:
        import gguf
    except ImportError:
        raise UsageError("GGUF is written with the package gguf, which is not installed", "pip install gguf") from None
    return gguf


def write_folder(
    folder: Path, model: Portable, kind: str, pre: str, architecture: str,
    written: Callable[[int], object], say: Callable[[str], None],
) -> list[str]:  # fmt: skip
    """Fill a folder, and return the names of tensors that their width keeps from being quantized.

    Args:
        folder: there, and empty.
        model: what is written.
        kind: F32, F16, BF16, Q8_0 or Q4_0, which matrices are kept in; vectors and positions are F32.
        pre: llama.cpp's name of the pre-tokenizer.
        architecture: llama.cpp's name of the layout.
        written: called with the bytes of our weights that were written.
        say: told what a user wants to read.
    """
    gguf = need_gguf()
    logging.getLogger("gguf.gguf_writer").setLevel(logging.ERROR)  # it warns where one file holds all
    writer = gguf.GGUFWriter(str(folder / FILE), architecture, split_max_size=SHARD)
    _about(writer, model, kind, architecture)
    for name, value in vocabulary_of(model, pre, say).items():
        _add(writer, f"tokenizer.{name}", value)
    kinds = {}
    for name, shape in _shapes(model.shape, architecture, model):
        kinds[name] = _kind(name, shape, kind)
        _announce(writer, gguf, name, shape, kinds[name])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for name, numbers, size in _tensors(model, architecture):
        writer.write_tensor_data(_packed(gguf, name, numbers, kinds[name]))
        written(size)
    writer.flush()
    writer.close()
    for path in folder.iterdir():
        with naming(path), path.open("rb") as file:
            os.fsync(file.fileno())
    first = sorted(path.name for path in folder.iterdir())[0]
    write_text(folder / "Modelfile", modelfile(model, first))
    return [name for name, each in kinds.items() if each == "F16" and kind.startswith("Q")]


def _about(writer: Any, model: Portable, kind: str, architecture: str) -> None:
    writer.add_name(Path(model.name).name or "pylm")
    writer.add_file_type(FILE_TYPES[kind])
    writer.add_quantization_version(2)
    for name, value in fields_of(model.shape, architecture).items():
        _add(writer, f"{architecture}.{name}", value)
    for name, value in gguf_rope.scaling_out(model.shape, architecture).items():
        _add(writer, name, value)


def _add(writer: Any, key: str, value: Any) -> None:
    """Add a field in the type in which llama.cpp reads it."""
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    elif isinstance(value, str):
        writer.add_string(key, value)
    else:
        writer.add_array(key, value)


def _shapes(shape: Shape, architecture: str, model: Portable) -> Iterator[tuple[str, tuple[int, ...]]]:
    for ours, theirs in names_of(shape, architecture):
        sizes = model.weights[ours].shape
        for name, rows in zip(theirs, qkv_rows(shape) if len(theirs) == 3 else sizes[:1], strict=True):
            yield name, (rows, *sizes[1:])
    if (factors := gguf_rope.factors_of(shape)) is not None:
        yield gguf_rope.FACTORS, factors.shape


def _kind(name: str, shape: tuple[int, ...], kind: str) -> str:
    """Return the type of a tensor: vectors and positions are always F32."""
    if len(shape) == 1 or name.startswith("position_embd"):
        return "F32"
    return "F16" if kind.startswith("Q") and shape[-1] % BLOCK else kind


def _announce(writer: Any, gguf: Any, name: str, shape: tuple[int, ...], kind: str) -> None:
    enum = gguf.GGMLQuantizationType[kind]
    block, size = gguf.GGML_QUANT_SIZES[enum]
    count = math.prod(shape) // block * size
    if kind in ("F32", "F16"):
        writer.add_tensor_info(name, shape, np.dtype(np.float32 if kind == "F32" else np.float16), count)
    else:
        row = (*shape[:-1], shape[-1] // block * size)
        writer.add_tensor_info(name, row, np.dtype(np.uint8), count, raw_dtype=enum)


def _tensors(model: Portable, architecture: str) -> Iterator[tuple[str, npt.NDArray[np.float32], int]]:
    """Yield GGUF's name, the numbers as llama.cpp orders their rows, and the bytes that they take with us."""
    for ours, theirs in names_of(model.shape, architecture):
        held = model.weights[ours]
        data = memoryview(held.data).cast("B")
        numbers = as_float32(np.frombuffer(data, FLOATS[held.dtype]), held.dtype).reshape(held.shape)
        ends: list[int] = np.cumsum(qkv_rows(model.shape))[:-1].tolist() if len(theirs) == 3 else []
        for name, part in zip(theirs, np.split(numbers, ends), strict=True):
            heads = heads_of(name, model.shape) if architecture == "llama" else None
            yield name, part if heads is None else turned(part, heads), part.size * len(data) // numbers.size
        release(held)
    if (factors := gguf_rope.factors_of(model.shape)) is not None:
        yield gguf_rope.FACTORS, factors, 0


def _packed(gguf: Any, name: str, numbers: npt.NDArray[np.float32], kind: str) -> Numbers:
    if kind == "F32":
        return np.ascontiguousarray(numbers, "<f4")
    if kind in ("F16", "BF16"):
        flat = rounded(np.ascontiguousarray(numbers).reshape(-1), kind, name)
        return flat if kind == "F16" else flat.view(np.uint8)
    packed: Numbers = gguf.quants.quantize(np.ascontiguousarray(numbers), gguf.GGMLQuantizationType[kind])
    return packed
