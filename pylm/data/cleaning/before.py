"""Text that is cleaned before it is tokenized: `pylm tokenize --clean`."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pylm import _rust
from pylm.data.cleaning.call import Cleaned, Say, Work, clean_opened
from pylm.data.cleaning.options import CleanOptions
from pylm.data.own_tokenizer import Training
from pylm.data.prepare import Prepared, ShardOptions, prepare_as_it_is, request_of
from pylm.data.sources import Sources, opened
from pylm.data.streaming.files import Files, Reading
from pylm.data.streaming.spooling import Spooled
from pylm.errors import PylmError, UsageError
from pylm.tokenizer import Tokenizer
from pylm.tokenizer.native import parameters_named
from pylm.wording import call, options_marked, param

if TYPE_CHECKING:
    from pylm.tokenizer.report import Report

__all__ = ["prepare_cleaned"]


def prepare_cleaned(
    sources: Sources,
    folder: Path,
    tokenizer: Training | Tokenizer | str | Path,
    options: ShardOptions,
    progress: Report | None,
    say: Say,
) -> Prepared:
    """Clean text beside the folder of its shards, tokenize what stays, and remove what lay between; or find all done.

    Interrupted and called again it goes on, in cleaning as in tokenizing.
    """
    wanted = CleanOptions.of(options.clean)
    if wanted.tags_only:
        raise UsageError(f"{param('tags_only', True)} writes no text, and there is none to tokenize", "leave it out")
    wanted = replace(wanted, compress=None, keep_removed=False)  # what lies between goes again
    rules = wanted.rules
    for name, given in (("world", options.world > 1), ("ray", options.ray is not None), ("dry_run", options.dry_run)):
        if given:
            first = call("data clean", "SOURCE", out="DIR", rules=rules)
            raise UsageError(
                f"{param('clean', rules)} goes without {param(name)}", f"{first}, then name DIR as the text"
            )
    work = folder.parent / f".{folder.name}.cleaning"
    plain = replace(options, clean=None)
    with parameters_named(), opened(sources, folder, progress=progress, rows=True) as text:
        for remark in text.look()[1]:
            say(options_marked(remark))
        asked = wanted.asked(sources.reading)
        plan = clean_opened(text, asked, work, Work(dry_run=True), progress).plan
        told = f"{rules}:{plan['identity']}"
        if not options.force and (standing := _standing(folder, tokenizer, plain, told)) is not None:
            return standing
        another = plan["same"] is False  # nobody but this writes there
        cleaned = clean_opened(text, asked, work, Work(threads=options.threads, force=another), progress)
    done = prepare_as_it_is(_texts(cleaned), folder, tokenizer, plain, progress, say, told)
    shutil.rmtree(work, ignore_errors=True)  # what is interrupted stays, for the next call
    return replace(done, cleaned=cleaned.manifest)


def _texts(cleaned: Cleaned) -> Sources:
    """Return the kept text as files that go by their content: they are the same again wherever they lie."""
    assert cleaned.manifest is not None
    texts = [file for file in cleaned.manifest["files"] if file["path"].startswith("text_")]
    files = (
        Spooled(f"cleaned {name}", cleaned.folder / name, file["size"], file["sha256"], name)
        for file in texts
        if file["size"] and (name := file["path"])
    )
    return Sources((Files(tuple(files), Reading()),), Reading())


def _standing(
    folder: Path, tokenizer: Training | Tokenizer | str | Path, options: ShardOptions, told: str
) -> Prepared | None:
    """Return the shards of a folder where they are of this text, cleaned so: it need not be cleaned again."""
    try:
        manifest = _rust.shards_manifest(folder)
        if isinstance(tokenizer, Training):
            if _rust.shards_training(folder) != tokenizer.wishes:
                return None
            tokenizer = folder
        tok = tokenizer if isinstance(tokenizer, Tokenizer) else Tokenizer.load(tokenizer)
    except PylmError:
        return None
    asked = request_of(Reading(), tok, options, told)
    names = [shard["file"] for split in manifest["splits"].values() for shard in split["shards"]]
    if {key: manifest["settings"].get(key) for key in asked} != asked or not all(
        (folder / name).is_file() for name in names
    ):
        return None
    return Prepared(folder, {}, manifest, found=True, vocab_size=tok.vocab_size)
