"""`pylm data clean`: text to better text, and what went and why."""

from __future__ import annotations

from typing import Any

import click
from click.core import ParameterSource

from pylm.cli.frame.command import command, json_option
from pylm.cli.frame.completion import complete_sources
from pylm.cli.frame.data_section import cleaning_of, config_option, sources_of
from pylm.cli.frame.printing import print_json, say
from pylm.cli.frame.types import BYTES, COUNT

EXAMPLE = """pylm data clean my.txt --out data/clean
pylm data clean 'crawl/*.jsonl.zst' --out data/crawl --rules fineweb --set gopher.word_count=100 --keep-removed
pylm data clean wiki.jsonl crawl.jsonl --out data/both --rules none --near 0.9 --keep longest
pylm data clean books/ --out data/tags --tags-only"""


@command("clean", example=EXAMPLE)
@click.argument("sources", nargs=-1, metavar="SOURCE…", shell_complete=complete_sources)
@click.option("--out", type=click.Path(file_okay=False), required=True, help="Folder to write.")
@click.option("--rules", metavar="NAME", default="fineweb", help="fineweb, fineweb2[:FOLDER], gopher, c4 or none.")
@click.option("--set", "set_", multiple=True, metavar="KEY=VALUE", help="A threshold, or off; repeatable.")
@click.option("--bad-words", metavar="FILE", help="Words that remove a document; a folder holds a file a language.")
@click.option("--languages", multiple=True, metavar="A,B", help="Those that stay, such as en,deu_Latn.  [default: all]")
@click.option("--language-model", metavar="FILE", help="A fastText model that names languages.")
@click.option("--classifier", multiple=True, metavar="FILE:LABEL>=X", help="What must be said of it; repeatable.")
@click.option("--url-list", multiple=True, metavar="FILE", help="Domains and words to leave out; repeatable.")
@click.option("--against", multiple=True, metavar="EVAL", help="Leave out what holds items of a test; repeatable.")
@click.option("--ngram", type=COUNT, default="13", help="Words of an item that must stand in a row.")
@click.option("--repair", metavar="A,B", help="mojibake,controls,invisible,whitespace,nfc; off.  [default: all]")
@click.option("--pii", type=click.Choice(["mask", "tag", "off"]), default="mask", help="Mail and IPv4 addresses.")
@click.option("--near", metavar="X", default="0.8", help="Share that near-duplicates have in common; fineweb; off.")
@click.option("--shingle", type=COUNT, help="Words that are compared in a row.  [default: 5; 8 characters]")
@click.option("--exact/--no-exact", default=True, help="Leave out copies.")
@click.option("--keep", metavar="WHICH", default="first", help="Of duplicates: first, longest, newest, best:FIELD.")
@click.option("--rehydrate", is_flag=True, show_default=False, help="Write more often what had duplicates.")
@click.option("--lines", type=COUNT, metavar="N", help="Drop lines that N documents have from all but the first.")
@click.option("--paragraphs", type=COUNT, metavar="N", help="The same of paragraphs.")
@click.option("--spans", type=COUNT, metavar="N", help="The same of three sentences in a row.")
@click.option("--compress", type=click.Choice(["zst"]), help="Compress what is written.")
@click.option("--keep-removed", is_flag=True, show_default=False, help="Keep what goes aside, with its text.")
@click.option("--tags-only", is_flag=True, show_default=False, help="Write tags and the report, no text.")
@click.option("--split", default="<|endoftext|>", help="Between documents of a txt: a string, blank, line or file.")
@click.option("--field", help="Key of a jsonl line that holds the text.  [default: text]")
@click.option("--column", help="Column of a parquet file that holds the text.  [default: text]")
@click.option("--limit", metavar="N", help="Stop at the document that reaches it: 10000docs, 1GB or 100Mtok.")
@click.option("--invalid", type=click.Choice(["error", "replace"]), default="error", help="Bytes that are no UTF-8.")
@click.option("--skip-bad", is_flag=True, show_default=False, help="Leave out broken jsonl lines; count and list them.")
@click.option("--memory", type=BYTES, default="2G", help="What the search for duplicates may use, about.")
@click.option("--threads", type=COUNT, help="Threads.  [default: one for each core]")
@click.option("--rank", type=int, help="Which share of the work this process does.  [default: Slurm's, else 0]")
@click.option("--world", type=int, help="How many processes share it.  [default: Slurm's, else 1]")
@click.option("--allow-private", is_flag=True, show_default=False, help="Read addresses of your own network too.")
@click.option("--dry-run", is_flag=True, show_default=False, help="Say how much there is, and write nothing.")
@click.option("--force", is_flag=True, show_default=False, help="Replace what another run wrote to the folder.")
@config_option("Take data.sources, if no SOURCE is given, and from data.clean what is not given here.")
@json_option
def clean_(
    sources: tuple[str, ...],
    config: str | None,
    threads: int | None,
    dry_run: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Leave out what makes text worse to train on, and say what went and why.

    SOURCE is what pylm tokenize takes. DIR gets text_00000.jsonl, each line the document's own fields with its text
    repaired, removed_00000.jsonl with the reasons, tags/ for pylm data rethreshold, and report.html to look at. DIR is
    a SOURCE itself. Interrupt it at any moment and run the same command again: it does what is missing. The files are
    the same to the byte for any number of threads and machines.
    """
    from pylm.cli.frame import cleaned
    from pylm.cli.frame.progress import Progress
    from pylm.data.cleaning.call import clean

    named = sources_of(sources, config, "no text was named", "name a file, a folder, a glob, or - for stdin")
    given = _given(options, cleaning_of(config))
    with Progress("clean", unit="bytes", quiet=as_json) as progress:
        done = clean(
            list(named.items()) if isinstance(named, dict) else named,
            threads=threads or 0,
            dry_run=dry_run,
            progress=progress,
            say=say if as_json else progress.say,
            **given,
        )
    if as_json:
        print_json(cleaned.as_json(done))
        return
    for line in cleaned.remarks(done):
        say(line)
    click.echo(cleaned.preview(done) if dry_run else cleaned.closing(done))


def _given(options: dict[str, Any], configured: dict[str, Any]) -> dict[str, Any]:
    """Return the options, those that were not typed as the configuration has them."""
    from dataclasses import asdict

    from pylm.data.cleaning.options import CleanOptions

    told = {"set" if name == "set_" else name: value for name, value in options.items()}
    typed = click.get_current_context().get_parameter_source
    standing = {name for name in told if typed("set_" if name == "set" else name) is ParameterSource.DEFAULT}
    if told["repair"] is None:
        told["repair"] = True
    ours = asdict(CleanOptions.of(configured))
    return told | {name: ours[name] for name in configured if name in standing}
