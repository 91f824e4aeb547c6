"""A folder of weights, whoever wrote it."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path

from pylm.checkpoint.directory import ADAPTER, WHOLE, hash_of, read
from pylm.checkpoint.sharded import not_whole
from pylm.checkpoint.state import is_file_name
from pylm.checkpoint.tensors import Tensor, read_tensors
from pylm.errors import CheckpointError

__all__ = ["ADAPTERS", "Adapted", "Weights", "holds_weights", "no_folder", "open_weights"]

ONE = WHOLE
INDEX = "model.safetensors.index.json"
# files of adapters: a checkpoint's of ours, PEFT's, mlx-lm's
ADAPTERS = (ADAPTER, "adapter_model.safetensors", "adapters.safetensors")
PICKLE = "a pickle as torch.save writes them"
FOREIGN = dict.fromkeys((".pt", ".pth", ".bin", ".ckpt", ".pkl"), PICKLE) | {".gguf": "GGUF", ".npz": "NumPy's"}
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
HUB_NAMES = ("gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl", "distilgpt2")  # names of the Hub that had no owner


@dataclass(frozen=True)
class Weights:
    """A checkpoint of ours or a folder in a layout of Hugging Face's, for `pylm.model.names.read`."""

    path: Path

    @property
    def first_file(self) -> Path:
        """The file that is opened first: it holds the weights, or names the files that do."""
        return self.path / (ONE if (self.path / ONE).exists() else INDEX)

    def files(self) -> list[Path]:
        """Return the files that hold tensors: one, or those that an index names."""
        return [self.path / name for name in ([ONE] if self.first_file.name == ONE else self._parts())]

    def weights(self) -> dict[str, Tensor]:
        """Return the tensors, mapped from their files."""
        found: dict[str, Tensor] = {}
        for file in self.files():
            found |= read_tensors(file)
        return found

    @property
    def identity(self) -> str:
        """The hash of the weights: of a checkpoint of ours as its manifest says it, else of the file or files."""
        if (self.path / "manifest.json").exists():
            return read(self.path).identity
        hashes = [hash_of(path) for path in self.files()]
        return hashes[0] if len(hashes) == 1 else hashlib.blake2b("".join(hashes).encode(), digest_size=32).hexdigest()

    def _parts(self) -> list[str]:
        try:
            index = json.loads((self.path / INDEX).read_text(encoding="utf-8"))
            names = sorted({str(name) for name in index["weight_map"].values()})
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise CheckpointError(f"{self.path / INDEX} does not say where the weights are: {error}") from error
        if strange := [name for name in names if not is_file_name(name)]:
            raise CheckpointError(f"{self.path / INDEX} names {ascii(strange[0])[:60]}, which is not beside it")
        return names


@dataclass(frozen=True)
class Adapted(Weights):
    """An adapter, of ours or in PEFT's or mlx-lm's form, and the weights that it is for."""

    base: Weights

    @property
    def first_file(self) -> Path:
        """The file of the adapter."""
        return next(file for name in ADAPTERS if (file := self.path / name).exists())

    def files(self) -> list[Path]:
        """Return that file: the base has its own."""
        return [self.first_file]


def holds_weights(path: Path) -> bool:
    """Say whether a folder holds weights, in one file or in several, or an adapter to some."""
    return any((path / name).exists() for name in (ONE, INDEX, *ADAPTERS))


def open_weights(path: str | Path) -> Weights:
    """Open what a CHECKPOINT means: a folder that holds weights, a run (its best), `RUN/best`, `RUN/step_500`."""
    folder = Path(path)
    if not holds_weights(folder):
        from pylm.checkpoint.run_folder import find

        folder = find(str(path))
    if error := not_whole(folder):
        raise error
    if (folder / ONE).exists() or (folder / INDEX).exists():
        return Weights(folder)
    from pylm.checkpoint.based import base_of

    return Adapted(folder, base_of(folder))


def no_folder(name: str, runs: Path) -> CheckpointError | None:
    """Return the error for a name that is a file or looks like a model of the Hub.

    For any other name it is None, as for runs.
    """
    path = Path(name)
    if path.is_file():
        if path.name == ONE or path.suffix == ".safetensors":
            return CheckpointError(f"{path} is a file, and a checkpoint is the folder around it", f"name {path.parent}")
        kind = FOREIGN.get(path.suffix.lower())
        what = f"is {kind}, which pylm does not open" if kind else "is a file, and a checkpoint is a folder"
        return CheckpointError(
            f"{path} {what}", f"pylm reads a folder with {ONE} and config.json, as save_pretrained writes"
        )
    is_id = HUB_ID.fullmatch(name) and not path.parent.exists() and path.parent != runs
    if not path.exists() and (name in HUB_NAMES or is_id):
        return CheckpointError(
            f"there is no folder {name}, and pylm fetches nothing by itself",
            f"a model of the Hub: hf download {name} --local-dir {path.name}, then name {path.name}",
        )
    return None
