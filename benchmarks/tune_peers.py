"""Find each peer's best sizes on this machine: `python -m benchmarks.tune_peers --corpora DIR --checkouts DIR`.

Every call with `--most 1` runs the next trial that track_peers.json does not hold, and leaves with 3 where none is
left: first all candidates for 60 seconds, then each peer's best two, deeper ones, and the best compiled, for 300. The
best of each time are the shapes of test_track.py. A trial that waited for a processor which something else had is
thrown away.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.compare import CHILD
from benchmarks.corpora import Texts
from benchmarks.track import field

SHORT, LONG, LONG_TRIALS = 60, 300, 2
DISTURBED = 0.2  # of its time a trial may wait for a processor


def sizes(layers: int, width: int, head: int, vocabulary: int | str, rate: float, **more: Any) -> dict[str, Any]:
    """A candidate of nanoGPT or litgpt."""
    shape = {"layers": layers, "width": width, "heads": width // head, "vocabulary": vocabulary, "rate": rate}
    return {"dtype": "float32", "compile": False, "context": 256, "rows": 8, **shape, **more}


def deep(depth: int, **more: Any) -> dict[str, Any]:
    """A candidate of nanochat."""
    shape = {"dtype": "bfloat16", "compile": False, "vocabulary": 4096, "head_dim": 64, "context": 256, "rows": 8}
    return {**shape, "rate": 1.0, "depth": depth, **more}


CANDIDATES: dict[str, list[dict[str, Any]]] = {
    "nanochat": [
        deep(2),
        deep(2, rate=2.0),  # its script scales by the root of the batch, from half a million tokens down: too far
        deep(2, rate=4.0),
        deep(2, rate=8.0),
        deep(2, rate=16.0),
        deep(2, rate=4.0, rows=4),
        deep(2, rate=4.0, dtype="float32"),
    ],
    "nanoGPT, tokens": [
        sizes(2, 128, 64, 4096, 3e-3),
        sizes(2, 128, 64, 4096, 6e-3),
        sizes(2, 128, 64, 4096, 3e-3, dtype="autocast"),
    ],
    "nanoGPT, characters": [
        sizes(4, 128, 32, "characters", 3e-3, context=128, rows=12),
    ],
    "litgpt": [
        sizes(2, 128, 64, 4096, 3e-3),
    ],
    "plain torch": [
        sizes(2, 128, 64, 4096, rate, dtype=dtype, rows=rows, decay=decay)
        for rate, rows, decay, dtype in (
            (3e-3, 8, 0.1, "float32"),
            (6e-3, 8, 0.1, "float32"),
            (3e-3, 8, 0.1, "autocast"),
            (6e-3, 8, 0.1, "autocast"),
            (1.5e-3, 8, 0.1, "autocast"),
            (3e-3, 16, 0.1, "autocast"),
            (3e-3, 8, 0.0, "autocast"),
        )
    ],
}
DEEPER = {  # what a minute is too short for
    "nanochat": [deep(3, rate=8.0)],
    "nanoGPT, tokens": [sizes(4, 128, 64, 4096, 3e-3)],
}


def trials(tried: list[dict[str, Any]]) -> Iterator[tuple[str, int, dict[str, Any]]]:
    """What is still to be tried: peer, seconds, shape."""
    for seconds in (SHORT, LONG):
        for peer, shapes in CANDIDATES.items():
            chosen = shapes
            if seconds == LONG:  # compiling takes longer than it gives back in a minute
                first, *others = best(tried, peer, SHORT)
                chosen = [first, *others[: LONG_TRIALS - 1], *DEEPER.get(peer, []), {**first, "compile": True}]
            for shape in chosen:
                if not any((each["peer"], each["seconds"], each["shape"]) == (peer, seconds, shape) for each in tried):
                    yield peer, seconds, shape


def best(tried: list[dict[str, Any]], peer: str, seconds: int) -> list[dict[str, Any]]:
    """A peer's shapes, the one with the fewest bits first."""
    found = [each for each in tried if (each["peer"], each["seconds"]) == (peer, seconds)]
    return [each["shape"] for each in sorted(found, key=lambda each: float(each["bits_per_byte"]))]


def attempt(peer: str, seconds: int, shape: dict[str, Any], checkouts: Path, train: Path, held: Path) -> dict[str, Any]:
    """Run one trial in a process of its own."""
    python = field.INSTALLED[peer][1] if peer in field.INSTALLED else sys.executable
    given = {"peer": peer, "checkouts": str(checkouts), "train": str(train), "held": str(held)}
    given |= {"seconds": seconds, "shape": shape, "seed": 0}
    command = [python, str(CHILD), str(Path(field.__file__)), "run", json.dumps(given)]
    environment = {**os.environ, **field.KEPT}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    answer = json.loads(done.stdout.strip().splitlines()[-1])
    figures = {key: answer[key] for key in ("bits_per_byte", "steps", "tokens", "parameters", "waited")}
    return {"peer": peer, "seconds": seconds, "shape": shape, **figures, "machine": machine.name()}


def main() -> int:
    """Run trials and write down what they found after each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpora", type=Path, help="a folder with prose.txt")
    parser.add_argument("--checkouts", type=Path, required=True, help="a folder with nanochat and nanoGPT")
    parser.add_argument("--only", help="one peer")
    parser.add_argument("--most", type=int, default=1000, help="trials of this call")
    options = parser.parse_args()
    from pylm.track.held_out import cut

    kept: dict[str, Any] = json.loads(field.TUNED.read_text()) if field.TUNED.exists() else {"shapes": {}, "tried": []}
    with tempfile.TemporaryDirectory(prefix="tune-peers-") as folder:
        train, held = cut(Texts(options.corpora, None).prose, Path(folder))
        for _ in range(options.most):
            left = (each for each in trials(kept["tried"]) if options.only in (None, each[0]))
            following = next(left, None)
            if following is None:
                return 3
            found = attempt(*following, options.checkouts, train, held)
            print(json.dumps(found), flush=True)
            if found["waited"] > DISTURBED * found["seconds"]:
                print("thrown away: something else had the processors", flush=True)
                continue
            kept["tried"].append(found)
            peer, seconds, _ = following
            kept["shapes"].setdefault(peer, {})[str(seconds)] = best(kept["tried"], peer, seconds)[0]
            field.TUNED.write_text(json.dumps(kept, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
