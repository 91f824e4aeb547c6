"""What became of text that was tokenized, in the words of `pylm tokenize`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pylm.data.prepare import Prepared

__all__ = ["as_json", "closing", "preview", "remarks"]


def as_json(done: Prepared) -> dict[str, Any]:
    """Return what programs are told, as plain values."""
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
        "cleaned": None
        if done.cleaned is None
        else {key: done.cleaned[key] for key in ("documents", "kept", "removed")},
    }


def preview(done: Prepared) -> list[str]:
    """Return the lines of a dry run."""
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
    """Return what may surprise of a plan: it is said before the work and after it."""
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


def remarks(done: Prepared) -> list[str]:
    """Return what is said beside the result."""
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


def closing(done: Prepared) -> str:
    """Return the line that the command ends with."""
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
    line = f"{line} → {done.folder}"
    if done.cleaned is not None:
        from pylm.cli.frame.cleaned import share_kept

        line += f"\ncleaned first: {share_kept(done.cleaned)}"
    return line
