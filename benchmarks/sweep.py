"""Which recipe makes the most of a short run: many runs of `pylm train`, each of the steps that its shape has time for.

    python -m benchmarks.sweep TRIALS.json --corpora DIR --out RESULTS.jsonl

TRIALS.json is a list of {"name", "text", "vocab", "seconds", "options", "seed"}. A run is given the steps that its own
pace makes in its seconds. The pace is measured first for some seconds, and put right by the speed of a matrix product
beside it: what else the machine does costs patience and no quality. Trials that RESULTS.jsonl holds are not run again.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from pylm.runs import read_lines

PROBE_STEPS = 24
WITHOUT_COST = ("learning_rate", "embed_lr", "head_lr", "scalar_lr", "schedule", "min_lr_ratio", "warmup_steps",
                "zero_init", "weight_decay", "grad_clip", "betas", "init_std")  # fmt: skip
QUIET = ["--eval-every", "null", "--save-every", "null", "--sample-every", "null", "--eval-batches", "null"]


def product_speed(seconds: float = 0.7) -> float:
    """Return the FLOPs a second of a bfloat16 product, over so much time."""
    a, b = (torch.randn(1024, 1024).to(torch.bfloat16) for _ in range(2))
    rates, until = [], time.perf_counter() + seconds
    while time.perf_counter() < until:
        begun = time.perf_counter()
        a @ b
        rates.append(2 * 1024**3 / (time.perf_counter() - begun))
    return statistics.mean(rates)


def pylm(*words: str) -> str:
    """Run a command, and return what it printed."""
    done = subprocess.run([sys.executable, "-m", "pylm", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"pylm {' '.join(words)}\n{done.stdout}{done.stderr}")
    return done.stdout


def shards(text: Path, vocab: int, work: Path) -> Path:
    """Return the folder of the text's tokens, made where it is not there."""
    folder = work / f"{text.stem}-{vocab}"
    if not (folder / "manifest.json").is_file():
        tokenizer = work / f"tokenizer-{text.stem}-{vocab}"
        pylm("tokenizer", "train", str(text), "--vocab-size", str(vocab), "--out", str(tokenizer))
        pylm("tokenize", str(text), "--tokenizer", str(tokenizer), "--out", str(folder))
    return folder


def options(trial: dict[str, Any]) -> list[str]:
    """Return a trial's keys as words of the command line."""
    found: list[str] = []
    for key, value in trial["options"].items():
        said = str(value).lower() if isinstance(value, bool) else str(value)
        found += [f"--{key.replace('_', '-')}", said]
    return found


def seconds_per_step(data: Path, trial: dict[str, Any], pace: dict[str, float], quiet: float) -> float:
    """Return what a step takes where nothing else runs, remembered by all that makes it longer."""
    words = options(trial)
    key = json.dumps([data.name, {key: value for key, value in trial["options"].items() if key not in WITHOUT_COST}])
    if key not in pace:
        with tempfile.TemporaryDirectory() as folder:
            run = Path(folder, "run")
            before = product_speed()
            pylm(
                "train",
                "--data",
                str(data),
                *words,
                *QUIET[:-2],
                "--eval-batches",
                "1",
                "--max-steps",
                str(PROBE_STEPS),
                "--metrics.log-every",
                "1",
                "--out",
                str(run),
            )
            now = (before + product_speed()) / 2
            told = [line for line in read_lines(run / "metrics.jsonl") if "phase" in line][3:]
            each = [b["seconds"] - a["seconds"] for a, b in zip(told, told[1:], strict=False)]
            pace[key] = statistics.median(each) * min(now / quiet, 1.0)
    return pace[key]


def run_trial(trial: dict[str, Any], corpora: Path, work: Path, pace: dict[str, float], quiet: float) -> dict[str, Any]:
    """Train once, and return what came of it."""
    data = shards(corpora / f"{trial['text']}.txt", trial["vocab"], work)
    words = options(trial)
    each = seconds_per_step(data, trial, pace, quiet)
    steps = max(int(trial["seconds"] / each), 10)
    run = work / "run"
    shutil.rmtree(run, ignore_errors=True)
    begun = time.perf_counter()
    pylm(
        "train",
        "--data",
        str(data),
        *words,
        *QUIET,
        "--max-steps",
        str(steps),
        "--seed",
        str(trial["seed"]),
        "--metrics.log-every",
        str(max(steps // 50, 1)),
        "--out",
        str(run),
    )
    wall = time.perf_counter() - begun
    told = read_lines(run / "metrics.jsonl")
    last = next(line for line in reversed(told) if "val_loss" in line)
    return {
        **trial,
        "steps": steps,
        "tokens": last["tokens"],
        "seconds_per_step": round(each, 5),
        "wall": round(wall),
        "val_loss": round(last["val_loss"], 5),
        "bits_per_byte": round(last["bits_per_byte"], 5),
    }


def main() -> None:
    """Run the trials that are not done."""
    said = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    said.add_argument("trials", type=Path)
    said.add_argument("--corpora", type=Path, required=True, help="folder with TEXT.txt")
    said.add_argument("--out", type=Path, required=True)
    said.add_argument("--work", type=Path, default=Path(tempfile.gettempdir(), "pylm-sweep"))
    said.add_argument("--most", type=int, default=10**9, help="trials to run now; exit status 3 where none is open")
    given = said.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    known = given.work / "pace.json"
    pace = json.loads(known.read_text()) if known.is_file() else {}
    quiet = pace.setdefault("product", product_speed(3.0))
    for number in range(given.most):  # the list may grow while it is worked on
        done = read_lines(given.out) if given.out.is_file() else []
        names = {(one["name"], one["seed"]) for one in done}
        open_trials = [one for one in json.loads(given.trials.read_text()) if (one["name"], one["seed"]) not in names]
        if not open_trials:
            sys.exit(0 if number else 3)
        found = run_trial(open_trials[0], given.corpora, given.work, pace, quiet)
        known.write_text(json.dumps(pace, indent=0))
        with given.out.open("a") as file:
            file.write(json.dumps(found) + "\n")
        print(f"{found['name']:40} {found['bits_per_byte']:.4f} {found['steps']} steps, {found['wall']} s", flush=True)


if __name__ == "__main__":
    main()
