"""What a certificate compares: texts of many scripts and hostile strings, and prompts with what greedily follows."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from pylm.interchange.portable import Portable

__all__ = ["Sequences", "Told", "sequences_of", "texts_of"]

Told = Callable[[str, int, int], object]  # a phase, how much of it is done, and how much there is

# The first and the last letter of writing systems, and how words are set apart in them
SCRIPTS = [
    (0x61, 0x7A, " "), (0x41, 0x5A, " "), (0xC0, 0x24F, " "), (0x391, 0x3C9, " "), (0x410, 0x44F, " "),
    (0x531, 0x586, " "), (0x5D0, 0x5EA, " "), (0x620, 0x64A, " "), (0x904, 0x96F, " "), (0x985, 0x9EF, " "),
    (0xA85, 0xAEF, " "), (0xB85, 0xBEF, " "), (0xC05, 0xC6F, " "), (0xD05, 0xD6F, " "), (0xE01, 0xE59, ""),
    (0x1000, 0x1049, ""), (0x10D0, 0x10FF, " "), (0x1200, 0x135A, " "), (0x1780, 0x17E9, ""), (0x3041, 0x30FE, ""),
    (0x4E00, 0x9FA5, ""), (0xAC00, 0xD7A3, " "),
]  # fmt: skip
SPACES = (" ", "  ", "\t", "\n", "\r\n", "\n\n", "\x0b", "\x85", "\u00a0", "\u2028", "\u3000", "\x00", "\x7f")
HOSTILE = (
    *SPACES,
    *"'s 'S 'll \u2019s ' a Z \u00df \u0130 \u01c5 \u02b0 1 12345 \u00b2 \u0663 \u2167 \u2460 \u4e2d \u3042".split(),
    *". ... !? _ - \u2014 ( $ + \u00b4 \u0301 \u093f \u20dd \u200d \ufe0f \ufeff \ud7ff \ue000 \ufffd".split(),
    *"\U0001f642 \U0001f1e9\U0001f1ea \U0001d54f \U0010ffff \u1100\u1161".split(),
)
BYTES, STRINGS, PROMPTS, GREEDY = 1_000_000, 100_000, 200, 64
LONGEST = 64  # tokens of a prompt
SEED = 20


class Sequences(NamedTuple):
    """Prompts with what greedily follows them, and what our model says of them."""

    tokens: list[list[int]]
    prompts: list[int]
    logits: npt.NDArray[np.float32]  # after each prompt
    likeliest: npt.NDArray[np.int64]  # of every later place, one sequence after the other
    gaps: npt.NDArray[np.float32]  # how far the second likeliest lies behind there


def texts_of(specials: Sequence[str], size: int = BYTES, strings: int = STRINGS) -> list[str]:
    """Return texts of so many bytes in 22 scripts, and so many short strings of what tokenizers stumble over."""
    draw = random.Random(SEED)
    made = list(_prose(draw, size))
    pieces = [*HOSTILE, *specials]
    return made + ["".join(draw.choices(pieces, k=draw.randint(1, 8))) for _ in range(strings)]


def _prose(draw: random.Random, size: int) -> Iterator[str]:
    while size > 0:
        first, last, between = draw.choice(SCRIPTS)
        words = ["".join(chr(draw.randint(first, last)) for _ in range(draw.randint(1, 9))) for _ in range(40)]
        text = between.join(word + draw.choice(("", "", "", ",", ".", " 12", "'s")) for word in words)
        size -= len(text.encode())
        yield text


def sequences_of(
    model: Portable, count: int = PROMPTS, greedy: int = GREEDY, *, told: Told = lambda phase, done, total: None
) -> Sequences:
    """Return prompts of the vocabulary's own ids, each with the tokens that our model, in fp32, goes on with."""
    context = model.shape.context_length
    longest, greedy = max(1, min(LONGEST, context // 2)), min(greedy, context - context // 2)
    prompts = _prompts(model, count, longest)
    tokens = _continued(model, prompts, greedy, told)
    return _judged(model, tokens, [len(prompt) for prompt in prompts], told)


def _prompts(model: Portable, count: int, longest: int) -> list[list[int]]:
    assert model.tokenizer is not None
    draw = random.Random(SEED + 1)
    whole = [one for text in _prose(draw, 20_000) for one in model.tokenizer.encode(text)]
    starts = [draw.randrange(len(whole)) for _ in range(count)]
    return [whole[start : start + draw.randint(1, longest)] for start in starts]


def _continued(model: Portable, prompts: list[list[int]], greedy: int, told: Told) -> list[list[int]]:
    from pylm.generation.load import open_session
    from pylm.generation.settings import sample_settings

    session = open_session(str(model.folder), device="cpu", dtype="fp32")
    tokens = [list(prompt) for prompt in prompts]
    settings = sample_settings({"max_tokens": greedy, "temperature": 0})
    ended = 0
    for piece in session.stream(prompts, settings):
        tokens[piece.prompt].append(piece.id)
        if piece.finish is not None:
            ended += 1
            told("greedy tokens", ended, len(prompts))
    return tokens


def _judged(model: Portable, tokens: list[list[int]], prompts: list[int], told: Told) -> Sequences:
    from pylm.interchange.engines.of_ours import logits_of

    last, likeliest, gaps = [], [], []
    compute = logits_of(model.folder)
    for ids, prompt in zip(tokens, prompts, strict=True):
        logits: npt.NDArray[Any] = compute(ids)
        last.append(logits[prompt - 1].copy())  # a view would keep the logits of all places
        two = np.partition(logits[prompt - 1 : -1], -2, -1)[:, -2:]
        likeliest.append(logits[prompt - 1 : -1].argmax(-1))
        gaps.append(two[:, 1] - two[:, 0])
        told("our logits", len(gaps), len(prompts))
    return Sequences(tokens, prompts, np.stack(last), np.concatenate(likeliest), np.concatenate(gaps))
