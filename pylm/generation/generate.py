"""`pylm.generate`: a checkpoint and a prompt in, pieces of text out."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pylm.errors import warn

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from pylm.generation.keywords import SampleKeywords
    from pylm.generation.session import Session
    from pylm.generation.written import Written

__all__ = ["generate"]


def generate(
    checkpoint: str | os.PathLike[str] | Session | None = None,
    prompt: str | Sequence[str] | Sequence[int] = "",
    *,
    tokenizer: str | None = None,
    backend: str = "auto",
    device: str = "auto",
    dtype: str = "auto",
    quantize: str = "none",
    threads: int = 0,
    cache: bool = True,
    speculate: bool = False,
    likeliest: int = 0,
    verify: bool = True,
    preset: str | None = None,
    **settings: Unpack[SampleKeywords],
) -> Written:
    """Return the text that goes on from a prompt, in pieces of one token, as they are made.

    ::

        for piece in pylm.generate("runs/x", "Once upon", max_tokens=100, seed=5):
            print(piece.text, end="", flush=True)
        text = pylm.generate("runs/x", "Once upon", preset="creative").text()

    The model stays loaded for the next call, and what it has read is not read again.

    Args:
        checkpoint: A CHECKPOINT as the commands take it, a Run, an open Session, or None for the newest run's best.
        prompt: A text, several, or ids.
        tokenizer: For a checkpoint that carries none.
        backend: auto, torch, mlx, or native for the C++ engine.
        device: auto, cpu, cuda, cuda:N or mps.
        dtype: auto, fp32 or bf16.
        quantize: none, bf16, int8 or int4, for the C++ engine.
        threads: 0 for one a core.
        cache: Whether keys and values are kept; without, the same tokens come slower.
        speculate: Guess ahead from what was written, and check: the same tokens, often sooner.
        likeliest: How many of the likeliest tokens come with each piece.
        verify: Whether weights that have a manifest are checked against it, once a file.
        preset: creative, balanced, precise or greedy; settings that are given win over it.
        settings: The keys of the configuration's `sample` section: temperature, top_k, top_p, min_p, max_tokens,
            stop, seed, n and the penalties.
    """
    from pylm.generation.session import Session
    from pylm.generation.settings import sample_settings
    from pylm.generation.written import Written

    wanted = sample_settings(settings, preset)
    if isinstance(checkpoint, Session):
        session = checkpoint
    else:
        name = None if checkpoint is None else os.fspath(checkpoint)
        session = _kept(_stamp(name), tokenizer, backend, device, dtype, quantize, threads, cache, verify)
    prompts: Sequence[str | Sequence[int]]
    if isinstance(prompt, str):
        prompts = [prompt]
    elif all(isinstance(part, str) for part in prompt) and len(prompt):
        prompts = [str(part) for part in prompt]
    else:
        prompts = [[int(part) for part in prompt]]
    pieces = session.stream(
        prompts,
        wanted,
        likeliest=likeliest,
        speculate=speculate,
        say=warn,
    )
    return Written(pieces, [wanted.n] * len(prompts), session.engine.name)


def _stamp(checkpoint: str | None) -> tuple[Path, int]:
    """Return the folder and the time of its weights: a model that was written anew is loaded anew."""
    from pylm.checkpoint import open_weights
    from pylm.generation.load import folder_of

    folder = folder_of(checkpoint).resolve()
    return folder, os.stat(open_weights(folder).first_file).st_mtime_ns


@functools.lru_cache(maxsize=1)
def _kept(
    stamp: tuple[Path, int],
    tokenizer: str | None,
    backend: str,
    device: str,
    dtype: str,
    quantize: str,
    threads: int,
    cache: bool,
    verify: bool,
) -> Session:
    from pylm.generation.load import open_session

    return open_session(
        str(stamp[0]),
        tokenizer=tokenizer,
        backend=backend,
        device=device,
        dtype=dtype,
        quantize=quantize,
        threads=threads,
        cache=cache,
        verify=verify,
    )


def _with_named_settings(function: Any) -> inspect.Signature:
    """Return the signature with every setting by its name and default: what help() shows, and notebooks complete."""
    from pylm.config.schema import Sample

    signature = inspect.signature(function)
    named = [
        inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=field.annotation)
        for key, field in Sample.model_fields.items()
    ]
    own = [each for each in signature.parameters.values() if each.kind is not inspect.Parameter.VAR_KEYWORD]
    return signature.replace(parameters=[*own, *named])


generate.__signature__ = _with_named_settings(generate)  # type: ignore[attr-defined]
