"""`pylm data show`: a document of shards, its tokens beside their text; the first documents of any other source."""

from __future__ import annotations

import os
from typing import Any

import click

from pylm.cli.frame.command import command, json_option
from pylm.cli.frame.completion import complete_sources
from pylm.cli.frame.printing import print_json
from pylm.cli.frame.types import COUNT

EXAMPLE = """pylm data show data/corpus --document 17
pylm data show tinystories
pylm data show hub:ORG/NAME --column body --documents 10"""
SHOWN = 400  # characters of a document of text
SPLITS = ("train", "val")


@command("show", example=EXAMPLE)
@click.argument("source", metavar="DIR|SOURCE", shell_complete=complete_sources)
@click.option("--document", type=int, default=0, help="Which document, from 0; of a source the first that is shown.")
@click.option("--split", help="Of shards: train or val. Of a txt, between documents: a string, blank, line or file.")
@click.option("--max-tokens", type=int, help="Of shards: tokens to show at most.  [default: 200]")
@click.option("--documents", type=COUNT, help="Of a source: documents to show.  [default: 3]")
@click.option("--field", help="Of a source: key of a jsonl line that holds the text.  [default: text]")
@click.option("--column", help="Of a source: column of a table that holds the text.  [default: text]")
@click.option("--allow-private", is_flag=True, show_default=False, help="Read addresses of your own network too.")
@json_option
def show(
    source: str,
    document: int,
    split: str | None,
    max_tokens: int | None,
    documents: int | None,
    as_json: bool,
    **reading: Any,
) -> None:
    """Show a document of shards, its tokens side by side with their text, or the first documents of a source.

    A folder with a manifest.json is shards. Anything else is a source, as pylm tokenize takes it: its documents are
    shown as they would be read, whole with --json, and no more of it is fetched than that takes.
    """
    from pylm.errors import UsageError

    is_shards = any(os.path.exists(os.path.join(source, name)) for name in ("manifest.json", "job.json"))
    _refuse(source, is_shards, {"documents": documents, **reading} if is_shards else {"max_tokens": max_tokens})
    documents, max_tokens = 3 if documents is None else documents, 200 if max_tokens is None else max_tokens
    if document < 0 or max_tokens < 1 or documents < 1:
        raise UsageError("documents count from 0, and one token is the least to show", "give --document 0 or more")
    if is_shards:
        _show_shards(source, document, split or "train", max_tokens, as_json)
    else:
        _show_text(source, document, documents, as_json, {**reading, "split": split} if split else reading)


def _refuse(source: str, is_shards: bool, options: dict[str, Any]) -> None:
    """Refuse the options of the other kind."""
    from pylm.errors import UsageError

    kind, other = ("shards of tokens", "a source of text") if is_shards else ("a source of text", "shards of tokens")
    for name, value in options.items():
        if value not in (None, False):
            option = f"--{name.replace('_', '-')}"
            raise UsageError(f"{option} is for {other}, and {source} is {kind}", f"leave out {option}")


def _show_shards(folder: str, document: int, split: str, max_tokens: int, as_json: bool) -> None:
    from pylm.cli.frame.masked import masked_line
    from pylm.data.shards import document as read_document
    from pylm.errors import UsageError

    if split not in SPLITS:
        raise UsageError(f"--split {split} is none of a folder of shards", "give --split train or --split val")
    found = read_document(folder, split, document, max_tokens)
    if as_json:
        print_json(found)
        return
    click.echo(f"document {document} of {split}: {found['file']}, token {found['start']:,}, {found['tokens']:,} tokens")
    for token in found["shown"]:
        line = f"{token['id']:>7}  {token['text']}"
        click.echo(masked_line(line, token["counts"]) if "counts" in token else line)
    if (more := found["tokens"] - len(found["shown"])) > 0:
        click.echo(f"… and {more:,} more (--max-tokens)")


def _show_text(source: str, first: int, documents: int, as_json: bool, reading: dict[str, Any]) -> None:
    from itertools import islice

    from pylm.data.streaming import source as source_of
    from pylm.errors import UsageError

    found = list(islice(source_of(source, **reading), first, first + documents))
    if not found:
        raise UsageError(f"{source} has no document {first}", "documents count from 0")
    if as_json:
        print_json([{"id": each.id, "text": each.text, "meta": each.meta} for each in found])
        return
    for number, each in enumerate(found, first):
        name = "" if each.id is None else f" ({each.id})"
        # of a word of the command that is no UTF-8 there are halves of characters, which no line could print
        text = each.text.encode("utf-8", "backslashreplace").decode()
        size = len(each.text.encode("utf-8", "surrogatepass"))
        click.echo(f"document {number}{name}: {len(each.text):,} characters, {size:,} bytes")
        for key, value in each.meta.items():
            click.echo(f"  {key}: {_shortened(str(value), 100)}")
        click.echo(_shortened(text, SHOWN) + "\n")


def _shortened(text: str, characters: int) -> str:
    more = len(text) - characters
    return text if more <= 0 else f"{text[:characters]}… and {more:,} more characters (--json has all)"
