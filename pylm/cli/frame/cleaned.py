"""What became of text that was cleaned, in the words of `pylm data clean`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pylm.data.cleaning.call import Cleaned

__all__ = ["as_json", "closing", "most_went", "preview", "remarks", "share_kept"]

SHOWN = 3  # reasons of a closing line
STEPS = {"url": "url-list", "classifier": "classifier", "contaminated": "against"}  # reasons, and what asks for them


def as_json(done: Cleaned) -> dict[str, Any]:
    """Return what programs are told, as plain values."""
    manifest = done.manifest or {}
    return {
        "folder": str(done.folder),
        "plan": done.plan,
        "found": done.found,
        "replaced": done.replaced,
        "missing_units": done.missing,
        "progress": done.progress,
        **{key: manifest.get(key) for key in ("documents", "bytes", "kept", "removed")},
    }


def preview(done: Cleaned) -> str:
    """Return the line of a dry run."""
    from pylm.config.units import counted, format_bytes

    files, units = counted(done.plan["files"], "file"), counted(done.plan["units"], "unit")
    return f"{files}, {format_bytes(done.plan['bytes'])} of text in {units} → {done.folder}"


def remarks(done: Cleaned) -> list[str]:
    """Return what is said beside the result."""
    from pylm.config.units import counted

    lines = [f"{name} is named more than once, and taken once" for name in done.plan["repeated"][:5]]
    if done.replaced:
        lines.append(f"replaced {counted(done.replaced, 'file')} of an earlier run")
    return lines


def _skipped(done: Cleaned) -> list[str]:
    """Return how many broken lines of the sources were left out; they are no documents."""
    from pylm.config.units import counted

    if done.manifest is None or not done.manifest["settings"]["skip_bad"]:
        return []
    report = json.loads((done.folder / "report.json").read_text(encoding="utf-8"))
    count = report["skipped"]["count"]
    return [f"{counted(count, 'broken line')} left out; report.json lists the first"] if count else []


def closing(done: Cleaned) -> str:
    """Return the line that the command ends with."""
    from pylm.config.units import format_bytes, format_duration

    if done.manifest is None:
        what = "unit is" if done.missing == 1 else "units are"
        return f"this share is done; {done.missing} {what} still to come from other ranks"
    line = _kept(done.manifest)
    if (seconds := done.progress.get("seconds", 0.0)) > 0:
        line += f", {format_bytes(done.progress['bytes'] / seconds)}/s, {format_duration(seconds)}"
    line = f"{done.folder} is done already: {line}" if done.found else f"{line} → {done.folder}"
    lines = [
        line,
        *_gone(done.manifest),
        *_skipped(done),
        *most_went(done.manifest, str(done.folder)),
        f"what went and why: {done.folder}/report.html",
    ]
    return "\n".join(lines)


def most_went(manifest: dict[str, Any], folder: str) -> list[str]:
    """Return what is said where more than half of the text went: what took most of it, and how to keep more."""
    kept, size = manifest["kept"]["bytes"], manifest["bytes"]
    if 2 * kept >= size or not manifest["removed"]:
        return []
    first = max(manifest["removed"], key=lambda one: one["bytes"])
    remedy = _remedy(first["reason"], first["key"], folder)
    went = "all of the text went" if not kept else f"most of the text went ({kept / size:.1%} of its bytes are left)"
    return [f"{went}, {first['bytes'] / size:.0%} of it for {first['reason']}", remedy]


def _remedy(reason: str, key: str, folder: str) -> str:
    """Return what to do where one reason takes most of a text."""
    if reason == "exact_duplicate":
        return "these are copies of what was kept: --no-exact keeps them"
    if reason == "near_duplicate":
        return "these are nearly what was kept: --near 0.95 or --near off keeps more of them"
    if reason == "language":
        return "name more --languages, or none of them for all"
    if reason in STEPS:
        return f"leave out --{STEPS[reason]} to keep it"
    if "." not in key:
        return "the report shows some of it"
    return (
        f"if these are no web pages: --rules none leaves out duplicates alone, --set {key}=off turns this rule off; "
        f"pylm data rethreshold {folder} {key}=off says what would stay"
    )


def share_kept(manifest: dict[str, Any]) -> str:
    """Return how many documents were kept, and what most of the others went for."""
    return "; ".join([_kept(manifest), *_gone(manifest)])


def _kept(manifest: dict[str, Any]) -> str:
    kept, documents = manifest["kept"]["documents"], manifest["documents"]
    return f"{kept:,} of {documents:,} documents kept ({kept / max(documents, 1):.1%})"


def _gone(manifest: dict[str, Any]) -> list[str]:
    reasons = [f"{one['documents']:,} {one['reason']}" for one in manifest["removed"][:SHOWN]]
    more = len(manifest["removed"]) - len(reasons)
    gone = ", ".join(reasons) + (f", {more} more reasons" if more > 0 else "")
    return [f"gone: {gone}"] if reasons else []
