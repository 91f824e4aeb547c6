"""Where the texts of `pylm sample` come from and go to: the terminal as they are made, a file, JSON."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from pylm.cli.frame.printing import plain_wanted, print_json, say
from pylm.errors import DataError, UsageError

if TYPE_CHECKING:
    from pylm.config.schema import Sample
    from pylm.generation import Session
    from pylm.generation.in_order import SampledText

__all__ = ["Output", "read_prompts", "refuse_together", "room_for", "shown", "write_samples"]

SEPARATOR = "---"


def refuse_together(
    interactive: bool, prompt: bool, prompts_file: str | None, output: str | None, as_json: bool, logprobs: int | None
) -> None:
    """Refuse, in one sentence, options that cannot be together."""
    if prompt and prompts_file:
        raise UsageError("--prompt and --prompts-file both say what to go on from", "give one of them")
    if interactive:
        others = {"--prompt": prompt, "--prompts-file": prompts_file, "--output": output, "--json": as_json}
        if named := [name for name, value in others.items() if value]:
            raise UsageError(f"--interactive asks and answers on the terminal: it takes no {named[0]}")
    if as_json and output:
        raise UsageError("--json and --output both say where the texts go", "--output FILE.jsonl writes JSON")
    if logprobs is not None:
        if logprobs < 0:
            raise UsageError(f"--logprobs {logprobs}", "it is 0, for each token's own, or how many of the likeliest")
        if not as_json and not (output or "").endswith(".jsonl"):
            raise UsageError("--logprobs goes into JSON", "add --json, or --output FILE.jsonl")


def read_prompts(given: Sequence[str], file: str | None) -> list[str]:
    """Return the prompts: as typed, else a file's lines, else the empty one."""
    if file is None:
        return list(given) or [""]
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{file} is no UTF-8: {error.reason} at byte {error.start}") from None
    lines = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    if not lines:
        raise DataError(f"{file} holds no prompt", "write one a line")
    if not file.endswith(".jsonl"):
        return [line for _, line in lines]
    return [_prompt_of(line, f"{file}: line {number}") for number, line in lines]


def _prompt_of(line: str, where: str) -> str:
    try:
        value = json.loads(line)
    except ValueError as error:
        raise DataError(f"{where} is no JSON: {error}") from None
    prompt = value.get("prompt", value.get("text")) if isinstance(value, dict) else value
    if not isinstance(prompt, str):
        raise DataError(f"{where} has no prompt", 'such as: {"prompt": "Once upon a time"}')
    return prompt


def shown(text: str) -> str:
    """Return what a model wrote as stdout gets it: raw, but on a terminal without what would steer that."""
    from pylm.runs.terminal import printable

    return printable(text) if sys.stdout.isatty() else text


class Output:
    """A taker of samples in order: the first is written as it is made, the others when it is their turn."""

    def __init__(self, file: IO[str] | None, as_json: bool, lines: bool, logprobs: bool, return_prompt: bool) -> None:
        """Write to a file, or to stdout where it is None; with `lines` as JSON, one object a line."""
        self.file, self.json, self.lines = file, as_json, lines
        self.logprobs, self.return_prompt = logprobs, return_prompt
        self.decode: Callable[[list[int]], str] | None = None  # set where log-probabilities go out
        # on a terminal a text shows what it goes on from; who types prompts there has them before his eyes
        self.shows_prompt = self.streams and file is None and sys.stdout.isatty()
        self._texts = 0

    @classmethod
    @contextmanager
    def open(cls, path: str | None, as_json: bool, logprobs: bool, return_prompt: bool) -> Iterator[Output]:
        """Open what `--output` names; a file that is there already is not replaced."""
        if path is None:
            yield cls(None, as_json, False, logprobs, return_prompt)
            return
        try:
            file = open(path, "x", encoding="utf-8", newline="")
        except FileExistsError:
            raise UsageError(f"{path} is there already", "name another, or move it away") from None
        except FileNotFoundError:
            raise UsageError(f"{path}: there is no folder {Path(path).parent}", "make it, or name another") from None
        try:
            with _closed(file):
                yield cls(file, False, path.endswith(".jsonl"), logprobs, return_prompt)
        finally:
            if not Path(path).stat().st_size:  # nothing came of it: a second try shall not meet an empty file
                Path(path).unlink()

    @property
    def streams(self) -> bool:
        """Say whether text goes out piece by piece."""
        return not self.json and not self.lines

    def start(self, text: SampledText) -> None:
        """Begin a text."""
        if self.streams:
            if self._texts:
                self._write(f"\n{SEPARATOR}\n")
            if self.return_prompt:
                self._write(shown(text.prompt) if self.file is None else text.prompt)
            elif self.shows_prompt and text.prompt:
                prompt = shown(text.prompt)
                self._write(prompt if plain_wanted(sys.stdout) else click.style(prompt, dim=True))
        self._texts += 1

    def more(self, text: str) -> None:
        """Go on with the text that was begun."""
        if self.streams and text:
            self._write(shown(text) if self.file is None else text)

    def end(self, text: SampledText) -> None:
        """End a text."""
        if self.lines:
            self._write(json.dumps(self._object(text), ensure_ascii=False) + "\n")

    def close(self, texts: Sequence[SampledText], about: dict[str, Any]) -> None:
        """End them all."""
        if self.json:
            print_json({**about, "samples": [self._object(text) for text in texts]})
        elif self.streams:
            self._write("\n")
        self._texts = 0

    def _object(self, text: SampledText) -> dict[str, Any]:
        made = text.as_json(self.decode)
        if self.return_prompt:
            made["text"] = text.prompt + made["text"]
        return made

    def _write(self, text: str) -> None:
        if self.file is None:
            click.echo(text, nl=False, color=True)  # else it would take out what looks like a colour
        else:
            try:
                self.file.write(text)
                self.file.flush()
            except OSError as error:
                reason = (error.strerror or str(error)).lower()
                hint = "what was written stays there; make room, or name a file elsewhere"
                raise DataError(f"cannot write {self.file.name}: {reason}", hint) from None


@contextmanager
def _closed(file: IO[str]) -> Iterator[None]:
    """Close a file. Where an error is under way that says what did not fit, nothing more is said of it."""
    try:
        yield
    except BaseException:
        try:
            file.close()
        except OSError:
            pass
        raise
    file.close()


@contextmanager
def room_for(path: Path) -> Iterator[None]:
    """Name the file that cannot be written below `--out`."""
    try:
        yield
    except OSError as error:
        raise DataError(
            f"cannot write {path}: {(error.strerror or str(error)).lower()}", "make room, or name a folder with --out"
        ) from None


def write_samples(
    session: Session,
    prompts: Sequence[str],
    settings: Sample,
    out: Output,
    *,
    speculate: bool = False,
    likeliest: int = 0,
) -> None:
    """Write every sample of every prompt, in order; an interruption leaves what was made."""
    import secrets

    from pylm.generation.in_order import tell_in_order

    if settings.seed is None:
        settings = settings.model_copy(update={"seed": secrets.randbits(32)})

    if out.logprobs:
        out.decode = session.tokenizer.decode
    pieces = session.stream(prompts, settings, likeliest=likeliest, speculate=speculate, say=say)
    started = time.perf_counter()
    texts, interrupted = tell_in_order(pieces, prompts, settings.n, out)
    seconds = time.perf_counter() - started
    tokens = sum(len(text.pieces) for text in texts)
    about = {
        "checkpoint": session.name,
        "engine": session.engine.name,
        "seed": settings.seed,
        "tokens": tokens,
        "seconds": seconds,
    }
    out.close(texts, about)
    if not out.json:
        click.echo(f"{tokens:,} tokens, {tokens / max(seconds, 1e-9):,.0f} a second, seed {settings.seed}", err=True)
    if interrupted:
        raise KeyboardInterrupt
