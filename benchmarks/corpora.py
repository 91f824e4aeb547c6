"""The texts of the comparisons: real ones where a folder is given, else made here, the same ones each time."""

from __future__ import annotations

import gzip
import itertools
import random
import sysconfig
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

CODE_BYTES = 60_000_000
OTHER_BYTES = 25_000_000  # less of another kind of text says little about a second thread
DICTIONARIES = Path("/usr/share/dictd")
MANUALS = Path("/usr/share/man")
GO = (Path("/usr/local/go"), Path("/usr/lib/go"))
MADE_BYTES = 20_000_000
SEPARATOR = "<|endoftext|>"


class Texts:
    """Paths of `prose`, `multilingual` and `code`, documents separated by `<|endoftext|>`."""

    def __init__(self, folder: Path | None, vocabs: Path | None) -> None:
        """`folder` may hold some of prose.txt, multilingual.txt and code.txt; `vocabs` the published vocabularies."""
        self.folder = folder
        self.vocabs = vocabs
        self.made = Path(tempfile.gettempdir()) / "pylm-benchmark-texts"

    @property
    def prose(self) -> Path:
        """English prose."""
        return self._given_or("prose", lambda: made_up(random.Random(1), "abcdefghijklmnoprstuvwy", MADE_BYTES, 40_000))

    @property
    def multilingual(self) -> Path:
        """Text in many scripts, much of it without spaces."""
        han = "".join(chr(c) for c in range(0x4E00, 0x5200))
        alphabet = han + "".join(
            chr(c) for c in (*range(0x3041, 0x3097), *range(0x0430, 0x0450), *range(0x0905, 0x0939))
        )
        return self._given_or("multilingual", lambda: made_up(random.Random(2), alphabet, MADE_BYTES, 400_000))

    @property
    def code(self) -> Path:
        """Python's standard library and what is installed beside it, in sorted order, cut at 60 MB."""
        return self._given_or("code", sources)

    def other(self, kind: str) -> Path | None:
        """`dictionary`, `go` or `manuals`, of what is installed (`OTHERS`); None where that is under 25 MB."""
        path = self.made / f"{kind}.txt"
        if not path.exists():
            joined = SEPARATOR.join(text.decode("utf-8", errors="replace") for text in OTHERS[kind]())
            if len(joined.encode()) < OTHER_BYTES:
                return None
            self.made.mkdir(parents=True, exist_ok=True)
            path.write_text(joined, encoding="utf-8")
        return path

    def vocabulary(self, name: str) -> Path | None:
        """A published vocabulary's file, None where --vocabs does not hold it."""
        path = self.vocabs / name if self.vocabs else None
        return path if path and path.exists() else None

    def _given_or(self, name: str, make: Callable[[], str]) -> Path:
        given = self.folder / f"{name}.txt" if self.folder else None
        if given and given.exists():
            return given
        path = self.made / f"{name}.txt"
        if not path.exists():
            self.made.mkdir(parents=True, exist_ok=True)
            partial = path.with_suffix(".partial")
            partial.write_text(make(), encoding="utf-8")
            partial.replace(path)
        return path


def made_up(rng: random.Random, alphabet: str, size: int, words: int) -> str:
    """Documents of invented words drawn by Zipf's law, so that counts and caches meet what they meet in real text."""
    vocabulary = ["".join(rng.choices(alphabet, k=1 + min(int(rng.expovariate(0.28)), 14))) for _ in range(words)]
    shares = list(itertools.accumulate(1.0 / (rank + 2.7) for rank in range(words)))
    pieces: list[str] = []
    length = 0
    while length < size:
        chosen = rng.choices(vocabulary, cum_weights=shares, k=rng.randint(6, 24))
        chosen[0] = chosen[0].capitalize()
        sentence = " ".join(chosen) + rng.choice(
            [". ", ". ", "? ", ".\n", ".\n\n", ", it's 19" + str(rng.randint(10, 99)) + ". "]
        )
        pieces.append(sentence)
        length += len(sentence.encode())
        if rng.random() < 0.004:
            pieces.append(SEPARATOR)
    return "".join(pieces)


def sources() -> str:
    """Source code that any installation of Python has."""
    folders = [Path(sysconfig.get_paths()["stdlib"]), Path(sysconfig.get_paths()["purelib"])]
    paths = sorted({path for folder in folders for path in folder.rglob("*.py")})
    pieces: list[str] = []
    length = 0
    for path in paths:
        piece = path.read_text(encoding="utf-8", errors="replace")
        pieces.append(piece)
        length += len(piece.encode())
        if length > CODE_BYTES:
            break
    return SEPARATOR.join(pieces)


def dictionary() -> Iterable[bytes]:
    """Headwords and what they mean: what Debian's dict-gcide installs, 40 MB."""
    return [gzip.decompress(path.read_bytes()) for path in sorted(DICTIONARIES.glob("gcide.dict.dz"))]


def go() -> Iterable[bytes]:
    """Go's own sources, libraries and tests, in sorted order."""
    folder = next((folder for folder in GO if folder.is_dir()), GO[0])
    return (path.read_bytes() for path in sorted(folder.rglob("*.go")) if path.is_file())


def manuals() -> Iterable[bytes]:
    """Manual pages in four languages: of Debian's manpages-{de,fr,pl,ja} and their -dev, 44 MB."""
    folders = [MANUALS / language for language in ("de", "fr", "pl", "ja")]
    return (
        gzip.decompress(path.read_bytes())
        for folder in folders
        for path in sorted(folder.rglob("*.gz"))
        if not path.is_symlink()
    )


OTHERS: dict[str, Callable[[], Iterable[bytes]]] = {"dictionary": dictionary, "go": go, "manuals": manuals}
