"""Shards to train on, and a backend of a few lines of numpy whose every number can be worked out by hand."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pylm.checkpoint import Saver, Tensor
from pylm.config.schema import Config
from pylm.data import Loader
from pylm.runs import RunFolder
from pylm.training import resume
from pylm.training.average import Averaging
from pylm.training.backend import Choices, Counts, MicroBatch, StepResult
from pylm.training.decisions import Decisions
from pylm.training.loop import Evaluation, Files, Hooks, Plan, Progress, Session
from pylm.training.plan import Batches, Length
from pylm.training.schedule import Schedule

VOCABULARY = 50


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """A folder as `pylm tokenize` writes one: text that a bigram predicts in part."""
    folder = tmp_path / "data"
    folder.mkdir()
    splits = {}
    for split, tokens in (("train", 4000), ("val", 600)):
        chance = np.random.default_rng(len(split))
        ids = np.zeros(tokens, np.uint16)
        for at in range(1, tokens):
            ids[at] = (3 * int(ids[at - 1]) + 1) % VOCABULARY if chance.random() < 0.7 else chance.integers(VOCABULARY)
        ids.tofile(folder / f"{split}_00000.bin")
        np.array([0, tokens // 2, tokens], np.uint64).tofile(folder / f"{split}_00000.idx")
        shard = {"file": f"{split}_00000.bin", "tokens": tokens, "documents": 2, "hash": f"{ids.sum():032x}"}
        splits[split] = {"tokens": tokens, "documents": 2, "text_bytes": 3 * tokens, "shards": [shard]}
    manifest = {"dtype": "uint16", "vocab_size": VOCABULARY, "tokenizer": "t" * 64, "splits": splits}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


class Bigram:
    """A table of logits, softmax regression, plain gradient descent with momentum."""

    name = "numpy"
    device = "cpu"

    def __init__(self) -> None:
        self.table = np.zeros((VOCABULARY, VOCABULARY), np.float32)
        self.momentum = np.zeros_like(self.table)
        self.mean: Any = None
        self.generator = np.random.default_rng(3)
        self.steps: list[tuple[int, float]] = []  # rows and learning rate of each step taken
        self.poison: set[int] = set()  # steps, counted by the calls, whose loss is NaN

    def probabilities(self, inputs: Any) -> Any:
        logits = self.table[inputs]
        grown = np.exp(logits - logits.max(-1, keepdims=True))
        return grown / grown.sum(-1, keepdims=True)

    def step(self, micro_batches: Sequence[MicroBatch], lr: float) -> StepResult:
        self.steps.append((sum(len(part.inputs) for part in micro_batches), lr))
        if len(self.steps) in self.poison:
            return StepResult(float("nan"), float("inf"), False)
        gradient, loss, count = np.zeros_like(self.table), 0.0, sum(part.inputs.size for part in micro_batches)
        for part in micro_batches:
            inputs, targets = part.inputs.ravel(), part.targets.ravel()
            chances = self.probabilities(inputs)
            loss -= float(np.log(chances[np.arange(len(targets)), targets]).sum())
            chances[np.arange(len(targets)), targets] -= 1
            np.add.at(gradient, inputs, (chances / count).astype(np.float32))
        noise = self.generator.normal(size=gradient.shape).astype(np.float32)
        self.momentum = 0.9 * self.momentum + gradient + 1e-4 * noise
        self.table = self.table - np.float32(lr) * self.momentum
        return StepResult(loss / count, float(np.linalg.norm(gradient)), True)

    def loss(self, batch: MicroBatch) -> Counts:
        chances, targets = self.probabilities(batch.inputs.ravel()), batch.targets.ravel()
        losses = -np.log(chances[np.arange(len(targets)), targets])
        correct = int((chances.argmax(-1) == targets).sum())
        return Counts(float(losses.sum()), correct, targets.size, losses.reshape(batch.targets.shape))

    def logits(self, ids: Sequence[int]) -> Any:
        return self.table[ids[-1]]

    def weights(self) -> dict[str, Tensor]:
        return {"table": Tensor.of("F32", self.table.shape, self.table.copy())}

    def optimizer_state(self) -> dict[str, Tensor]:
        return {"momentum": Tensor.of("F32", self.momentum.shape, self.momentum.copy())}

    def load(self, weights: Mapping[str, Tensor], optimizer_state: Mapping[str, Tensor] | None) -> None:
        self.table = np.frombuffer(weights["table"].data, np.float32).reshape(self.table.shape).copy()
        if optimizer_state is not None:
            momentum = np.frombuffer(optimizer_state["momentum"].data, np.float32)
            self.momentum = momentum.reshape(self.table.shape).copy()

    def average(self, share: float) -> None:
        mean = self.table if self.mean is None else self.mean
        self.mean = mean + np.float32(share) * (self.table - mean)

    def average_weights(self) -> dict[str, Tensor]:
        return {"table": Tensor.of("F32", self.mean.shape, self.mean.copy())}

    def load_average(self, weights: Mapping[str, Tensor]) -> None:
        self.mean = np.frombuffer(weights["table"].data, np.float32).reshape(self.table.shape).copy()

    @contextmanager
    def averaged(self) -> Iterator[None]:
        kept, self.table = self.table, self.mean
        try:
            yield
        finally:
            self.table = kept

    def rng(self) -> dict[str, str]:
        return {"numpy": json.dumps(self.generator.bit_generator.state)}

    def set_rng(self, state: Mapping[str, str]) -> None:
        self.generator.bit_generator.state = json.loads(state["numpy"])

    def probe(self, batch: Callable[[int], MicroBatch], sequences: int | None) -> Choices:
        return {"micro_batch": 2, "compile": False, "seconds_per_step": 0.001, "matmul_flops": 0.0}

    def allocate(self, shape: tuple[int, ...], dtype: str) -> Any:
        return np.zeros(shape, dtype)

    def timings(self) -> dict[str, float]:
        return {"forward": 0.0}

    def memory(self) -> int:
        return self.table.nbytes


@pytest.fixture
def session(tmp_path: Path, shards: Path) -> Any:
    """Make sessions over the shards; each call is a process of its own, as far as the loop can tell."""
    made: list[Session] = []

    def make(
        run: str = "run",
        steps: int = 12,
        checkpoint: Any = None,
        limit: bool | None = None,
        step_seconds: float | None = None,
        now: Callable[[], float] = time.perf_counter,
        **train: Any,
    ) -> Session:
        settings = {"log_every": train.pop("log_every", 1)}
        config = Config.model_validate({"train": {"learning_rate": 0.5, **train}, "metrics": settings})
        folder = RunFolder(tmp_path / run)
        backend, progress, decisions = Bigram(), Progress(), Decisions()
        if checkpoint is not None:
            backend.load(checkpoint.weights(), checkpoint.optimizer())
            backend.set_rng(checkpoint.state["rng"])
            if (average := checkpoint.average()) is not None:
                backend.load_average(average.weights())
            progress = Progress.restored(checkpoint.state["progress"])
            decisions = resume.decisions(folder, checkpoint)
            folder.cut_back(progress.step, progress.last_evaluated_step, progress.last_sampled_step)
        validation = Loader(shards, 8, 5, split="val", seed=0)

        def evaluate(backend: Any, stopping: Callable[[], bool]) -> Evaluation | None:
            batch = validation.batch(0)
            found = backend.loss(MicroBatch(batch.inputs, batch.targets))
            mean = found.loss / found.tokens
            return None if stopping() else Evaluation(mean, float(np.exp(mean)), found.correct / found.tokens, None)

        one = Session(
            backend=backend,
            loader=Loader(shards, 8, 6, seed=config.train.seed),
            files=Files(
                folder,
                Saver(folder.path, config.train.keep_last, "train: {}\n", {}),
                bound={"choices": {}},
                last_saved=progress.step if checkpoint is not None else None,
            ),
            plan=Plan(
                config,
                Batches(48, 2, 3, 6),
                Length(steps, f"max_steps {steps}", config.train.max_time, limit and steps),
                Schedule.of(config.train, steps, by_clock=config.train.max_time is not None),
                step_seconds=step_seconds,
                average=Averaging.of(config.train),
            ),
            hooks=Hooks(evaluate=evaluate),
            progress=progress,
            decisions=decisions,
            now=now,
        )
        made.append(one)
        return one

    yield make
    for one in made:
        one.files.folder.close()
        one.loader.close()
