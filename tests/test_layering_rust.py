"""The floors of the Rust half: who may import whom, read from `use` lines and paths, and no circle inside a room."""

import re
from collections.abc import Collection, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "rust" / "src"

# A room is a module; the longest name that fits a file's module is its room. What it may import besides itself:
GROUND = {"error", "threads", "unique", "lock", "id", "memory", "spelling"}
FLOORS: dict[str, set[str]] = {
    "": {"error", "python"},  # lib.rs, the map
    "error": set(),
    "threads": {"error"},
    "spelling": set(),
    "unique": set(),
    "lock": {"error"},
    "files": {"error", "unique"},  # whole or not there
    "ranks": {"error", "files", "lock"},  # several processes that write one folder
    "id": set(),
    "memory": {"id"},
    "pattern": {"error"},
    "input": GROUND - {"memory"} | {"pattern"},
    "bpe": {"bpe.encode", "bpe.vocab"},  # the names that the room shows
    "bpe.alphabet": set(),
    "bpe.model": {"memory", "id"},
    "bpe.merge": {"memory", "id", "bpe.model"},
    "bpe.vocab": {"error", "memory", "pattern", "bpe.alphabet", "bpe.model", "bpe.merge"},
    "bpe.encode": GROUND - {"lock"} | {"pattern", "bpe.model", "bpe.merge", "bpe.vocab"},
    "bpe.train": GROUND | {"pattern", "bpe.alphabet"},
    "shard": GROUND - {"memory"} | {"files", "ranks", "input"},
    "shard.encoder": {"error", "id", "input", "bpe"},  # the one trait between text and ids
    "clean": GROUND | {"pattern"},  # functions of a text, which know no sources
    "clean.run": GROUND | {"files", "ranks", "input"},
    "metrics": {"error", "files"},
    "python": {"*"},
}

TESTS = re.compile(r"(^|/)(tests?|\w+_tests)(\.rs|/)")
USE = re.compile(r"\buse\s+((?:crate|super|self)\b[^;]*);")
PATH = re.compile(r"\b((?:crate|super)(?:::\w+)+)")


def module_of(source: Path, path: Path) -> tuple[str, ...]:
    parts = path.relative_to(source).with_suffix("").parts
    return parts[:-1] if parts[-1] in ("mod", "lib") else parts


def names(tree: str) -> Iterator[str]:
    """Each path of a use tree: of `a::{b, c::{d, e}}` a::b, a::c::d and a::c::e."""
    start = tree.find("{")
    if start < 0:
        yield tree.split(" as ")[0].strip()
        return
    head, inside, depth, item = tree[:start], tree[start + 1 : tree.rindex("}")], 0, ""
    for character in inside + ",":
        depth += {"{": 1, "}": -1}.get(character, 0)
        if character == "," and depth == 0:
            if item.strip():
                yield from (head + name for name in names(item.strip()))
            item = ""
        else:
            item += character


def imports(source: Path) -> dict[str, set[str]]:
    """The modules that each module of the tree names, tests left out."""
    texts = {}
    for path in sorted(source.rglob("*.rs")):
        if not TESTS.search(path.relative_to(source).as_posix()):
            text = path.read_text(encoding="utf-8").split("#[cfg(test)]\nmod ")[0]
            texts[module_of(source, path)] = re.sub(r"//[^\n]*", "", text)
    found: dict[str, set[str]] = {}
    for module, text in texts.items():
        paths = [name for tree in USE.findall(text) for name in names(" ".join(tree.split()))]
        paths += PATH.findall(USE.sub("", text))
        found[".".join(module)] = {".".join(resolve(module, path, texts.keys())) for path in paths} - {".".join(module)}
    return found


def resolve(module: tuple[str, ...], path: str, known: Collection[tuple[str, ...]]) -> tuple[str, ...]:
    """The module that a path means, or that what it means stands in."""
    at: tuple[str, ...] = () if path.startswith("crate") else module
    for part in path.split("::"):
        if part == "super":
            at = at[:-1]
        elif part not in ("crate", "self"):
            if (*at, part) not in known:
                return at
            at = (*at, part)
    return at


def room_of(module: str) -> str:
    fits = [room for room in FLOORS if module == room or module.startswith(f"{room}.")]
    return max(fits, key=len, default="")


def violations(source: Path) -> list[str]:
    found = []
    modules = imports(source)
    for module, named in modules.items():
        room = room_of(module)
        for name in sorted(named):
            other = room_of(name)
            # what a room shows is its own; `bpe` stands for what it shows
            inside = other == room or (room.startswith(f"{other}.") and other != "")
            allowed = FLOORS[room] | ({other} if room.startswith("shard") and other.startswith("shard") else set())
            if not inside and other != "" and "*" not in allowed and other not in allowed:
                found.append(f"{module} imports {name}: {room} may name {sorted(allowed)}")
    found += [f"a circle: {' -> '.join(circle)}" for circle in circles(modules)]
    if any(
        "pyo3" in path.read_text() for path in source.rglob("*.rs") if "python" not in path.relative_to(source).parts
    ):
        found.append("pyo3 is named outside of python")
    return found


def circles(modules: dict[str, set[str]]) -> Iterator[list[str]]:
    """Files that import each other, what a folder's mod.rs shows left out."""
    folders = {module.rsplit(".", 1)[0] for module in modules if "." in module}
    arrows = {module: named - folders for module, named in modules.items() if module not in folders}
    done: set[str] = set()

    def walk(module: str, way: list[str]) -> Iterator[list[str]]:
        if module in way:
            yield [*way[way.index(module) :], module]
        elif module not in done:
            for other in sorted(arrows.get(module, ())):
                yield from walk(other, [*way, module])
            done.add(module)

    for module in sorted(arrows):
        yield from walk(module, [])


def test_rust_keeps_its_floors() -> None:
    assert violations(SOURCE) == []
    assert len(imports(SOURCE)) > 90, "fewer modules than there are: what was read?"


def test_every_floor_is_a_module() -> None:
    known = imports(SOURCE)
    for room, below in FLOORS.items():
        assert {room, *below} - {"*", ""} <= known.keys()


@pytest.mark.parametrize(
    ("file", "line", "complaint"),
    [
        ("memory/key.rs", "use crate::bpe::Encoder;", "memory.key imports bpe"),
        ("id.rs", "use crate::memory::key::fold;", "id imports memory.key"),
        ("bpe/model/mod.rs", "use crate::bpe::merge::by_rank::merge;", "bpe.model imports bpe.merge.by_rank"),
        (
            "bpe/merge/windows.rs",
            "use crate::bpe::{vocab::Vocab, model::Model};",
            "bpe.merge.windows imports bpe.vocab",
        ),
        ("bpe/vocab/mod.rs", "use super::encode::Encoder;", "bpe.vocab imports bpe.encode"),
        ("bpe/train/words.rs", "fn f() { crate::bpe::model::f(); }", "bpe.train.words imports bpe.model"),
        ("bpe/train/saved.rs", "use crate::shard::Lock;", "bpe.train.saved imports shard"),
        ("bpe/encode/many.rs", "use crate::input::Block;", "bpe.encode.many imports input"),
        ("shard/run.rs", "use crate::bpe::Encoder;", "shard.run imports bpe"),
        ("shard/run.rs", "use crate::python::Caller;", "shard.run imports python"),
        ("input/feed.rs", "use crate::shard::Job;", "input.feed imports shard"),
        ("shard/run.rs", "use pyo3::prelude::*;", "pyo3 is named outside"),
        ("shard/task.rs", "use super::run::run;", "a circle: shard.run -> "),
    ],
)
def test_a_planted_import_is_seen(tmp_path: Path, file: str, line: str, complaint: str) -> None:
    for path in SOURCE.rglob("*.rs"):
        copy = tmp_path / path.relative_to(SOURCE)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
    target = tmp_path / file
    target.write_text(f"{line}\n{target.read_text(encoding='utf-8')}", encoding="utf-8")
    assert any(complaint in found for found in violations(tmp_path)), violations(tmp_path)


def test_use_trees_are_read_whole() -> None:
    assert list(names("a::{b, c::{d, e as f}, self}")) == ["a::b", "a::c::d", "a::c::e", "a::self"]
