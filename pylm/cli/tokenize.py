"""`pylm tokenize`: text to token shards."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from pylm.cli.frame.command import command, json_option
from pylm.cli.frame.printing import print_json
from pylm.cli.frame.types import COUNT, SHARE

if TYPE_CHECKING:
    from pylm.data.prepare import Prepared

EXAMPLE = """pylm tokenize corpus.txt --tokenizer gpt2 --out data/corpus
pylm tokenize 'crawl/*.jsonl.zst' --field body --tokenizer tok/ --val 0.001
zcat dump.gz | pylm tokenize - --split blank"""


@command("tokenize", example=EXAMPLE)
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE…")
@click.option("--tokenizer", metavar="T", help="Name, file, folder or Hub id; without it one is trained on the text.")
@click.option("--out", type=click.Path(file_okay=False), help="Folder to write.  [default: data/<name of the source>]")
@click.option("--vocab-size", type=COUNT, help="Size of the tokenizer to train.  [default: by the amount of text]")
@click.option("--model", type=click.Choice(["bpe", "unigram", "sp-bpe"]), help="Kind of the tokenizer to train.")
@click.option("--pattern", help="Pre-tokenizer of the tokenizer to train: a name or a regex.")
@click.option("--special", "specials", multiple=True, help="Special token of the tokenizer to train; repeatable.")
@click.option("--val", type=SHARE, default="0.01", help="Share of the documents kept for validation; 0 for none.")
@click.option("--split", default="<|endoftext|>", help="Between documents of a txt: a string, blank, line or file.")
@click.option("--field", help="Key of a jsonl line that holds the text.  [default: text]")
@click.option("--column", help="Column of a parquet file that holds the text.  [default: text]")
@click.option("--shard-tokens", type=COUNT, default="100M", help="Tokens of a shard, about.")
@click.option("--limit", metavar="N", help="Stop at the document that reaches it: 10000docs, 1GB or 100Mtok.")
@click.option("--invalid", type=click.Choice(["error", "replace"]), default="error", help="Bytes that are no UTF-8.")
@click.option("--skip-bad", is_flag=True, show_default=False, help="Leave out broken jsonl lines; count and list them.")
@click.option("--allow-special", multiple=True, help="Special token that may stand in the text as one; repeatable.")
@click.option("--format", "header", type=click.Choice(["raw", "llmc"]), default="raw", help="llmc: with its header.")
@click.option("--threads", type=COUNT, help="Threads.  [default: one for each core]")
@click.option("--rank", type=int, help="Which share of the work this process does.  [default: Slurm's, else 0]")
@click.option("--world", type=int, help="How many processes share it.  [default: Slurm's, else 1]")
@click.option("--ray", metavar="ADDRESS", help="Spread it over a Ray cluster; auto: the one this machine is of.")
@click.option("--dry-run", is_flag=True, show_default=False, help="Say what it would take, and write nothing.")
@click.option("--force", is_flag=True, show_default=False, help="Replace what another run wrote to the folder.")
@json_option
def tokenize(
    sources: tuple[str, ...],
    tokenizer: str | None,
    out: str | None,
    vocab_size: int | None,
    model: str | None,
    pattern: str | None,
    specials: tuple[str, ...],
    header: str,
    threads: int | None,
    rank: int | None,
    world: int | None,
    ray: str | None,
    dry_run: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Write token shards for training, whatever the text and however much of it.

    SOURCE is a file, a folder, a glob, or - for stdin: txt, jsonl and parquet, .gz and .zst of them. Interrupt it at
    any moment and run the same command again: it does what is missing. The shards are the same to the byte for any
    number of threads and machines.
    """
    from pylm.cli.frame.progress import Progress
    from pylm.data.prepare import Training, prepare
    from pylm.errors import UsageError

    trained = {"--vocab-size": vocab_size, "--model": model, "--pattern": pattern, "--special": specials}
    given = [name for name, value in trained.items() if value]
    if tokenizer is not None and given:
        raise UsageError(f"{given[0]} is for a tokenizer to train, and --tokenizer names one", "give one or the other")
    rank, world = _share(rank, world) if ray is None or rank is not None or world is not None else (0, 1)

    def say(text: str) -> None:
        click.echo(text, err=True)

    with Progress("tokenize", unit="bytes", quiet=as_json) as progress:
        done = prepare(
            sources,
            out,
            tokenizer=tokenizer,
            training=None if tokenizer is not None else Training(vocab_size, model, pattern, specials),
            header="none" if header == "raw" else header,
            threads=threads or 0,
            rank=rank,
            world=world,
            ray=ray,
            dry_run=dry_run,
            progress=progress,
            say=say if as_json else progress.say,
            **options,
        )
    if as_json:
        print_json(_as_json(done))
    elif dry_run:
        click.echo("\n".join(_preview(done)))
    else:
        for line in _remarks(done):
            say(line)
        click.echo(_closing(done))


def _share(rank: int | None, world: int | None) -> tuple[int, int]:
    """This process's share: as given, else as Slurm says of a step of several tasks."""
    from pylm.errors import UsageError

    if (rank is None) != (world is None):
        raise UsageError("--rank and --world go together", "for the first of four processes: --rank 0 --world 4")
    if rank is not None and world is not None:
        return rank, world
    # a batch script has SLURM_PROCID too, but no step: it runs once, and does everything
    tasks = os.environ.get("SLURM_STEP_NUM_TASKS", "1")
    if "SLURM_STEP_ID" in os.environ and tasks.isdigit() and int(tasks) > 1:
        rank, world = int(os.environ.get("SLURM_PROCID", "0")), int(tasks)
        click.echo(f"rank {rank} of {world}, by Slurm", err=True)
        return rank, world
    return 0, 1


def _as_json(done: Prepared) -> dict[str, Any]:
    return {
        "folder": str(done.folder),
        "plan": done.plan,
        "vocab_size": done.vocab_size,
        "trained": done.trained,
        "found": done.found,
        "replaced": done.replaced,
        "missing_shards": done.missing,
        "progress": done.progress,
        "splits": (done.manifest or {}).get("splits"),
        "skipped": (done.manifest or {}).get("skipped"),
        "replaced_bytes": (done.manifest or {}).get("replaced_bytes"),
    }


def _preview(done: Prepared) -> list[str]:
    from pylm.config.units import format_bytes, format_count, format_duration

    plan = done.plan
    rows = [
        ("sources", f"{plan['files']:,} files, {format_bytes(plan['source_bytes'])}"),
        ("text", f"{format_bytes(plan['bytes'])} in {plan['units']:,} units"),
        ("tokenizer", f"{done.vocab_size:,} tokens, ids as {plan['dtype']}"),
        ("tokens", f"about {format_count(plan['tokens'])}, {plan['bytes_per_token']:.2f} bytes each"),
        ("shards", f"{plan['shards']:,}, {format_bytes(plan['disk'])} on disk"),
        ("time", f"about {format_duration(plan['seconds'])}"),
        ("folder", str(done.folder)),
    ]
    return [f"{name:<10} {text}" for name, text in rows] + _of_plan(done)


def _of_plan(done: Prepared) -> list[str]:
    """What may surprise: said before and after."""
    lines = [f"{name} is named more than once, and taken once" for name in done.plan["repeated"][:5]]
    if more := len(done.plan["repeated"]) - len(lines):
        lines.append(f"{more:,} more files are named more than once, and taken once")
    if done.plan["dtype"] == "uint32":
        lines.append(f"ids are uint32: a vocabulary of {done.vocab_size:,} does not fit uint16")
    if "blocks" in done.plan["rule"]:
        held_out = "validation is taken from blocks of the text, at whose borders documents end early"
        if done.manifest is not None and not done.manifest["splits"]["val"]["tokens"]:
            held_out = "and too little text for blocks of it: nothing is kept for validation"
        lines.append(f"too few documents to choose from: {held_out}")
    if done.plan["compressed"]:
        what = "file cannot" if done.plan["compressed"] == 1 else "files cannot"
        lines.append(f"{done.plan['compressed']} compressed {what} be read from the middle: each is one unit of work")
    return lines


def _remarks(done: Prepared) -> list[str]:
    manifest = done.manifest or {}
    lines = [] if done.found else _of_plan(done)
    if done.replaced:
        lines.append(f"replaced {done.replaced}")
    if count := manifest.get("skipped", {}).get("count"):
        lines.append(f"{count:,} broken lines were left out, the first of them:")
        for line in manifest["skipped"]["first"][:5]:
            lines.append(f"  {line['file']}: line {line['line']}, byte {line['byte']}: {line['why']}")
    if count := manifest.get("replaced_bytes"):
        lines.append(f"{count:,} bytes that were no UTF-8 became U+FFFD")
    return lines


def _closing(done: Prepared) -> str:
    from pylm.config.units import format_bytes, format_duration

    if done.manifest is None:
        what = "shard is" if done.missing == 1 else "shards are"
        return f"this share is done; {done.missing} {what} still to come from other ranks"
    train, val = done.manifest["splits"]["train"], done.manifest["splits"]["val"]
    tokens = train["tokens"] + val["tokens"]
    text = train["text_bytes"] + val["text_bytes"]
    documents = train["documents"] + val["documents"]
    line = (
        f"{documents:,} documents, {tokens:,} tokens ({val['tokens']:,} for validation), "
        f"{text / tokens:.2f} bytes a token"
    )
    if done.found:
        return f"{done.folder} is done already: {line}"
    seconds = done.progress.get("seconds", 0.0)
    if seconds > 0:
        line += f", {format_bytes(done.progress['bytes'] / seconds)}/s, {format_duration(seconds)}"
    return f"{line} → {done.folder}"
