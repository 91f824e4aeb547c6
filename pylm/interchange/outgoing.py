"""`pylm.export`: a checkpoint in, the files of another program out."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pylm.checkpoint.directory import written_whole
from pylm.errors import UsageError, did_you_mean
from pylm.interchange import card, hugging_face, nanogpt
from pylm.interchange.portable import Portable, opened
from pylm.interchange.tensors import bytes_of
from pylm.model.layouts import layout_of
from pylm.wording import param

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["DTYPES", "FORMATS", "Exported", "export"]

FORMATS = ("hf", "mlx", "torch")
DTYPES = {"auto": None, "fp32": "F32", "fp16": "F16", "bf16": "BF16"}
Path_ = str | os.PathLike[str]
Progress = Callable[[int, "int | None"], object]


@dataclass(frozen=True)
class Exported:
    """What was written: where, in which format and layout, and the files with their bytes."""

    path: Path
    to: str
    layout: str
    files: Mapping[str, int]


def export(
    checkpoint: Path_,
    *,
    to: str,
    out: Path_,
    dtype: str = "auto",
    progress: Progress = lambda done, total: None,
    say: Callable[[str], None] = lambda text: None,
) -> Exported:
    """Write a checkpoint as other programs read it, and return what was written.

    ::

        pylm.export("runs/a", to="hf", out="mine")

    The folder is there whole or not at all. Nothing is uploaded.

    Args:
        checkpoint: A CHECKPOINT: a run (its best), one of its steps, a folder in Hugging Face's layout.
        to: hf, a folder as transformers and vLLM read it; mlx, the same for mlx-lm, which refuses more;
            torch, a ckpt.pt as nanoGPT writes it.
        out: The folder to make.
        dtype: auto keeps the weights as they are; fp32, fp16 or bf16.
        progress: Called with the bytes of weights that are written, and how many there will be.
        say: Told what a user wants to read.
    """
    _refuse(to, dtype)
    place = Path(out)
    if place.exists():
        raise UsageError(f"{place} exists already", "name another, or remove it first")
    model = opened(os.fspath(checkpoint), say)
    layout = _layout(model, to)
    write_folder = nanogpt.write_folder if to == "torch" else hugging_face.write_folder
    with written_whole(place) as partial:
        write_folder(partial, model, DTYPES[dtype], _counted(model, progress))
        card.write(partial, model, to, layout, DTYPES[dtype] or model.dtype)
    return Exported(place, to, layout, {path.name: path.stat().st_size for path in sorted(place.iterdir())})


def _refuse(to: str, dtype: str) -> None:
    """Refuse, in one sentence, what cannot be, before anything is read."""
    for name, value, known in (("to", to, FORMATS), ("dtype", dtype, tuple(DTYPES))):
        if value not in known:
            raise UsageError(f"{param(name)} is {value!r}", did_you_mean(value, known) or f"choose {', '.join(known)}")


def _layout(model: Portable, to: str) -> str:
    """Return the layout that a model goes out in; a refusal names the fields that none has."""
    if to == "torch":
        nanogpt.refuse(model.shape)
        return "nanogpt"
    if to == "mlx":
        hugging_face.refuse_for_mlx(model.shape)
    return layout_of(model.shape)


def _counted(model: Portable, progress: Progress) -> Callable[[int], object]:
    """Return what counts the bytes that are written."""
    total, done = bytes_of(model.weights), 0

    def count(written: int) -> None:
        nonlocal done
        done += written
        progress(done, total)

    return count
