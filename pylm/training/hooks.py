"""What is done beside the steps: the validation split is evaluated, and fixed prompts are gone on from."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from pylm.data.open import loader_of, source_of, split_of, tokenizer_of
from pylm.errors import PylmError
from pylm.evaluation.validation import Validation
from pylm.generation.uncached import write_uncached
from pylm.training.backend import IGNORED, Counts, cut
from pylm.training.events import Evaluation, Event, Note

if TYPE_CHECKING:
    from pylm.config.schema import Config, Eval, Sample
    from pylm.data import Batch
    from pylm.data.identity import Identity
    from pylm.tokenizer import Tokenizer
    from pylm.training.backend import Backend
    from pylm.training.ranks import Ranks
    from pylm.training.suite import Asker

    Stopping = Callable[[], bool]
    Measure = Callable[[Sequence[dict[str, Any]], Stopping], dict[str, float | None] | None]
    Draw = Callable[[Backend, int, Stopping], list[dict[str, Any]]]

__all__ = [
    "SAMPLES_VERSION",
    "SAMPLE_TOKENS",
    "Evaluator",
    "asked_in",
    "asker",
    "check_questions",
    "evaluator",
    "fixed_prompts",
    "has_questions",
    "measurer",
    "sampler",
]

PROMPT_TOKENS = 8
SAMPLE_TOKENS = 64  # of a sample while training, where nobody gives another number
SAMPLES_VERSION = 1  # how samples are drawn, noted in each checkpoint: since 1 they obey `sample`


def evaluator(config: Config, identity: Identity, ranks: Ranks) -> Evaluator | None:
    """Return what evaluates on the validation split, a share in each process; None without one."""
    return None if identity.validation is None else Evaluator(Validation(config, identity), ranks)


class Evaluator:
    """Evaluates a backend's model on the validation split."""

    def __init__(self, validation: Validation, ranks: Ranks) -> None:
        """Keep the windows that it is judged by, and who else has a share of them."""
        self._validation, self._ranks = validation, ranks
        self.tokens = validation.tokens  # that an evaluation counts

    def __call__(self, backend: Backend, stopping: Stopping) -> Evaluation | None:
        """Return the scores; None where somebody asked to stop."""

        def count(batch: Batch, rows: int) -> Counts:
            return backend.loss(cut(batch.inputs, batch.targets, batch.cu_seqlens, None, rows)[0])

        world = self._ranks.world
        scores = self._validation.scores(count, stopping, (world.rank, world.size), self._ranks.exchange)
        return None if scores is None else Evaluation(*scores)


def sampler(tokenizer: Tokenizer, settings: Sample, prompts: list[list[int]], ends: Collection[int] = ()) -> Draw:
    """Return what goes on from the prompts as `settings` say, with the same draws each time: so steps compare.

    `ends` are ids that end a text beside the end of text.
    """

    def draw(backend: Backend, step: int, stopping: Stopping) -> list[dict[str, Any]]:
        samples: list[dict[str, Any]] = []
        for number, prompt in enumerate(prompts):
            prompt_text = tokenizer.decode([token for token in prompt if token != tokenizer.eot])
            for repeat in range(settings.n):
                # the first sample of each prompt draws what it drew when there was but one
                stream = number if repeat == 0 else len(prompts) * repeat + number
                written = write_uncached(backend.logits, tokenizer, prompt, settings, stream, stopping, ends)
                if written is None:
                    return samples
                samples.append({"prompt": prompt_text, "text": written[0], "ids": written[1]})
        return samples

    return draw


def check_questions(config: Eval) -> None:
    """Refuse questions that cannot be found, before anything costs time."""
    if config != type(config)():
        from pylm.training import suite  # which brings what reads templates and suites: a run without pays nothing

        suite.check(config)


def has_questions(config: Config) -> bool:
    """Return whether a run asks its model anything."""
    return bool(config.eval.tasks) or config.eval.suite is not None


def asker(config: Config, on_event: Callable[[Event], None]) -> Asker | None:
    """Return what asks a backend's model the run's questions, all of them read; None without any."""
    if not has_questions(config):
        return None
    from pylm.training import suite

    return suite.asker(config.eval, tokenizer_of(source_of(config)), on_event)


def measurer(config: Config, on_event: Callable[[Event], None]) -> Measure:
    """Return what says how varied samples are, and what of them does not stand in the training shards."""
    from pylm.evaluation.written import novelty, variety

    source, tokenizer = source_of(config), tokenizer_of(source_of(config))
    eot = None if tokenizer is None else tokenizer.eot

    def measure(samples: Sequence[dict[str, Any]], stopping: Stopping) -> dict[str, float | None] | None:
        ids = [sample["ids"] for sample in samples]
        figures: dict[str, float | None] = dict(variety(ids, [sample["text"] for sample in samples]))
        try:
            figures |= novelty(ids, [source] if isinstance(source, str) else source, eot, stopping)
        except PylmError as error:
            on_event(Note(f"novelty is not known: {error.message}"))
            figures |= {"novelty": None, "longest_copied": None}
        return None if stopping() else figures

    return measure


def fixed_prompts(config: Config, identity: Identity, eot: int | None) -> list[list[int]]:
    """Return the beginning of any text, and that of a text held back for validation, else of the training data.

    Where the data is examples, they are what two of those ask.
    """
    prompts = [] if eot is None else [[eot]]
    source, split = (source_of(config), "train") if identity.validation is None else split_of(config, identity)
    if config.finetune.dataset is not None:
        examples = loader_of(source, config, 2, split=split, seed=0, window="packed", strided=False)
        return asked_in(examples.batch(0))[:2]
    tokens = loader_of(source, config, 1, split=split, context_length=1, window="contiguous", strided=False).tokens
    # packed windows end with their document: a split that holds one of them may hold no whole window
    context = min(config.model.context_length, tokens - 1)
    loader = loader_of(
        source, config, 1, split=split, seed=0, context_length=context, window="contiguous", strided=False
    )
    batch = loader.batch(0)
    return [*prompts, [int(token) for token in batch.inputs[0][:PROMPT_TOKENS]]]


def asked_in(batch: Batch) -> list[list[int]]:
    """Return what comes before the first answer of each example of packed windows."""
    inputs, targets = batch.inputs.reshape(-1), batch.targets.reshape(-1)
    assert batch.cu_seqlens is not None
    prompts = []
    for start, stop in pairwise(batch.cu_seqlens.tolist()):
        counted = (targets[start:stop] != IGNORED).nonzero()[0]
        if len(counted):
            prompts.append([int(token) for token in inputs[start : start + int(counted[0]) + 1]])
    return prompts
