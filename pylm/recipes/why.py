"""Why a step would run again: what it is made of now, beside what it was made of when it ran."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

from pylm.errors import UsageError, did_you_mean
from pylm.recipes.folder import DONE, STEP, of_step
from pylm.recipes.show import show
from pylm.recipes.standing import Standing

__all__ = ["why"]


def why(
    name: str, step: str, *, out: str | os.PathLike[str] | None = None, size: str | None = None
) -> list[str]:  # fmt: skip
    """Return why a step would run, a sentence a line; of one that waits, why those before it would.

    Args:
        name: a YAML file, or a recipe that comes with pylm.
        step: one of its steps, at a place of the matrix where it has one: anneal-1.
        out: the folder of all that is made.
        size: which of the recipe's sizes.
    """
    known = {each.instance.name: each for each in show(name, out=out, size=size)}
    if step not in known:
        named = [each for each, found in known.items() if found.instance.step == step]
        several = f"{step} is {len(named)} steps: {', '.join(named)}" if named else None
        raise UsageError(f"there is no step {step} in {name}", several or did_you_mean(step, known))
    return list(_reasons(known[step], known, set()))


def _reasons(one: Standing, known: Mapping[str, Standing], said: set[str]) -> Iterator[str]:
    if (step := one.instance.name) in said:
        return
    said.add(step)
    if one.state == "waits":
        yield f"{step} waits for {', '.join(one.waits_for)}"
        for name in one.waits_for:
            yield from _reasons(known[name], known, said)
    elif one.state == "stands":
        yield f"{step} stands: nothing that it is made of has changed since it ended"
    elif one.state == "half done":
        yield f"{step} is half done: it began and did not end; the next run goes on with it"
    else:
        yield from _changes(one)


def _changes(one: Standing) -> Iterator[str]:
    """Yield what is another than in the folder of this step that was begun last."""
    step, before = one.instance.name, None
    for folder in of_step(one.folder.path.parent.parent, step):
        before = folder.read(STEP)
        if before is not None and folder.read(DONE) is not None:
            break
    if before is None:
        yield f"{step} has not run yet"
        return
    found = list(_differences(before, one.record))
    yield f"{step} would run again: {found[0] if found else 'it is of another format'}"
    yield from (f"  and {each}" for each in found[1:])


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    if before["command"] != now["command"]:
        yield f"its command was {before['command']}, and is {now['command']}"
    old, new = _by_name(before), _by_name(now)
    for name in (*new, *(name for name in old if name not in new)):
        if name not in old:
            yield f"{name} was not given, and is {_spelled(new[name])}"
        elif name not in new:
            yield f"{name} was {_spelled(old[name])}, and is not given"
        elif old[name] == new[name]:
            continue
        elif old[name][1] or new[name][1]:
            was, became = _hashes(old[name]), _hashes(new[name])
            yield f"what {new[name][0]} ({name}) holds is another: it was {was} and is {became}"
        else:
            yield f"{name} was {old[name][0]}, and is {new[name][0]}"


Said = tuple[str, tuple[str, ...]]  # a word as one reads it, and the hashes of the contents that it names


def _by_name(record: Mapping[str, Any]) -> dict[str, Said]:
    """Return the words of a record by what they are called; an option that is given twice has a number."""
    found: dict[str, Said] = {}
    for (name, *parts), read_as in zip(record["words"], record["read_as"], strict=True):
        number = sum(other.partition(" #")[0] == name for other in found) + 1
        content = tuple(part["content"] for part in parts if isinstance(part, dict))
        found[name if number == 1 else f"{name} #{number}"] = read_as, content
    return found


def _hashes(said: Said) -> str:
    return ", ".join(f"{each[:12]}…" for each in said[1]) or said[0]


def _spelled(said: Said) -> str:
    return said[0] or "on"
