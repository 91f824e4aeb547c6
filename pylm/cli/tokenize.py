"""`pylm tokenize`: text to token shards."""

from __future__ import annotations

from typing import Any

import click

from pylm.cli.frame.command import Command, command, json_option
from pylm.cli.frame.completion import complete_sources
from pylm.cli.frame.data_section import config_option, sources_of, taken_from
from pylm.cli.frame.printing import print_json, say
from pylm.cli.frame.types import COUNT, SHARE

EXAMPLE = """pylm tokenize corpus.txt --tokenizer gpt2 --out data/corpus
pylm tokenize tinystories_10M --tokenizer gpt2 --out data/ts
pylm tokenize 'crawl/*.jsonl.zst' --field body --tokenizer tok/ --val 0.001
pylm tokenize crawl.jsonl --clean --out data/crawl
zcat dump.gz | pylm tokenize - --split blank"""


class _Tokenize(Command):
    """The command, whose `--clean` has a value only where it is written as `--clean=RULES`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Give `--clean` alone the rules that it stands for, so that it takes no SOURCE for them."""
        return super().parse_args(ctx, [f"{arg}=fineweb" if arg == "--clean" else arg for arg in args])


@command("tokenize", example=EXAMPLE, cls=_Tokenize)
@click.argument("sources", nargs=-1, metavar="SOURCE…", shell_complete=complete_sources)
@click.option("--tokenizer", metavar="T", help="Name, file, folder or Hub id; without it one is trained on the text.")
@click.option("--out", type=click.Path(file_okay=False), help="Folder to write.  [default: data/<name of the source>]")
@click.option("--vocab-size", type=COUNT, help="Size of the tokenizer to train.  [default: by the amount of text]")
@click.option("--model", type=click.Choice(["bpe", "unigram", "sp-bpe"]), help="Kind of the tokenizer to train.")
@click.option("--pattern", help="Pre-tokenizer of the tokenizer to train: a name or a regex.")
@click.option("--special", "specials", multiple=True, help="Special token of the tokenizer to train; repeatable.")
@click.option("--val", type=SHARE, help="Share of documents kept for validation; 0 for none.  [default: 0.01]")
@click.option("--split", default="<|endoftext|>", help="Between documents of a txt: a string, blank, line or file.")
@click.option("--field", help="Key of a jsonl line that holds the text.  [default: text]")
@click.option("--column", help="Column of a parquet file that holds the text.  [default: text]")
@click.option("--shard-tokens", type=COUNT, default="100M", help="Tokens of a shard, about.")
@click.option("--limit", metavar="N", help="Stop at the document that reaches it: 10000docs, 1GB or 100Mtok.")
@click.option("--invalid", type=click.Choice(["error", "replace"]), default="error", help="Bytes that are no UTF-8.")
@click.option("--skip-bad", is_flag=True, show_default=False, help="Leave out broken jsonl lines; count and list them.")
@click.option("--allow-special", multiple=True, help="Special token that may stand in the text as one; repeatable.")
@click.option("--format", type=click.Choice(["raw", "llmc"]), default="raw", help="llmc: with its header.")
@click.option("--clean", metavar="[=RULES]", help="Clean the text first, as pylm data clean does it.")
@click.option("--threads", type=COUNT, help="Threads.  [default: one for each core]")
@click.option("--rank", type=int, help="Which share of the work this process does.  [default: Slurm's, else 0]")
@click.option("--world", type=int, help="How many processes share it.  [default: Slurm's, else 1]")
@click.option("--ray", metavar="ADDRESS", help="Spread it over a Ray cluster; auto: the one this machine is of.")
@click.option("--store", is_flag=True, show_default=False, help="Keep the text that is fetched, in pylm's cache.")
@click.option("--allow-private", is_flag=True, show_default=False, help="Read addresses of your own network too.")
@click.option("--dry-run", is_flag=True, show_default=False, help="Say what it would take, and write nothing.")
@click.option("--force", is_flag=True, show_default=False, help="Replace what another run wrote to the folder.")
@config_option("Take data.sources, if no SOURCE is given, data.clean, data.tokenizer, data.val_share.")
@json_option
def tokenize(
    sources: tuple[str, ...],
    config: str | None,
    threads: int | None,
    dry_run: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Write token shards for training, whatever the text and however much of it.

    SOURCE is a file, a folder, a glob, or - for stdin: txt, jsonl, csv and parquet, tar and WET, .gz and .zst of them.
    Or text from elsewhere, read as it comes and not kept: a dataset that pylm data list names, such as
    tinystories_10M, hub:ORG/NAME[@REV][:CONFIG[:SPLIT[:COLUMN]]], a URL. Interrupt it at any moment and run the same
    command again: it does what is missing. The shards are the same to the byte for any number of threads and machines.
    """
    from pylm.cli.frame import prepared
    from pylm.cli.frame.progress import Progress
    from pylm.data.prepare import prepare

    named = sources_of(sources, config, "no text was named", "name a file, a folder, a glob, or - for stdin")
    given = taken_from(config, options, {"tokenizer": "tokenizer", "val": "val_share", "clean": "clean"})
    given["val"] = 0.01 if given["val"] is None else given["val"]
    with Progress("tokenize", unit="bytes", quiet=as_json) as progress:
        done = prepare(
            list(named.items()) if isinstance(named, dict) else named,
            threads=threads or 0,
            dry_run=dry_run,
            progress=progress,
            say=say if as_json else progress.say,
            **given,
        )
    if as_json:
        print_json(prepared.as_json(done))
    elif dry_run:
        click.echo("\n".join(prepared.preview(done)))
    else:
        for line in prepared.remarks(done):
            say(line)
        click.echo(prepared.closing(done))
