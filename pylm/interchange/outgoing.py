"""`pylm.export`: a checkpoint in, the files of another program out."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pylm.checkpoint.directory import sweep, written_whole
from pylm.config.shape import count_parameters
from pylm.errors import UsageError, did_you_mean
from pylm.interchange import card, certificate, gguf_file, hugging_face, nanogpt
from pylm.interchange.gguf_names import architecture_of
from pylm.interchange.gguf_vocabulary import FORCED, SENTENCEPIECE, pre_tokenizer_of
from pylm.interchange.portable import Portable, opened
from pylm.interchange.tensors import bytes_of
from pylm.model.layouts import layout_of
from pylm.wording import param

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pylm.interchange.asked import Told
    from pylm.interchange.certificate import Compared

__all__ = ["DTYPES", "FORMATS", "Exported", "export"]

FORMATS = ("hf", "mlx", "nanochat", "torch", "gguf")
DTYPES = {"auto": None, "fp32": "F32", "fp16": "F16", "bf16": "BF16"}
REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
Path_ = str | os.PathLike[str]
Progress = Callable[[int, "int | None"], object]


@dataclass(frozen=True)
class Exported:
    """What was written: where, in which format and layout, and the files with their bytes."""

    path: Path
    to: str
    layout: str
    files: Mapping[str, int]
    compared: Sequence[Compared]
    upload: Sequence[str]  # the lines that upload it, where they were asked for


def export(
    checkpoint: Path_,
    *,
    to: str,
    out: Path_,
    dtype: str = "auto",
    quantize: str = "none",
    force_pre: str | None = None,
    certify: bool | None = None,
    push: str | None = None,
    progress: Progress = lambda done, total: None,
    told: Told = lambda phase, done, total: None,
    say: Callable[[str], None] = lambda text: None,
) -> Exported:
    """Write a checkpoint as other programs read it, and return what was written.

    ::

        pylm.export("runs/a", to="hf", out="mine")

    The folder is there whole or not at all. Nothing is uploaded.

    Args:
        checkpoint: A CHECKPOINT: a run (its best), one of its steps, a folder in Hugging Face's layout.
        to: hf, a folder as transformers and vLLM read it; mlx, the same for mlx-lm, which refuses more; nanochat, the
            same for transformers' class of nanochat alone; torch, a ckpt.pt as nanoGPT writes it; gguf, a folder with
            model.gguf for llama.cpp and a Modelfile.
        out: The folder to make.
        dtype: auto keeps the weights as they are; fp32, fp16 or bf16.
        quantize: For gguf: q8_0 or q4_0 keep matrices in 8 or 4 bits; none.
        force_pre: For gguf, where llama.cpp has no pre-tokenizer that cuts as this tokenizer: one of its own names.
        certify: Whether ids, logits and greedy tokens are compared with the program that loads it, where it is
            installed; what was compared stands in the card. Up to 350M parameters if not given.
        push: ORG/NAME: say the lines that upload it there. Nothing is uploaded.
        progress: Called with the bytes of weights that are written, and how many there will be.
        told: Called with what of the certificate is being made, how many of its texts or prompts are done, and how
            many there are.
        say: Told what a user wants to read.
    """
    _refuse(to, dtype, quantize, force_pre)
    if push is not None and not REPOSITORY.fullmatch(push):
        raise UsageError(f"{param('push')} is {push!r}", "name a repository: ORG/NAME")
    place = Path(out)
    if place.exists():
        raise UsageError(f"{place} exists already", "name another, or remove it first")
    if to == "gguf" and place.suffix == ".gguf":
        raise UsageError(
            f"{param('out')} is a folder: {gguf_file.FILE} lies in it with its Modelfile and its card",
            param("out", place.with_suffix("")),
        )
    sweep(place)
    model = opened(os.fspath(checkpoint), say)
    if to in ("hf", "mlx"):
        model = hugging_face.readable(model)
    layout = _layout(model, to)
    kind = DTYPES[dtype] or model.dtype
    count, notes = _counted(model, progress), []
    pre = _pre_tokenizer(model, force_pre) if to == "gguf" else ""
    with written_whole(place) as partial:
        if to == "gguf":
            kind = quantize.upper() if quantize != "none" else "F32" if kind == "F64" else kind
            notes = _notes(gguf_file.write_folder(partial, model, kind, pre, layout, count, say), pre, force_pre)
        elif to == "torch":
            nanogpt.write_folder(partial, model, DTYPES[dtype], count)
        else:
            hugging_face.write_folder(partial, model, DTYPES[dtype], count, to)
        compared = _certified(
            partial, model, to, layout, kind == model.dtype, force_pre is not None, certify, say, told
        )
        card.write(partial, model, to, layout, kind, [*notes, *_told(compared)])
    files = {path.name: path.stat().st_size for path in sorted(place.iterdir())}
    upload = [] if push is None else ["hf auth login", f"hf upload {push} {place} --repo-type model"]
    return Exported(place, to, layout, files, compared, upload)


def _refuse(to: str, dtype: str, quantize: str, force_pre: str | None) -> None:
    """Refuse, in one sentence, what cannot be, before anything is read."""
    asked = [("to", to, FORMATS), ("dtype", dtype, tuple(DTYPES)), ("quantize", quantize, gguf_file.QUANTIZE)]
    if force_pre is not None:
        asked.append(("force_pre", force_pre, FORCED))
    for name, value, known in asked:
        if value not in known:
            raise UsageError(f"{param(name)} is {value!r}", did_you_mean(value, known) or f"choose {', '.join(known)}")
    if to == "gguf":
        gguf_file.need_gguf()
    elif quantize != "none" or force_pre is not None:
        name = "quantize" if quantize != "none" else "force_pre"
        raise UsageError(f"{param(name)} is for {param('to', 'gguf')}", "leave one of them out")
    if quantize != "none" and dtype != "auto":
        raise UsageError(f"{param('quantize')} and {param('dtype')} both say how weights are kept", "give one of them")


def _certified(
    folder: Path, model: Portable, to: str, layout: str, exact: bool, forced: bool, asked: bool | None,
    say: Callable[[str], None], told: Told,
) -> Sequence[Compared]:  # fmt: skip
    """Return what was compared; nothing where it was not to be, or no program loads the format."""
    wanted = count_parameters(model.shape) <= certificate.MOST if asked is None else asked
    if not wanted or to == "torch":
        return []
    return certificate.certify(folder, model, to, layout, exact, forced, say, told)


def _told(compared: Sequence[Compared]) -> list[str]:
    """Return what the card says of a certificate."""
    return [f"- {line}" for line in certificate.lines(compared)] or ["It was compared with no other program."]


def _pre_tokenizer(model: Portable, forced: str | None) -> str:
    if model.tokenizer is None:
        raise UsageError(
            f"{model.name} carries no tokenizer, and a GGUF file holds one", f"{param('to', 'hf')} goes without"
        )
    return pre_tokenizer_of(model.tokenizer, forced)


def _notes(wide: list[str], pre: str, forced: str | None) -> list[str]:
    """Return what the card says of a GGUF file beside its figures."""
    notes = [f"Text is cut by llama.cpp's {pre}." if pre != SENTENCEPIECE else "Text is cut as SentencePiece cuts it."]
    if forced:
        notes = [
            f"Text is cut by llama.cpp's {pre}, which was asked for: its ids may be others than those of training."
        ]
    if wide:
        notes.append(f"Kept in fp16, as their rows are no multiple of {gguf_file.BLOCK} wide: {', '.join(wide)}.")
    return notes


def _layout(model: Portable, to: str) -> str:
    """Return the layout that a model goes out in; a refusal names the fields that none has."""
    if to == "torch":
        nanogpt.refuse(model.shape)
        return "nanogpt"
    if to == "nanochat":
        hugging_face.refuse_for_nanochat(model.shape)
    if to == "gguf":
        return architecture_of(model.shape)
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
