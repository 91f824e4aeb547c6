"""What training looks at on its way: the validation split, and samples of fixed prompts."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pylm.checkpoint import Checkpoint
    from pylm.config.cascade import Resolved
    from pylm.config.given import Given
    from pylm.config.schema import Config, Sample
    from pylm.data import Batch
    from pylm.data.identity import Identity
    from pylm.tokenizer import Tokenizer
    from pylm.training.backend import Backend
    from pylm.training.loop import Evaluation

    Stopping = Callable[[], bool]
    Evaluate = Callable[[Backend, Stopping], Evaluation | None]
    Draw = Callable[[Backend, int, Stopping], list[dict[str, str]]]

PROMPT_TOKENS = 8
SAMPLE_TOKENS = 64
MAX_TOKENS = "sample.max_tokens"
SAMPLES = 1  # how samples are drawn, noted in each checkpoint: since 1 they obey `sample`


def evaluator(config: Config, identity: Identity) -> Evaluate | None:
    """What evaluates on the validation split; None where there is none."""
    from pylm.evaluation.validation import Validation
    from pylm.training.backend import cut
    from pylm.training.loop import Evaluation

    if identity.validation is None:
        return None
    validation = Validation(config, identity)

    def evaluate(backend: Backend, stopping: Stopping) -> Evaluation | None:
        def count(batch: Batch, rows: int) -> tuple[float, int, int]:
            return backend.loss(cut(batch.inputs, batch.targets, batch.cu_seqlens, rows)[0])

        scores = validation.scores(count, stopping)
        return None if scores is None else Evaluation(*scores)

    return evaluate


def sampler(tokenizer: Tokenizer, settings: Sample, prompts: list[list[int]]) -> Draw:
    """What continues fixed prompts as `settings` say, the same draws each time, so that steps compare."""
    from pylm import _native
    from pylm.generation.settings import draw_settings
    from pylm.generation.text import TextStream

    chosen = draw_settings(settings)

    def one(backend: Backend, prompt: list[int], stream: int, stopping: Stopping) -> str | None:
        """One text; None where somebody asked to stop."""
        import numpy as np

        ids, made = list(prompt), TextStream(tokenizer, prompt, settings.stop)
        text = ""
        for position in range(settings.max_tokens):
            if stopping():
                return None
            logits = np.ascontiguousarray(backend.logits(ids)[None, :], np.float32)
            history = [np.asarray(ids, np.int64)]
            found = _native.sample(
                logits, "float32", chosen, history, settings.seed or 0, [stream], [position], logprobs=False
            )
            following = int(found[0][0])
            if following == tokenizer.eot:
                break
            ids.append(following)
            text += made.push(following)
            if made.stopped:
                return text
        return text + made.finish()

    def draw(backend: Backend, step: int, stopping: Stopping) -> list[dict[str, str]]:
        drawn: list[dict[str, str]] = []
        for number, prompt in enumerate(prompts):
            said = tokenizer.decode([one for one in prompt if one != tokenizer.eot])
            for again in range(settings.n):
                # the first sample of each prompt draws what it drew when there was but one
                stream = number if again == 0 else len(prompts) * again + number
                text = one(backend, prompt, stream, stopping)
                if text is None:
                    return drawn
                drawn.append({"prompt": said, "text": text})
        return drawn

    return draw


def with_short_samples(given: Given, origin: Callable[[str], str]) -> Given:
    """The command line with the length of samples while training, where nobody gave another."""
    from pylm.config.cascade import DEFAULT

    if origin(MAX_TOKENS) != DEFAULT:
        return given
    return given.with_default(MAX_TOKENS, SAMPLE_TOKENS, "samples while training")


def as_it_sampled(checkpoint: Checkpoint, stored: Resolved, resolved: Resolved) -> Resolved:
    """The configuration of a run that goes on: one from before samples obeyed `sample.max_tokens` had 64 at most."""
    from pylm.config.cascade import Resolved

    then, now = stored.config.sample.max_tokens, resolved.config.sample
    if "samples" in checkpoint.state or now.max_tokens != then or then <= SAMPLE_TOKENS:
        return resolved
    short = now.model_copy(update={"max_tokens": SAMPLE_TOKENS})
    return Resolved(resolved.config.model_copy(update={"sample": short}), resolved.origins)


def fixed_prompts(config: Config, identity: Identity, eot: int | None) -> list[list[int]]:
    """The beginning of any text, and that of a text that is held back for validation, else of the training data."""
    from pylm.data import Loader
    from pylm.evaluation.validation import split_of

    prompts = [] if eot is None else [[eot]]
    data: Any = config.data.mix or config.data.path
    folder, split = (data, "train") if identity.validation is None else split_of(config, identity)
    batch = Loader(folder, config.model.context_length, 1, split=split, seed=0).batch(0)
    return [*prompts, [int(one) for one in batch.inputs[0][:PROMPT_TOKENS]]]
