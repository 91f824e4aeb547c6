"""What was compared before a model goes out: ids first, then logits, then greedy tokens; by engine, never by default.

An engine that is not installed is a line `not compared` with the line that installs it, and no pass.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pylm.errors import CheckError
from pylm.interchange.asked import Sequences, Told, sequences_of, texts_of
from pylm.interchange.engines.job import ask, done_in
from pylm.wording import param

if TYPE_CHECKING:
    from pylm.interchange.portable import Portable

__all__ = ["MOST", "Compared", "certify", "lines"]

MOST = 350_000_000  # parameters up to which a certificate is made unless it is said otherwise


@dataclass(frozen=True)
class Engine:
    """A program that loads what was written."""

    name: str
    package: str  # what is imported
    install: str
    module: str  # of pylm.interchange.engines
    bounds: dict[str, float]  # by layout: the largest error of a logit over their deviation, where nothing is rounded


# llama.cpp computes GELU on a CPU by a table in fp16, which no setting turns off
ENGINES = {
    "hf": Engine("transformers", "transformers", "pip install transformers", "of_transformers", {"": 1e-5}),
    "nanochat": Engine("transformers", "transformers", "pip install transformers", "of_transformers", {"": 1e-5}),
    "mlx": Engine("mlx-lm", "mlx_lm", "pip install mlx-lm 'mlx[cpu]'", "of_mlx_lm", {"": 1e-4}),
    "gguf": Engine("llama.cpp", "llama_cpp", "pip install llama-cpp-python", "of_llama_cpp", {"": 1e-4, "gpt2": 5e-3}),
}


@dataclass(frozen=True)
class Compared:
    """What was compared with one engine."""

    engine: str
    version: str | None  # None where it is not installed, and nothing was compared
    install: str
    texts: int = 0
    texts_unlike: int = 0
    logits: int = 0
    error: float = 0.0  # the largest difference of a logit, over their standard deviation
    first_alike: float = 0.0  # share of prompts after which the same token is the likeliest
    clear: int = 0  # prompts after which our two likeliest lie further apart than the errors of logits deviate
    clear_unlike: int = 0  # other likeliest tokens after those
    divergence: float = 0.0  # mean KL from our probabilities to theirs, in nats
    greedy: int = 0
    greedy_near: int = 0  # other tokens where our two likeliest lie within the measured error
    greedy_unlike: int = 0  # other tokens elsewhere


def certify(
    folder: Path, model: Portable, to: str, layout: str, exact: bool, forced: bool, say: Callable[[str], None],
    told: Told = lambda phase, done, total: None,
) -> list[Compared]:  # fmt: skip
    """Return what was compared; raise where ids, logits or greedy tokens are not what they must be.

    Args:
        folder: what was written.
        model: what it was written from.
        to: the format.
        layout: its layout.
        exact: whether weights are kept as they were: then the bounds hold, else errors are told.
        forced: whether a pre-tokenizer was forced, whose ids may differ.
        say: told what a user wants to read.
        told: told how far it is.
    """
    engine = ENGINES[to]
    if importlib.util.find_spec(engine.package) is None or importlib.util.find_spec("torch") is None:
        return [Compared(engine.name, None, engine.install)]
    if model.tokenizer is None:
        return []
    say(f"comparing with {engine.name}")
    texts = texts_of(list(model.tokenizer.added))
    sequences = sequences_of(model, told=told)
    with tempfile.TemporaryDirectory(prefix="pylm-certify-") as place:
        ask(Path(place), texts, sequences.tokens, sequences.prompts)
        made = _answered(engine, folder, Path(place), told)
    found = _compared(engine, model, texts, sequences, made)
    _judge(found, engine.bounds.get(layout, engine.bounds[""]), exact, forced)
    return [found]


def _answered(engine: Engine, folder: Path, place: Path, told: Told = lambda phase, done, total: None) -> Any:
    words = [sys.executable, "-m", f"pylm.interchange.engines.{engine.module}", str(folder.absolute()), str(place)]
    # a file takes what engines complain of: a pipe that nobody reads would hold them up once it is full
    with (place / "errors").open("w+", encoding="utf-8", errors="replace") as errors:
        with subprocess.Popen(
            words, stdout=subprocess.PIPE, stderr=errors, encoding="utf-8", errors="replace"
        ) as child:
            assert child.stdout is not None
            try:
                for line in child.stdout:
                    if (far := done_in(line)) is not None:
                        told(f"{far[0]} of {engine.name}", *far[1:])
            except BaseException:
                child.kill()
                raise
        errors.seek(0)
        complaints = errors.read()
    if child.returncode:
        why = [line for line in complaints.splitlines() if line.strip()][-1:] or [f"it ended with {child.returncode}"]
        raise CheckError(
            f"{engine.name} does not take what was written: {why[0].strip()[:300]}",
            f"{param('certify', False)} writes it all the same",
        )
    return dict(np.load(place / "answer.npz"))


def _compared(engine: Engine, model: Portable, texts: Sequence[str], ours: Sequences, made: Any) -> Compared:
    assert model.tokenizer is not None
    mine = model.tokenizer.encode_batch(texts, allowed_special="all")
    ends = np.cumsum(made["counts"])
    theirs = np.split(made["ids"], ends[:-1])
    unlike = sum(not np.array_equal(one, other) for one, other in zip(mine, theirs, strict=True))
    logits = made["logits"][:, : ours.logits.shape[1]]
    errors = logits - ours.logits
    apart = float(np.abs(errors).max())
    two = np.partition(ours.logits, -2, -1)[:, -2:]
    clear = two[:, 1] - two[:, 0] > errors.std()
    alike = logits.argmax(-1) == ours.logits.argmax(-1)
    other = made["likeliest"] != ours.likeliest
    near = ours.gaps <= 2 * apart  # each of the two may be off by that much
    return Compared(
        engine=engine.name,
        version=str(made["version"]),
        install=engine.install,
        texts=len(texts),
        texts_unlike=unlike,
        logits=len(logits),
        error=apart / float(ours.logits.std()),
        first_alike=float(alike.mean()),
        clear=int(clear.sum()),
        clear_unlike=int((clear & ~alike).sum()),
        divergence=_divergence(ours.logits, logits),
        greedy=len(other),
        greedy_near=int((other & near).sum()),
        greedy_unlike=int((other & ~near).sum()),
    )


def _divergence(ours: Any, theirs: Any) -> float:
    one, other = (logits.astype(np.float64) for logits in (ours, theirs))
    one = one - np.logaddexp.reduce(one, -1, keepdims=True)
    other = other - np.logaddexp.reduce(other, -1, keepdims=True)
    return float((np.exp(one) * (one - other)).sum(-1).mean())


def _judge(found: Compared, bound: float, exact: bool, forced: bool) -> None:
    hint = f"{param('certify', False)} writes it all the same"
    if found.texts_unlike and not forced:
        raise CheckError(
            f"{found.engine} makes other ids of {found.texts_unlike:,} of {found.texts:,} texts than we do", hint
        )
    if exact and found.error > bound:
        raise CheckError(
            f"logits of {found.engine} differ by {found.error:.1e} of their deviation, and {bound:.0e} is the most",
            hint,
        )
    if exact and found.greedy_unlike:
        raise CheckError(f"{found.engine} writes {found.greedy_unlike} other tokens than we do", hint)


def lines(compared: Sequence[Compared]) -> Iterator[str]:
    """Yield what was compared, a line for each thing."""
    for one in compared:
        if one.version is None:
            yield f"{one.engine}: not compared, as it is not installed here: {one.install}"
            continue
        named = f"{one.engine} {one.version}"
        yield f"{named}: ids of {one.texts:,} texts, {one.texts_unlike:,} differ ({one.texts_unlike / one.texts:.2%})"
        yield (
            f"{named}: logits after {one.logits} prompts, largest difference {one.error:.1e} of their deviation, "
            f"likeliest token the same in {one.first_alike:.1%}, another in {one.clear_unlike} of {one.clear} whose "
            f"two likeliest lie further apart than these differences deviate, KL {max(one.divergence, 0):.1e}"
        )
        yield (
            f"{named}: {one.greedy:,} greedy tokens, {one.greedy_near} differ where our two likeliest lie within the "
            f"error, {one.greedy_unlike} elsewhere"
        )
