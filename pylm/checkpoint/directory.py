"""One step's checkpoint is one folder, and it is there whole or not at all.

It is written under another name, every file flushed, `manifest.json` (sizes and hashes) last, then renamed: whoever
sees `step_500/` sees all of it, whatever was killed or lost its power in between.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pylm.checkpoint.sharded import OPTIMIZER as OPTIMIZER_SHARD
from pylm.checkpoint.sharded import SHARD, join, not_whole
from pylm.checkpoint.sharded import WEIGHTS as WEIGHTS_SHARD
from pylm.checkpoint.state import check_manifest, check_state, parse, require
from pylm.checkpoint.tensors import Streamed, Tensor, damaged, read_tensors, write_tensors
from pylm.checkpoint.verified import mark_of, remember
from pylm.durable import flush_folder, make_folder, write_text
from pylm.errors import CheckpointError
from pylm.wording import param

__all__ = [
    "ADAPTER",
    "PARTIAL",
    "Checkpoint",
    "begun",
    "damaged",
    "hash_of",
    "hashes_of",
    "manifest_of",
    "name_as",
    "partial_of",
    "read",
    "sweep",
    "verify",
    "write",
    "write_documents",
    "written_whole",
]

VERSION = 1
MANIFEST = "manifest.json"
STATE = "state.json"
AVERAGE = "average"  # a folder within a checkpoint's, and its name in the state
ONLY_TO_GO_ON = ("progress", "rng")  # in the state of a checkpoint, and not of its average
PARTIAL = ".partial-"  # names of folders that are being written begin so
WHOLE, ADAPTER = "model.safetensors", "adapter.safetensors"  # the weights, or what is added to those of a base
OPTIMIZER = "optimizer.safetensors"
REQUIRED = (STATE, "config.yaml")


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was opened: its files' sizes agree with its manifest."""

    path: Path
    state: dict[str, Any]

    @property
    def step(self) -> int:
        """How many optimizer steps had been taken."""
        return int(self.state["step"])

    @property
    def in_shards(self) -> bool:
        """Whether it is as several ranks wrote it: `consolidate` makes it whole."""
        return weights_file(self.state) not in _manifest(self.path)

    @property
    def manifest(self) -> str:
        """The hashes of all its files, whole or in shards."""
        return (self.path / MANIFEST).read_text(encoding="utf-8")

    def weights(self) -> dict[str, Tensor]:
        """Return the model's tensors, mapped from their files; of an adapter its own, without those of its base."""
        if self.in_shards:
            return join(self.path, _manifest(self.path), WEIGHTS_SHARD)
        return read_tensors(self.path / weights_file(self.state))

    def optimizer(self) -> dict[str, Tensor]:
        """Return the optimizer's tensors, mapped from their files; none where the checkpoint carries none."""
        if self.in_shards:
            return join(self.path, _manifest(self.path), OPTIMIZER_SHARD)
        path = self.path / OPTIMIZER
        return read_tensors(path) if path.exists() else {}

    def average(self) -> Checkpoint | None:
        """Return the checkpoint within this one that holds the average of the weights; None where none is kept."""
        return read(self.path / AVERAGE) if "manifest" in self.state.get(AVERAGE, {}) else None

    def hash_of(self, name: str) -> str:
        """Return the BLAKE2b of one of its files, as the manifest has it."""
        return _manifest(self.path)[name][1]

    def config(self) -> str:
        """Return the resolved configuration, as YAML."""
        return (self.path / "config.yaml").read_text(encoding="utf-8")

    def texts(self) -> dict[str, str]:
        """Return its further files by name: the tokenizer's."""
        further = sorted(_manifest(self.path).keys() - {*REQUIRED, WHOLE, ADAPTER, OPTIMIZER})
        return {name: (self.path / name).read_text(encoding="utf-8") for name in further if not SHARD.fullmatch(name)}

    @property
    def identity(self) -> str:
        """The hash of the weights' file, as the manifest says it."""
        if error := not_whole(self.path) if self.in_shards else None:
            raise error
        return self.hash_of(weights_file(self.state))

    def check_resumable(self) -> None:
        """Refuse a state that lacks something of what a run goes on with."""
        for made, what in (
            ("merged", "is an adapter merged with its base"),
            ("soup", "is a soup of weights"),
            ("imported", "was imported"),
        ):
            if made not in self.state:
                continue
            raise CheckpointError(
                f"{self.path} {what}, with no optimizer to go on with",
                f"{param('init_from', self.path)} starts a new run from it",
            )
        try:
            require(self.state)
        except ValueError as error:
            raise damaged(self.path / STATE, str(error)) from None


def write(
    path: Path,
    *,
    weights: Mapping[str, Tensor | Streamed],
    optimizer: Mapping[str, Tensor | Streamed],
    state: Mapping[str, Any],
    config: str,
    texts: Mapping[str, str],
    check: Callable[[], object] = lambda: None,
    average: Mapping[str, Tensor | Streamed] | None = None,
) -> Path:
    """Write a checkpoint folder and make it durable.

    Args:
        path: the folder to make, such as `runs/x/checkpoints/step_500`; one that is there already is an error.
        weights: the model's tensors, by the names that every backend shares; an adapter's where the state has one.
        optimizer: the optimizer's tensors; empty for weights alone.
        state: what else a resume needs: `step`, the loader's position, random states; JSON.
        config: the resolved configuration as YAML.
        texts: further files by name, such as `tokenizer.json`.
        check: called when all but the manifest is written; where it raises, there is no folder.
        average: an average of the weights, of which `state["average"]` says what it is of; a checkpoint within this.

    Returns:
        The folder, once it can no longer be lost.
    """
    with written_whole(path) as partial:
        if average:
            state = _with_average(partial / AVERAGE, average, state, config, texts)
        named = weights_file(state)
        hashes = {named: write_tensors(partial / named, weights, {"format": "pt"})}
        if optimizer:
            hashes[OPTIMIZER] = write_tensors(partial / OPTIMIZER, optimizer)
        hashes |= write_documents(partial, state, config, texts)
        check()
        write_text(partial / MANIFEST, manifest_of(partial, hashes))
    return path


def write_documents(partial: Path, state: Mapping[str, Any], config: str, texts: Mapping[str, str]) -> dict[str, str]:
    """Write the files of a checkpoint that are text, and return their hashes by name."""
    hashes = {}
    for name, text in {STATE: json.dumps(state, indent=1, sort_keys=True), "config.yaml": config, **texts}.items():
        write_text(partial / name, text)
        hashes[name] = hashlib.blake2b(text.encode(), digest_size=32).hexdigest()
    return hashes


def manifest_of(folder: Path, hashes: Mapping[str, str]) -> str:
    """Return the manifest of the files in a folder that have these hashes."""
    files = {name: {"size": (folder / name).stat().st_size, "blake2b": hashes[name]} for name in sorted(hashes)}
    return json.dumps({"version": VERSION, "files": files}, indent=1)


def weights_file(state: Mapping[str, Any]) -> str:
    """Return the name of the file of weights that a checkpoint of this state has."""
    return ADAPTER if "adapter" in state else WHOLE


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yield a folder to fill, which gets its name once it is filled and flushed; after an error there is none."""
    partial = begun(path)
    try:
        yield partial
        flush_folder(partial)
        partial.rename(path)
    except BaseException as error:
        name_as(path, partial, error)
        shutil.rmtree(partial, ignore_errors=True)
        raise
    flush_folder(path.parent)


def name_as(path: Path, partial: Path, error: BaseException) -> None:
    """Let an error name a file of a checkpoint as it would be called: under the name that it has it is gone soon."""
    if isinstance(error, OSError) and error.filename is not None and Path(error.filename).is_relative_to(partial):
        error.filename = str(path / Path(error.filename).relative_to(partial))


def begun(path: Path) -> Path:
    """Make the folder under whose name another one is written, and return it; what is there already is an error."""
    if path.exists():
        raise CheckpointError(f"{path} exists already", "a checkpoint is never overwritten: remove it first")
    partial = partial_of(path)
    make_folder(partial.parent)
    partial.mkdir()
    return partial


def partial_of(path: Path) -> Path:
    """Return the name beside a folder under which it is written, nobody else's."""
    return path.parent / f"{PARTIAL}{path.name}-{os.getpid()}-{secrets.token_hex(4)}"


def sweep(out: Path) -> None:
    """Remove what was being written under this name when its process was killed."""
    partial = re.compile(re.escape(f"{PARTIAL}{out.name}-") + r"(\d+)-[0-9a-f]{8}")
    for entry in out.parent.iterdir() if out.parent.is_dir() else ():
        if (match := partial.fullmatch(entry.name)) and not _lives(int(match[1])):
            shutil.rmtree(entry, ignore_errors=True)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # somebody else's
        pass
    return True


def _with_average(
    path: Path,
    average: Mapping[str, Tensor | Streamed],
    state: Mapping[str, Any],
    config: str,
    texts: Mapping[str, str],
) -> dict[str, Any]:
    """Write the average of a checkpoint; return the checkpoint's state, which knows it by its manifest's hash."""
    own = {name: value for name, value in state.items() if name not in ONLY_TO_GO_ON}
    write(path, weights=average, optimizer={}, state=own, config=config, texts=texts)
    return {**state, AVERAGE: {**state[AVERAGE], "manifest": hash_of(path / MANIFEST)}}


def read(path: Path) -> Checkpoint:
    """Open a checkpoint folder whose files have the sizes of its manifest; their contents are not hashed."""
    for name, size in _manifest(path).items():
        _check_size(path / name, size[0])
    try:
        state = parse(path / STATE)
        check_state(state)
        files = _manifest(path)
        if (named := weights_file(state)) not in files and not any(map(SHARD.fullmatch, files)):
            raise ValueError(f"{MANIFEST} names no {named}")
    except ValueError as error:
        raise damaged(path / STATE, str(error)) from None
    if (wanted := state.get(AVERAGE, {}).get("manifest")) is not None:
        _check_average(path / AVERAGE, wanted)
    return Checkpoint(path, state)


def _check_average(path: Path, wanted: str) -> None:
    """Refuse an average that is not the one which its checkpoint was written with."""
    manifest = path / MANIFEST
    if not manifest.is_file():
        raise damaged(manifest, "it is missing")
    if (found := hash_of(manifest)) != wanted:
        raise damaged(manifest, f"its BLAKE2b is {found[:16]}…, {STATE} says {wanted[:16]}…")
    read(path)


def verify(path: Path, *, remembers: bool = False) -> Checkpoint:
    """Open a checkpoint folder and hash every file of it; the error names the first that is not as written.

    Args:
        path: the folder.
        remembers: whether files that were found right before, and not written to since, are right.
    """
    checkpoint = read(path)
    for name, (_, wanted) in _manifest(path).items():
        mark = mark_of(path / name, wanted) if remembers else None
        if mark is not None and mark.exists():
            continue
        if (digest := hash_of(path / name)) != wanted:
            raise damaged(path / name, f"its BLAKE2b is {digest[:16]}…, the manifest says {wanted[:16]}…")
        if mark is not None:
            remember(mark)
    if (average := checkpoint.average()) is not None:
        verify(average.path, remembers=remembers)
    return checkpoint


def hash_of(path: Path) -> str:
    """Return the hash of a file, as manifests write it."""
    digest = hashlib.blake2b(digest_size=32)
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()


def hashes_of(path: Path) -> dict[str, str]:
    """Return the hashes of a checkpoint's files, as its manifest has them."""
    return {name: wanted for name, (_, wanted) in _manifest(path).items()}


def _manifest(path: Path) -> dict[str, tuple[int, str]]:
    """Return sizes and hashes by file name, checked before anything is opened by those names."""
    manifest = path / MANIFEST
    if not path.is_dir():
        raise CheckpointError(f"no checkpoint at {path}")
    if not manifest.exists():
        raise CheckpointError(f"{path} is no checkpoint: it holds no {MANIFEST}")
    try:
        content = parse(manifest)
        if "version" not in content:
            raise ValueError("it names no version")
        if content["version"] != VERSION or isinstance(content["version"], bool):
            raise CheckpointError(
                f"{manifest} is of version {ascii(content['version'])[:40]}, this pylm reads {VERSION}", "upgrade pylm"
            )
        files = content.get("files")
        named = files if isinstance(files, dict) else {}
        weights = () if any(map(SHARD.fullmatch, named)) else (ADAPTER if ADAPTER in named else WHOLE,)
        return check_manifest(files, (*weights, *REQUIRED), MANIFEST)
    except ValueError as error:
        raise damaged(manifest, str(error)) from None


def _check_size(path: Path, size: int) -> None:
    try:
        found = path.stat().st_size
    except OSError as error:
        raise damaged(path, "it is missing") from error
    if found != size:
        raise damaged(path, f"it has {found} bytes, the manifest says {size}")
