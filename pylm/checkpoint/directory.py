"""One step's checkpoint is one folder, and it is there whole or not at all.

It is written under another name, every file flushed, `manifest.json` (sizes and hashes) last, then renamed: whoever
sees `step_500/` sees all of it, whatever was killed or lost its power in between.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pylm.checkpoint.tensors import Tensor, read_tensors, write_tensors
from pylm.errors import CheckpointError

__all__ = ["Checkpoint", "read", "verify", "write", "write_text"]

VERSION = 1
MANIFEST = "manifest.json"
PARTIAL = ".partial-"  # names of folders that are being written begin so
REQUIRED = ("model.safetensors", "state.json", "config.yaml")


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was opened: its files' sizes agree with its manifest."""

    path: Path
    state: dict[str, Any]

    @property
    def step(self) -> int:
        """How many optimizer steps had been taken."""
        return int(self.state["step"])

    def weights(self) -> dict[str, Tensor]:
        """The model's tensors, mapped from the file."""
        return read_tensors(self.path / "model.safetensors")

    def optimizer(self) -> dict[str, Tensor]:
        """The optimizer's tensors, mapped from the file; none where the checkpoint carries none."""
        path = self.path / "optimizer.safetensors"
        return read_tensors(path) if path.exists() else {}

    def config(self) -> str:
        """The resolved configuration, as YAML."""
        return (self.path / "config.yaml").read_text(encoding="utf-8")


def write(
    path: Path,
    *,
    weights: Mapping[str, Tensor],
    optimizer: Mapping[str, Tensor],
    state: Mapping[str, Any],
    config: str,
    texts: Mapping[str, str],
) -> Path:
    """Write a checkpoint folder and make it durable.

    Args:
        path: the folder to make, such as `runs/x/checkpoints/step_500`; one that is there already is an error.
        weights: the model's tensors, by the names that every backend shares.
        optimizer: the optimizer's tensors; empty for weights alone.
        state: what else a resume needs: `step`, the loader's position, random states; JSON.
        config: the resolved configuration as YAML.
        texts: further files by name, such as `tokenizer.json`.

    Returns:
        The folder, once it can no longer be lost.
    """
    if path.exists():
        raise CheckpointError(f"{path} exists already", "a checkpoint is never overwritten: remove it first")
    partial = path.parent / f"{PARTIAL}{path.name}-{os.getpid()}-{secrets.token_hex(4)}"
    partial.mkdir(parents=True)
    try:
        hashes = {"model.safetensors": write_tensors(partial / "model.safetensors", weights, {"format": "pt"})}
        if optimizer:
            hashes["optimizer.safetensors"] = write_tensors(partial / "optimizer.safetensors", optimizer)
        documents = {"state.json": json.dumps(state, indent=1, sort_keys=True), "config.yaml": config, **texts}
        for name, text in documents.items():
            write_text(partial / name, text)
            hashes[name] = hashlib.blake2b(text.encode(), digest_size=32).hexdigest()
        files = {name: {"size": (partial / name).stat().st_size, "blake2b": hashes[name]} for name in sorted(hashes)}
        write_text(partial / MANIFEST, json.dumps({"version": VERSION, "files": files}, indent=1))
        flush_folder(partial)
        partial.rename(path)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    flush_folder(path.parent)
    return path


def read(path: Path) -> Checkpoint:
    """Open a checkpoint folder; its files must have the sizes of its manifest, their contents are not hashed."""
    for name, size in _manifest(path).items():
        _check_size(path / name, size[0])
    try:
        state = json.loads((path / "state.json").read_text(encoding="utf-8"))
        if not isinstance(state, dict) or type(state.get("step")) is not int:
            raise ValueError("it names no step")
    except (OSError, ValueError) as error:
        raise _damaged(path / "state.json", str(error)) from error
    return Checkpoint(path, state)


def verify(path: Path) -> Checkpoint:
    """Open a checkpoint folder and hash every file of it; the first one that is not as it was written is named."""
    checkpoint = read(path)
    for name, (_, wanted) in _manifest(path).items():
        digest = hashlib.blake2b(digest_size=32)
        with (path / name).open("rb") as file:
            while block := file.read(1 << 22):
                digest.update(block)
        if digest.hexdigest() != wanted:
            raise _damaged(path / name, f"its BLAKE2b is {digest.hexdigest()[:16]}…, the manifest says {wanted[:16]}…")
    return checkpoint


def write_text(path: Path, text: str) -> None:
    """Write a small file and flush it to the disk."""
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def flush_folder(path: Path) -> None:
    """Make the names in a folder durable: a rename is lost with the power until its folder is flushed."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _manifest(path: Path) -> dict[str, tuple[int, str]]:
    """Sizes and hashes by file name, checked before anything is opened by those names."""
    manifest = path / MANIFEST
    if not path.is_dir():
        raise CheckpointError(f"no checkpoint at {path}")
    if not manifest.exists():
        raise CheckpointError(f"{path} is no checkpoint: it holds no {MANIFEST}")
    try:
        content = json.loads(manifest.read_text(encoding="utf-8"))
        if content["version"] != VERSION:
            raise CheckpointError(
                f"{manifest} is of version {content['version']}, this pylm reads {VERSION}", "upgrade pylm"
            )
        files = {str(name): (int(entry["size"]), str(entry["blake2b"])) for name, entry in content["files"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(manifest, f"it does not parse ({error})") from error
    for name in files:
        if name != Path(name).name or name in (".", "..", MANIFEST):
            raise _damaged(manifest, f"it names the file {name!r}")
    for name in REQUIRED:
        if name not in files:
            raise _damaged(manifest, f"it names no {name}")
    return files


def _check_size(path: Path, size: int) -> None:
    try:
        found = path.stat().st_size
    except OSError as error:
        raise _damaged(path, "it is missing") from error
    if found != size:
        raise _damaged(path, f"it has {found} bytes, the manifest says {size}")


def _damaged(path: Path, how: str) -> CheckpointError:
    return CheckpointError(f"{path} is damaged: {how}", "pylm verify RUN names the newest sound checkpoint")
