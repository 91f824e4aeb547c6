"""Other thresholds for text that was cleaned: the decisions anew, from what was found of each document then."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pylm import _rust
from pylm.data.cleaning.call import Work
from pylm.data.cleaning.options import Settings, changed, pairs
from pylm.errors import UsageError, did_you_mean
from pylm.tokenizer.native import parameters_named
from pylm.wording import call, param

__all__ = ["Rethresholded", "rethreshold"]


@dataclass(frozen=True)
class Rethresholded:
    """Documents by reason, `kept` among them, as they were decided and as they are.

    Attributes:
        documents: How many there are.
        before: By the thresholds of then.
        after: By those of now.
        out: Where the texts went, if anywhere.
    """

    documents: int
    before: dict[str, int]
    after: dict[str, int]
    out: Path | None = None


def rethreshold(
    folder: str | Path,
    set: Settings,
    out: str | Path | None = None,
    *,
    threads: int = 0,
    memory: int = 2 << 30,
    force: bool = False,
) -> Rethresholded:
    """Decide anew which documents of a cleaned folder stay, without their text being read.

    Args:
        folder: What `pylm.data.clean` wrote.
        set: Thresholds by key, such as `{"gopher.word_count": 100}`; None is off.
        out: A folder for the texts as they are divided now; without one it is only counted.
        threads: 0 for as many as there are cores.
        memory: Bytes that the search for duplicates may use where thresholds decide what is compared.
        force: Whether to replace what another run wrote to `out`.
    """
    from pylm.data.cleaning.report import write as write_report

    if out is not None and Path(out).resolve() == Path(folder).resolve():
        raise UsageError(f"{folder} is both read and written", f"name another folder with {param('out')}")
    Work(threads=threads, memory=memory)  # refuses what is no number
    with parameters_named():
        request: dict[str, Any] = _rust.cleaned_request(Path(folder))
        rules = request["rules"]
        _refuse(set, rules["families"], request["named"])
        made = _rust.rethreshold(
            Path(folder),
            json.dumps(changed(rules, pairs(set))),
            out=None if out is None else Path(out),
            threads=threads,
            memory=memory,
            force=force,
            show=write_report,
        )
    return Rethresholded(made["documents"], made["before"], made["after"], None if out is None else Path(out))


def _refuse(given: Settings, families: list[str], named: str) -> None:
    """Refuse keys that cannot be decided anew: of rules that were not measured, and those that change the text."""
    known = {one["key"]: one for one in _rust.rules_keys()}
    for key, _ in pairs(given):
        if key not in known:
            raise UsageError(f"there is no rule {key}", did_you_mean(key, known) or "docs/cleaning-rules.md lists them")
        anew = call("data clean", "SOURCE", out="DIR", set=f"{key}=VALUE")
        if known[key]["family"] not in families:
            raise UsageError(f"{key} was not measured: the rules were {named}", f"clean again: {anew}")
        if not known[key]["rethresholds"]:
            raise UsageError(
                f"{key} decides what is measured or written, not where a line is drawn", f"clean again: {anew}"
            )
