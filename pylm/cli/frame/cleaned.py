"""What became of text that was cleaned, in the words of `pylm data clean`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pylm.data.cleaning.call import Cleaned

__all__ = ["as_json", "closing", "preview", "remarks", "share_kept"]

SHOWN = 3  # reasons of a closing line


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
    lines = [f"{name} is named more than once, and taken once" for name in done.plan["repeated"][:5]]
    if done.replaced:
        lines.append(f"replaced {done.replaced} files of an earlier run")
    return lines


def closing(done: Cleaned) -> str:
    """Return the line that the command ends with."""
    from pylm.config.units import format_bytes, format_duration

    if done.manifest is None:
        what = "unit is" if done.missing == 1 else "units are"
        return f"this share is done; {done.missing} {what} still to come from other ranks"
    line = share_kept(done.manifest)
    if (seconds := done.progress.get("seconds", 0.0)) > 0:
        line += f", {format_bytes(done.progress['bytes'] / seconds)}/s, {format_duration(seconds)}"
    line = f"{done.folder} is done already: {line}" if done.found else f"{line} → {done.folder}"
    if not done.manifest["kept"]["documents"]:
        line += "\nnothing was kept: --rules none removes duplicates alone, --set KEY=off turns a rule off"
    return f"{line}\nwhat went and why: {done.folder}/report.html"


def share_kept(manifest: dict[str, Any]) -> str:
    """Return how many documents were kept, and what most of the others went for."""
    kept, documents = manifest["kept"]["documents"], manifest["documents"]
    line = f"{kept:,} of {documents:,} documents kept ({kept / max(documents, 1):.1%})"
    reasons = [f"{one['documents']:,} {one['reason']}" for one in manifest["removed"][:SHOWN]]
    more = len(manifest["removed"]) - len(reasons)
    gone = ", ".join(reasons) + (f", {more} more reasons" if more > 0 else "")
    return f"{line}; gone: {gone}" if reasons else line
