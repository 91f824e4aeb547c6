"""A model ready to write: prompts become rows of a cache, each token is drawn, turned into text and given out.

A draw depends on the logits, the seed, the number of the sample and the position in its text, and on nothing else. So
the same seed gives the same tokens alone and in a batch, with and without a cache, guessed ahead or not, and a text
that is continued is the text that would have been written at once.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from pylm._native import SampleSettings, sample
from pylm.errors import UsageError
from pylm.generation.engine import Cache, Engine, Logits, common_prefix
from pylm.generation.lookup import Lookup
from pylm.generation.settings import draw_settings
from pylm.generation.text import TextStream
from pylm.wording import param

if TYPE_CHECKING:
    from pylm.config.schema import Sample
    from pylm.tokenizer import Tokenizer

__all__ = ["Piece", "Session"]

Finish = Literal["end", "stop", "length"]


@dataclass(frozen=True, slots=True)
class Piece:
    """A token as it was made, with the text that it makes certain.

    `text` is what became certain with it, maybe nothing yet: the texts together are the text. `logprob` is the token's
    under the model itself: no temperature, penalty or filter. The last piece of a text has `finish`: "end" (the model
    ended it), "stop" (a stop string) or "length".
    """

    id: int
    text: str
    logprob: float
    prompt: int = 0
    sample: int = 0
    finish: Finish | None = None
    likeliest: tuple[tuple[int, float], ...] = ()


class _Row:
    """A text that is being written."""

    def __init__(self, prompt: int, sample: int, ids: list[int], stream: TextStream) -> None:
        self.prompt, self.sample = prompt, sample
        self.ids, self.start = ids, len(ids)
        self.stream = stream
        self.finish: Finish | None = None


@dataclass(frozen=True)
class _Job:
    """The settings that hold for every row of a call."""

    settings: Sample
    seed: int
    draw: SampleSettings
    counts: bool  # whether penalties need what was seen
    likeliest: int
    ends: frozenset[int]
    say: Callable[[str], None]


class Session:
    """A model and its tokenizer. What was read for the last text is not read again where the next prompt begins so."""

    def __init__(
        self,
        engine: Engine,
        tokenizer: Tokenizer,
        *,
        begin: Sequence[int] = (),
        ends: Sequence[int] = (),
        name: str = "",
        answers: bool = False,
    ) -> None:
        """Put an engine and a tokenizer together.

        Args:
            engine: what computes.
            tokenizer: its ids must all have logits.
            begin: ids before every text, for models that were trained with them.
            ends: ids that end a text beside the tokenizer's own.
            name: where the model came from, for people.
            answers: whether a text is what somebody says, which the tokenizer's chat template writes: the model was
                tuned on that.
        """
        self.engine, self.tokenizer, self.name = engine, tokenizer, name
        self._begin = list(begin)
        self._ends = frozenset(ends) | ({tokenizer.eot} if tokenizer.eot is not None else frozenset())
        self._answers = answers
        if answers:  # whatever ends a turn is one of them
            self._ends |= frozenset(tokenizer.specials.values())
        self._vocabulary = min(tokenizer.vocab_size, engine.vocab_size)
        self._spare: Cache | None = None
        self._rolled = False

    def __repr__(self) -> str:
        """Say which model writes, and what computes it."""
        return f"<Session {self.name or 'of a model'}: {self.engine.name}>"

    def encode(self, prompt: str | Sequence[int]) -> list[int]:
        """Return the ids that a text starts from; an empty prompt starts after an end of text."""
        ids = self._encoded(prompt) if isinstance(prompt, str) else [int(token) for token in prompt]
        for token in ids:
            if not 0 <= token < self._vocabulary:
                raise UsageError(f"the prompt holds id {token}", f"ids run from 0 to {self._vocabulary - 1}")
        if not ids and not self._begin:
            if self.tokenizer.eot is None:
                raise UsageError("the prompt is empty, and the tokenizer has no end of text to start from", "give one")
            return [self.tokenizer.eot]
        return self._begin + ids

    def _encoded(self, prompt: str) -> list[int]:
        if not self._answers or not prompt:
            return self.tokenizer.encode(prompt)
        said = {"role": "user", "content": prompt}
        return self.tokenizer.apply_chat_template([said], add_generation_prompt=True)

    def stream(
        self,
        prompts: Sequence[str | Sequence[int]],
        settings: Sample,
        *,
        likeliest: int = 0,
        speculate: bool = False,
        ends: Sequence[int] = (),
        say: Callable[[str], None] = lambda text: None,
    ) -> Iterator[Piece]:
        """Check everything, then yield the pieces of all rows as they are made.

        Args:
            prompts: texts, or ids; `settings.n` samples are made of each.
            settings: how to draw; a seed of None is drawn.
            likeliest: how many of the likeliest tokens come with each piece.
            speculate: guess ahead by looking up what was written; the tokens are the same.
            ends: ids that end these texts, beside those that always do.
            say: told once that the context is full.
        """
        if speculate and not self.engine.verifies:
            raise UsageError(
                f"{self.engine.name} cannot check guesses",
                f"leave out {param('speculate')}, or {param('backend', 'torch')}",
            )
        if likeliest > self._vocabulary:
            raise UsageError(f"{likeliest} of the likeliest tokens: the vocabulary has {self._vocabulary:,}")
        draw = draw_settings(settings)
        if settings.top_k is not None and settings.top_k > self._vocabulary:
            raise UsageError(
                f"top_k is {settings.top_k:,}, the vocabulary has {self._vocabulary:,}", "leave it out to draw from all"
            )
        counts = settings.repetition_penalty != 1 or bool(settings.presence_penalty or settings.frequency_penalty)
        seed = secrets.randbits(32) if settings.seed is None else settings.seed
        job = _Job(settings, seed, draw, counts, likeliest, self._ends | frozenset(ends), say)
        encoded = [self._checked(prompt, index, len(prompts)) for index, prompt in enumerate(prompts)]
        return self._write(encoded, job, speculate)

    def _checked(self, prompt: str | Sequence[int], index: int, count: int) -> list[int]:
        ids = self.encode(prompt)
        if len(ids) > self.engine.context_length:
            which = f"prompt {index + 1}" if count > 1 else "the prompt"
            raise UsageError(
                f"{which} has {len(ids):,} tokens, and the model sees {self.engine.context_length:,} at a time",
                "shorten it",
            )
        return ids

    def _write(self, prompts: list[list[int]], job: _Job, speculate: bool) -> Iterator[Piece]:
        rows = []
        for prompt, ids in enumerate(prompts):
            for number in range(job.settings.n):
                given = ids[len(self._begin) :] if ids[-1] != self.tokenizer.eot else []
                rows.append(_Row(prompt, number, list(ids), TextStream(self.tokenizer, given, job.settings.stop)))
        together = 1 if speculate else self.engine.rows_at_once
        for start in range(0, len(rows), together):
            group = rows[start : start + together]
            cache = self._open(group, job)
            try:
                if speculate:
                    yield from self._guessing(group[0], cache, job)
                else:
                    yield from self._step_by_step(group, cache, job)
            finally:
                if cache.capacity == self.engine.context_length and len(cache.ids) == 1:
                    self._spare = cache

    def _open(self, rows: list[_Row], job: _Job) -> Cache:
        """Return a cache: a new one, or the one that the last text left, for which a single row is kept whole."""
        if len(rows) == 1 and self._spare is not None:
            cache, self._spare = self._spare, None
            return cache
        longest = max(row.start for row in rows) + job.settings.max_tokens
        return self.engine.cache(len(rows), self.engine.context_length if len(rows) == 1 else longest)

    def _prefill(self, rows: list[_Row], cache: Cache) -> Logits:
        """Read the prompts. What a row shares with the one before it, or with what is there already, is read once."""
        logits: list[Logits] = []
        for number, row in enumerate(rows):
            if number and rows[number - 1].ids == row.ids:
                cache.copy(number - 1, number)
                logits.append(logits[-1])
                continue
            shared = 0
            if number:
                shared = common_prefix(rows[number - 1].ids, row.ids)
                cache.copy(number - 1, number)
            else:
                shared = common_prefix(cache.ids[0], row.ids)
            shared = min(shared, len(row.ids) - 1)
            cache.truncate(number, shared)
            logits.append(self.engine.prefill(row.ids[shared:], cache, number))
        return np.stack(logits)

    def _step_by_step(self, rows: list[_Row], cache: Cache, job: _Job) -> Iterator[Piece]:
        logits = self._prefill(rows, cache)
        while True:
            yield from self._draw(rows, logits, job)
            left = [number for number, row in enumerate(rows) if row.finish is None]
            if not left:
                return
            if len(left) < len(rows):
                cache.keep(left)
                rows = [rows[number] for number in left]
            for number, row in enumerate(rows):
                self._roll(number, row, cache, job)
            logits = self.engine.decode([row.ids[-1] for row in rows], cache)

    def _guessing(self, row: _Row, cache: Cache, job: _Job) -> Iterator[Piece]:
        """Check a guess of the next tokens in one pass: a token that is drawn as guessed makes the next logits good."""
        logits = self._prefill([row], cache)
        lookup = Lookup(row.ids)
        guess: list[int] = []
        while True:
            for number in range(len(guess) + 1):
                yield from self._draw([row], logits[number : number + 1], job)
                lookup.extend(row.ids[-1:])
                if row.finish is not None or number == len(guess) or row.ids[-1] != guess[number]:
                    break
            if row.finish is not None:
                return
            cache.truncate(0, min(len(cache.ids[0]), len(cache.ids[0]) - len(guess) + number))
            self._roll(0, row, cache, job)
            room = self.engine.context_length - len(cache.ids[0]) - 1
            left = row.start + job.settings.max_tokens - len(row.ids) - 1
            guess = lookup.guess(min(room, left))
            logits = self.engine.verify([row.ids[-1], *guess], cache)

    def _roll(self, number: int, row: _Row, cache: Cache, job: _Job) -> None:
        """Go on from the newer half of a full context: it is read again as if the text began there."""
        if len(cache.ids[number]) < self.engine.context_length:
            return
        if not self._rolled:
            self._rolled = True
            job.say(
                f"the context of {self.engine.context_length:,} tokens is full: from here the model sees the last "
                f"{self.engine.context_length // 2:,} and what it adds to them"
            )
        keep = max(self.engine.context_length // 2, 1)
        cache.truncate(number, 0)
        if keep > 1:
            self.engine.prefill(row.ids[-keep:-1], cache, number)

    def _draw(self, rows: list[_Row], logits: Logits, job: _Job) -> Iterator[Piece]:
        """Draw a token for every row, and yield it."""
        history = [np.asarray(row.ids, dtype=np.int64) for row in rows] if job.counts else None
        ids, logprobs, names, values = sample(
            logits,
            "float32",
            job.draw,
            history,
            job.seed,
            [row.sample for row in rows],
            [len(row.ids) for row in rows],
            vocab_size=self._vocabulary,
            alternatives=job.likeliest,
            threads=1 if len(rows) == 1 else 0,
        )
        assert logprobs is not None
        for number, row in enumerate(rows):
            token = int(ids[number])
            row.ids.append(token)
            likeliest: tuple[tuple[int, float], ...] = ()
            if names is not None and values is not None:
                likeliest = tuple(zip(names[number].tolist(), values[number].tolist(), strict=True))
            text = self._told(row, token, job)
            yield Piece(token, text, float(logprobs[number]), row.prompt, row.sample, row.finish, likeliest)

    def _told(self, row: _Row, token: int, job: _Job) -> str:
        """Return the text that a token makes certain, and set the row's end."""
        if token in job.ends:
            row.finish = "end"
            return row.stream.finish()
        text = row.stream.push(token)
        if not row.stream.stopped and len(row.ids) - row.start == job.settings.max_tokens:
            row.finish = "length"
            text += row.stream.finish()
        if row.stream.stopped:
            row.finish = "stop"
        return text
