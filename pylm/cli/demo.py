"""`pylm demo`: the whole way, from text that is written here to stories that a model writes."""

from __future__ import annotations

import shlex
import shutil
import time
from pathlib import Path

import click

from pylm.cli.frame.command import command
from pylm.cli.frame.types import BYTES, DURATION
from pylm.cli.frame.writing import room_for
from pylm.errors import UsageError

COLUMNS_BESIDE_PLOT = 10
CORPUS = "stories.txt"
# Chosen for what two cores make of a minute.
SHAPE = ["--preset", "tiny", "--qk-norm"]
RECIPE = ["--optimizer", "muon", "--learning-rate", "5e-3", "--warmup-steps", "20", "--data.window", "packed"]
BATCH = ["--batch-tokens", "1024", "--micro-batch", "4"]  # small steps: how many there are decides what is learned
LENGTH = ["--max-steps", "4000", "--eval-every", "200", "--save-every", "1000"]
# Whole stories are trained on, each by itself: nothing was learned of what follows an end of text.
DRAWN = ["--max-tokens", "220", "--temperature", "0.7"]
OPENINGS = ("Once upon a time, there was a", "Long ago, a", "There once was a")
JUDGED = 5  # stories with each opening that the verdict is of

# so many ids, where the text has the merges for them
VOCABULARIES = ((3_000_000, 4096), (0, 2048))
LEAST_SIZE = 500_000  # a hundredth of less is no validation

OWN_FILE = """
With a file of yours the same is two lines:
  pylm train my.txt
  pylm sample --prompt "Once upon a time" """


@command("demo", example="pylm demo")
@click.option("--out", type=click.Path(file_okay=False), default="runs/demo", help="Folder that keeps all of it.")
@click.option("--size", type=BYTES, default="8M", help="Text to write.")
@click.option("--time", "seconds", type=DURATION, default="60s", help="How long to train.")
@click.option("--seed", type=int, default=1, help="Of the text and the samples.")
def demo(out: str, size: int, seconds: float, seed: int) -> None:
    """Show the whole way in a minute and a half: text, tokenizer, shards, training, stories.

    Nothing is fetched: the text is small stories that pylm writes. Every step is a command, shown before it runs.
    """
    from pylm.config.units import format_duration

    if size < LEAST_SIZE:
        raise UsageError(
            f"--size {size:,} bytes of stories are too few to learn from", f"--size {LEAST_SIZE // 1000}K is the least"
        )
    vocabulary = next(ids for least, ids in VOCABULARIES if size >= least)
    started = time.monotonic()
    folder = _emptied(Path(out))
    corpus, tok, data = folder / CORPUS, folder / "tok", folder / "data"
    _write(corpus, size, seed)
    _step("tokenizer", "train", corpus, "--vocab-size", vocabulary, "--out", tok)
    _step("tokenize", corpus, "--tokenizer", tok, "--out", data)
    _step("train", "--data", data, *SHAPE, *RECIPE, *BATCH, *LENGTH, "--max-time", f"{seconds:.0f}s", "--out", folder)
    _curve(folder)
    prompts = [word for opening in OPENINGS for word in ("--prompt", opening)]
    _step("sample", "--checkpoint", folder, *prompts, "--return-prompt", *DRAWN, "--seed", seed)
    click.echo(_verdict(folder, corpus, seed))
    click.echo(f"\nall of it lies in {folder}; it took {format_duration(time.monotonic() - started)}")
    click.echo(OWN_FILE.rstrip())


def _emptied(folder: Path) -> Path:
    """Make a folder for a new demo: an older demo's is emptied, anything else is left alone."""
    if folder.exists() and any(folder.iterdir()) and not (folder / CORPUS).exists():
        raise UsageError(f"{folder} holds something else than a demo", "name another with --out")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def _write(corpus: Path, size: int, seed: int) -> None:
    from pylm.data.stories import SEPARATOR, stories

    with room_for(corpus), corpus.open("w", encoding="utf-8") as file:
        file.writelines(stories(size, seed))
    first, amount = next(stories(1, seed)).removesuffix(SEPARATOR), f"{corpus.stat().st_size:,} bytes"
    click.echo(f"{corpus}: {amount} of small stories, written here; the first of them:\n\n{first}")


def _step(*words: object) -> None:
    """Show a command and run it; the demo ends where a command fails."""
    from pylm.cli.frame.entry import run

    line = [str(word) for word in words]
    click.secho(f"\n$ pylm {shlex.join(line)}", bold=True)
    if code := run(line):
        raise click.exceptions.Exit(code)


def _curve(folder: Path) -> None:
    from pylm.runs.plot import losses, svg, terminal

    curves = losses(folder)
    picture = folder / "loss.svg"
    with room_for(picture):
        picture.write_text(svg(curves, "A minute of stories: loss by step"), encoding="utf-8")
    columns = max(16, min(72, shutil.get_terminal_size().columns - COLUMNS_BESIDE_PLOT))
    points = curves.get("loss") or next(iter(curves.values()))
    click.echo(f"\n{terminal(points, columns=columns)}\n\nthe loss by step; as a picture: {picture}")


def _verdict(folder: Path, corpus: Path, seed: int) -> str:
    """Return what the checker of the generator says of a few more stories."""
    from pylm.generation.stories import judge_stories

    found = judge_stories(folder, OPENINGS, JUDGED, corpus.read_text(encoding="utf-8"), seed)
    return (
        f"\nof {found.sentences} sentences in {JUDGED * len(OPENINGS)} such stories {found.grammatical:.0%} follow the "
        f"grammar, {found.faithful:.0%} keep everybody's name and pronoun, {found.copied:.0%} stand in the text"
    )
