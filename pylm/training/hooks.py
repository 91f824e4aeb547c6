"""What is done beside the steps: the validation split is evaluated, and fixed prompts are gone on from."""

from __future__ import annotations

from collections.abc import Callable, Collection
from itertools import pairwise
from typing import TYPE_CHECKING

from pylm.data.open import loader_of, source_of, split_of
from pylm.evaluation.validation import Validation
from pylm.generation.uncached import write_uncached
from pylm.training.backend import IGNORED, Counts, cut
from pylm.training.events import Evaluation

if TYPE_CHECKING:
    from pylm.config.schema import Config, Sample
    from pylm.data import Batch
    from pylm.data.identity import Identity
    from pylm.tokenizer import Tokenizer
    from pylm.training.backend import Backend

    Stopping = Callable[[], bool]
    Draw = Callable[[Backend, int, Stopping], list[dict[str, str]]]

__all__ = ["SAMPLES_VERSION", "SAMPLE_TOKENS", "Evaluator", "asked_in", "evaluator", "fixed_prompts", "sampler"]

PROMPT_TOKENS = 8
SAMPLE_TOKENS = 64  # of a sample while training, where nobody gives another number
SAMPLES_VERSION = 1  # how samples are drawn, noted in each checkpoint: since 1 they obey `sample`


def evaluator(config: Config, identity: Identity) -> Evaluator | None:
    """Return what evaluates on the validation split; None without one."""
    return None if identity.validation is None else Evaluator(Validation(config, identity))


class Evaluator:
    """Evaluates a backend's model on the validation split."""

    def __init__(self, validation: Validation) -> None:
        """Keep the windows that it is judged by."""
        self._validation = validation
        self.tokens = validation.tokens  # that an evaluation counts

    def __call__(self, backend: Backend, stopping: Stopping) -> Evaluation | None:
        """Return the scores; None where somebody asked to stop."""

        def count(batch: Batch, rows: int) -> Counts:
            return backend.loss(cut(batch.inputs, batch.targets, batch.cu_seqlens, None, rows)[0])

        scores = self._validation.scores(count, stopping)
        return None if scores is None else Evaluation(*scores)


def sampler(tokenizer: Tokenizer, settings: Sample, prompts: list[list[int]], ends: Collection[int] = ()) -> Draw:
    """Return what goes on from the prompts as `settings` say, with the same draws each time: so steps compare.

    `ends` are ids that end a text beside the end of text.
    """

    def draw(backend: Backend, step: int, stopping: Stopping) -> list[dict[str, str]]:
        samples: list[dict[str, str]] = []
        for number, prompt in enumerate(prompts):
            prompt_text = tokenizer.decode([token for token in prompt if token != tokenizer.eot])
            for repeat in range(settings.n):
                # the first sample of each prompt draws what it drew when there was but one
                stream = number if repeat == 0 else len(prompts) * repeat + number
                text = write_uncached(backend.logits, tokenizer, prompt, settings, stream, stopping, ends)
                if text is None:
                    return samples
                samples.append({"prompt": prompt_text, "text": text})
        return samples

    return draw


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
