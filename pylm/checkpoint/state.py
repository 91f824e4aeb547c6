"""What `state.json` and `manifest.json` may hold: every value is checked for its type and range before it is used."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

__all__ = ["THREADS_LIMIT", "check_manifest", "check_state", "is_file_name", "parse", "require"]

LARGEST = 2**63 - 1
STEPS_LIMIT = 2**53
THREADS_LIMIT = 4096  # more than any machine has; OpenMP brings the process down when it is asked for more than fit
SEQUENCES_LIMIT = 2**40
FILES_LIMIT = 10_000
NAME_LIMIT = 255  # bytes in the name of a file
HASH_DIGITS = 64

Check = Callable[[Any], bool]


def _count(least: int, most: int) -> Check:
    return lambda value: type(value) is int and least <= value <= most


def _number(value: Any) -> bool:
    """Return a finite number, 0 or more."""
    return type(value) in (int, float) and 0 <= value < math.inf


def _any_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < math.inf


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _flag(value: Any) -> bool:
    return isinstance(value, bool)


def _texts(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(one, str) for one in value.values())


def _segments(value: Any) -> bool:
    """Return whether it is a list of [step, share done before it, steps of the run], each later than the one before."""
    count = _count(0, STEPS_LIMIT)
    if not isinstance(value, list) or not all(isinstance(one, list) and len(one) == 3 for one in value):
        return False
    sound = all(count(step) and _number(done) and done < 1 and count(end) and end > step for step, done, end in value)
    return sound and all(one[0] < next_one[0] for one, next_one in pairwise(value))


def _parents(value: Any) -> bool:
    """Return whether it is a list of what a soup was made of: a path, its share, and more."""
    if not isinstance(value, list) or not value or not all(isinstance(one, dict) for one in value):
        return False
    return all(_text(one.get("path")) and (one.get("share") is None or _number(one["share"])) for one in value)


def _base(value: Any) -> bool:
    """Return whether it is where the base of an adapter lies, and the hash of its weights."""
    return isinstance(value, dict) and _text(value.get("path")) and _text(value.get("weights"))


def _rows(value: Any) -> bool:
    """Return whether it is the first row and the one after the last."""
    count = _count(0, LARGEST)
    return isinstance(value, list) and len(value) == 2 and all(map(count, value)) and value[0] < value[1]


def _or_none(check: Check) -> Check:
    return lambda value: value is None or check(value)


STEP = _count(0, STEPS_LIMIT)
SCALAR: dict[str, Check] = {
    "step": STEP,
    "version": _count(1, 1),
    "tokenizer": _or_none(_text),
    "data": _text,
    "rng": lambda value: isinstance(value, str) or _texts(value),
}
# What is inside of the objects; what else stands there is for whoever put it there
INSIDE: dict[str, dict[str, Check]] = {
    "progress": {
        "step": STEP,
        "tokens": _count(0, LARGEST),
        "seconds": _number,
        "evaluated": STEP,
        "sampled": STEP,
        "asked": STEP,
        "best_loss": _or_none(_any_number),
        "best_step": _or_none(STEP),
        "since_best": STEP,
        "bad_steps": STEP,
        "mean": _any_number,
        "deviation": _any_number,
        "finished": _or_none(_text),
    },
    "loader": {"seed": _count(0, 2**64 - 1), "step": STEP, "batch_size": _count(1, SEQUENCES_LIMIT)},
    "length": {
        "steps": _count(1, STEPS_LIMIT),
        "why": _text,
        "seconds": _or_none(_number),
        "limit": _or_none(_count(1, STEPS_LIMIT)),
    },
    "init_from": {
        "checkpoint": _text,
        "weights": _or_none(_text),
        "step": _or_none(STEP),
        "optimizer_state": lambda value: value in ("fresh", "keep"),
        "train": lambda value: isinstance(value, dict),
    },
    "average": {
        "kind": lambda value: value in ("ema", "mean"),
        "steps": _count(1, STEPS_LIMIT),
        "manifest": lambda value: isinstance(value, str) and len(value) == HASH_DIGITS,
    },
    "adapter": {
        "rank": _count(1, LARGEST),
        "alpha": _number,
        "dropout": _number,
        "targets": lambda value: isinstance(value, list) and all(map(_text, value)),
        "vocabulary": _count(1, LARGEST),
        "rows": _or_none(_rows),
        "base": _base,
    },
    "decisions": {"segments": _segments, "look": STEP, "looked": _number},
    "merged": {"adapter": _text, "base": _text, "path": _text},
    "soup": {"method": _text, "parents": _parents},
    "imported": {"from": _text, "format": _text},
    "choices": {
        "backend": lambda value: value in ("torch", "mlx"),
        "torch": _text,
        "mlx": _text,
        "device": _text,
        "device_name": _text,
        "threads": _count(1, THREADS_LIMIT),
        "kernels": _texts,
        "cpu_variant": _text,
        "precision": lambda value: value in ("fp32", "bf16", "fp16"),
        "micro_batch": _count(1, SEQUENCES_LIMIT),
        "compile": _flag,
        "compile_why": _text,
        "parallel": lambda value: value in ("ddp", "fsdp"),
        "parallel_why": _text,
        "processes": _count(1, LARGEST),
        "seconds_per_step": _number,
        "matmul_flops": _number,
    },
}
# What a run cannot go on without
NEEDED: dict[str, tuple[str, ...]] = {
    "progress": tuple(key for key in INSIDE["progress"] if key != "asked"),  # which those from before suites lack
    "length": ("steps", "why"),
    "choices": ("device_name", "threads", "precision", "micro_batch", "compile", "seconds_per_step", "matmul_flops"),
    "rng": (),
}


def parse(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file; a ValueError says what is wrong, whatever that is."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except RecursionError:
        raise ValueError("it does not parse (it is nested too deep)") from None
    except OSError as error:
        raise ValueError((error.strerror or str(error)).lower()) from None
    except ValueError as error:
        raise ValueError(f"it does not parse ({error})") from None
    if not isinstance(value, dict):
        raise ValueError("it holds no object")
    return value


def check_state(state: Mapping[str, Any]) -> None:
    """Check the values of a state; a ValueError names those that cannot be."""
    if "step" not in state:
        raise ValueError("it names no step")
    for name, check in SCALAR.items():
        if name in state and not check(state[name]):
            raise ValueError(f"{name} is {_shown(state[name])}")
    for name, fields in INSIDE.items():
        if name not in state:
            continue
        if not isinstance(state[name], dict):
            raise ValueError(f"{name} is {_shown(state[name])}")
        for field, check in fields.items():
            if field in state[name] and not check(state[name][field]):
                raise ValueError(f"{name}.{field} is {_shown(state[name][field])}")
    if lacking := [field for field in INSIDE["adapter"] if field not in state.get("adapter", INSIDE["adapter"])]:
        raise ValueError(f"it names no adapter.{lacking[0]}")
    step = state.get("progress", {}).get("step", state["step"])
    if step != state["step"]:
        raise ValueError(f"step is {state['step']}, and progress.step {step}")


def require(state: Mapping[str, Any]) -> None:
    """Check that a checked state holds all that a run goes on with; a ValueError names what it lacks."""
    for name, fields in NEEDED.items():
        if name not in state:
            raise ValueError(f"it names no {name}")
        if lacking := [field for field in fields if field not in state[name]]:
            raise ValueError(f"it names no {name}.{lacking[0]}")
    if lacking := [field for field in INSIDE["decisions"] if field not in state.get("decisions", INSIDE["decisions"])]:
        raise ValueError(f"it names no decisions.{lacking[0]}")
    if not isinstance(state["rng"], dict):
        raise ValueError(f"rng is {_shown(state['rng'])}")


def check_manifest(files: Any, required: tuple[str, ...], own: str) -> dict[str, tuple[int, str]]:
    """Return sizes and hashes by file name; a ValueError names what cannot be.

    Args:
        files: what the manifest says of them.
        required: names that it must hold.
        own: the manifest's own name, which it must not.
    """
    if not isinstance(files, dict):
        raise ValueError("it names no files")
    if len(files) > FILES_LIMIT:
        raise ValueError(f"it names {len(files):,} files")
    found: dict[str, tuple[int, str]] = {}
    for name, entry in files.items():
        if not is_file_name(name) or name == own:
            raise ValueError(f"it names the file {_shown(name)}")
        if not isinstance(entry, dict):
            raise ValueError(f"of {name} it says {_shown(entry)}")
        size, digest = entry.get("size"), entry.get("blake2b")
        if type(size) is not int or not 0 <= size <= LARGEST:
            raise ValueError(f"the size of {name} is {_shown(size)}")
        if not isinstance(digest, str) or len(digest) != HASH_DIGITS:
            raise ValueError(f"the hash of {name} is {_shown(digest)}")
        found[name] = (size, digest)
    for name in required:
        if name not in found:
            raise ValueError(f"it names no {name}")
    return found


def is_file_name(name: str) -> bool:
    """Say whether a text names a file of the folder itself, on any system."""
    try:
        encoded = name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    plain = name not in ("", ".", "..") and not any(letter in "/\\" or ord(letter) < ord(" ") for letter in name)
    return plain and len(encoded) <= NAME_LIMIT


def _shown(value: Any) -> str:
    """Return a value as a sentence shows it: short, and in ASCII where it cannot be printed."""
    text = ascii(value) if isinstance(value, (str, int, float)) or value is None else f"a {type(value).__name__}"
    return text if len(text) <= 40 else text[:39] + "…"
