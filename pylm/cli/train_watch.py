"""What training looks at on its way: the validation split, and samples of fixed prompts."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pylm.config.schema import Config, Sample
    from pylm.data import Batch
    from pylm.data.identity import Identity
    from pylm.tokenizer import Tokenizer
    from pylm.train.backend import Backend
    from pylm.train.loop import Evaluation

    Stopping = Callable[[], bool]
    Evaluate = Callable[[Backend, Stopping], Evaluation | None]
    Draw = Callable[[Backend, int, Stopping], list[dict[str, str]]]

PROMPT_TOKENS = 8
SAMPLE_TOKENS = 64


def evaluator(config: Config, identity: Identity) -> Evaluate | None:
    """What evaluates on the validation split; None where there is none."""
    from pylm.evaluate.validation import Validation
    from pylm.train.backend import cut
    from pylm.train.loop import Evaluation

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
    """What continues fixed prompts, the same draws each time, so that samples of different steps compare."""
    from pylm import _native
    from pylm.generation.settings import draw_settings

    chosen = draw_settings(settings)
    most = min(settings.max_tokens, SAMPLE_TOKENS)

    def draw(backend: Backend, step: int, stopping: Stopping) -> list[dict[str, str]]:
        import numpy as np

        made: list[dict[str, str]] = []
        for number, prompt in enumerate(prompts):
            ids = list(prompt)
            for position in range(most):
                if stopping():
                    return made
                logits = np.ascontiguousarray(backend.logits(ids)[None, :], np.float32)
                history = [np.asarray(ids, np.int64)]
                found = _native.sample(
                    logits, "float32", chosen, history, settings.seed or 0, [number], [position], logprobs=False
                )
                following = int(found[0][0])
                if following == tokenizer.eot:
                    break
                ids.append(following)
            text = tokenizer.decode(ids[len(prompt) :])
            made.append({"prompt": tokenizer.decode([one for one in prompt if one != tokenizer.eot]), "text": text})
        return made

    return draw


def fixed_prompts(config: Config, identity: Identity, eot: int | None) -> list[list[int]]:
    """The beginning of any text, and that of a text of the validation split."""
    from pylm.data import Loader
    from pylm.evaluate.validation import split_of

    prompts = [] if eot is None else [[eot]]
    if identity.validation is not None:
        folder, split = split_of(config, identity)
        batch = Loader(folder, config.model.context_length, 1, split=split, seed=0).batch(0)
        prompts.append([int(one) for one in batch.inputs[0][:PROMPT_TOKENS]])
    return prompts
