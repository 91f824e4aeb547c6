"""Who runs on track 0, each as a side of a comparison, and the sizes that tune_peers.py found for it."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.compare import Side

ROOT = Path(__file__).resolve().parents[2]
TUNED = ROOT / "benchmarks" / "track_peers.json"
BESIDE = ROOT / ".venv" / "peers-train" / "bin" / "python"  # of `make peers-train`
SEED = 1337
# a step's memory stays with the process, as in test_training.py: a peer is not to pay for giving it back
KEPT = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "1000000000000", "MALLOC_TOP_PAD_": "268435456"}
# its driver here, and its folder among the checkouts, empty where it is installed
PEERS = {
    "nanochat": ("nanochat", "nanochat"),
    "nanoGPT, tokens": ("nanogpt", "nanoGPT"),
    "nanoGPT, characters": ("nanogpt", "nanoGPT"),
    "litgpt": ("litgpt", ""),
    "plain torch": ("plain", ""),
}
INSTALLED = {"litgpt": ("litgpt", str(BESIDE)), "plain torch": ("torch", sys.executable)}


@dataclasses.dataclass(frozen=True)
class FromCheckout(Side):
    """A side whose version is the commit that a folder holds."""

    folder: Path | None = None

    def version(self) -> str | None:
        """Its commit; None without a checkout."""
        if self.folder is None or not self.folder.is_dir():
            return None
        asked = ["git", "-C", str(self.folder), "rev-parse", "--short", "HEAD"]
        return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()


@dataclasses.dataclass(frozen=True)
class FromEnvironment(Side):
    """A side that is installed in an environment of its own."""

    def version(self) -> str | None:
        """Its version; None without that environment."""
        return super().version() if Path(self.python).exists() else None


def sides(checkouts: Path | None, functions: dict[str, Callable[..., dict[str, Any]]]) -> list[Side]:
    """The peers: their names, and the functions that run them."""
    found: list[Side] = []
    for name, (_, folder) in PEERS.items():
        if folder:
            there = checkouts / folder if checkouts else None
            found.append(FromCheckout(name, functions[name], name, KEPT, folder=there))
        else:
            package, python = INSTALLED[name]
            found.append(FromEnvironment(package, functions[name], name, KEPT, python))
    return found


def shape_of(peer: str, seconds: float) -> dict[str, Any]:
    """The tuned sizes of a peer: those for the longest time that is not longer than this one."""
    shapes: dict[str, dict[str, Any]] = json.loads(TUNED.read_text())["shapes"][peer]
    times = sorted(int(each) for each in shapes)
    return dict(shapes[str(max((each for each in times if each <= seconds), default=times[0]))])


def run(
    peer: str, checkouts: str | None, train: str, held: str, seconds: float, shape: Any, seed: int
) -> dict[str, Any]:
    """Run a peer in this process; what it compiles, it compiles inside its time."""
    import importlib

    driver, folder = PEERS[peer]
    module = importlib.import_module(f"benchmarks.track.{driver}")
    with tempfile.TemporaryDirectory(prefix="track-inductor-", ignore_cleanup_errors=True) as cache:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = cache
        answer: dict[str, Any] = module.side(f"{checkouts}/{folder}", train, held, seconds, shape, SEED + seed)
    return answer


def ours(
    train: str,
    held: str,
    seconds: float,
    seed: int,
    python: str = sys.executable,
    settings: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Run `pylm train TEXT --max-time …` of an interpreter, and score its model twice: the two must agree.

    `settings` are variables of the environment: the configuration's keys, where the recipe is not to choose.
    """
    from pylm.track.measure import trained
    from pylm.track.score import bits_per_byte

    # the first run has no option at all
    environment = {**(settings or {}), **({"PYLM_TRAIN__SEED": str(SEED + seed)} if seed else {})}
    with tempfile.TemporaryDirectory(prefix="track-ours-") as folder:
        model = trained(Path(train), seconds, Path(folder), python=python, environment=environment)
        bits, plain = bits_per_byte(model.checkpoint, Path(held)), by_a_plain_loop(model.checkpoint, held)
        assert abs(bits - plain) < 1e-4 * plain, f"{bits} bits per byte by pylm, {plain} by a plain loop"
        return {**dataclasses.asdict(model), "checkpoint": None, "bits_per_byte": bits, "result": None}


def by_a_plain_loop(checkpoint: Path, held: str) -> float:
    """Bits per byte from the model's forward pass alone, over ids that another library makes."""
    import torch
    from tokenizers import Tokenizer

    from benchmarks.track.material import bits_per_byte, documents, windows
    from pylm.checkpoint import find, open_weights
    from pylm.model.torch import load

    opened = open_weights(find(str(checkpoint)))
    tokenizer = Tokenizer.from_file(str(opened.path / "tokenizer.json"))
    model = load(opened, "cpu", torch.float32).eval()
    held_out = documents(held)
    encoded = [encoding.ids for encoding in tokenizer.encode_batch(held_out, add_special_tokens=False)]
    end = tokenizer.token_to_id("<|endoftext|>")

    def nats(x: Any, y: Any) -> Any:
        return -torch.log_softmax(model(x).double(), -1).gather(-1, y[..., None])[..., 0]

    return bits_per_byte(windows(encoded, end, True, model.shape.context_length), nats, held_out)
