"""Languages by name, and where the rules draw the line for each: our own thresholds, or FineWeb-2's files."""

from __future__ import annotations

import json
import math
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path, PurePosixPath
from typing import Any

from pylm import _rust
from pylm.errors import DataError, UsageError, did_you_mean

__all__ = ["built_in", "fineweb2", "name_of", "resolve"]

Settings = dict[str, Any]  # of rules: families, default, languages
# A file of FineWeb-2's says under these names what the rules call so.
FINEWEB2 = {
    "dup_line_frac": "repetition.dup_line_frac",
    "line_punct_thr": "fineweb.line_punct_ratio",
    "new_line_ratio": "fineweb.list_ratio",
    "min_avg_word_length": "gopher.mean_word_length",
    "max_avg_word_length": "gopher.max_mean_word_length",
    "max_non_alpha_words_ratio": "gopher.alphabetic_words",
    "stopwords": "gopher.stop_word_list",
}
FINEWEB2_GRAMS = {
    "top_n_grams": ("repetition.top_{}_gram", range(2, 5)),
    "dup_n_grams": ("repetition.dup_{}_gram", range(5, 11)),
}
# Where each character is a word there are more words, and what is counted for each word is less.
COUNTS = ("gopher.word_count", "gopher.max_word_count")
SHARES = ("gopher.hash_ratio", "gopher.ellipsis_ratio", "fineweb.list_ratio")
# What does not ask for words.
WORDLESS = (
    *(f"repetition.dup_{what}_frac" for what in ("line", "para", "line_char", "para_char")),
    "fineweb.line_punct_ratio",
    "fineweb.char_dup_ratio",
    "gopher.alphabetic_words",
    "gopher.stop_words",
    "c4.sentences",
)
OFF = ("gopher.mean_word_length", "gopher.max_mean_word_length", "c4.min_words_per_line", "fineweb.short_line_ratio")
LARGEST = 1 << 20  # bytes of a file of rules
FEWEST_STOP_WORDS = 5  # of a list that was made of longer words, so many must be one character


@cache
def _names() -> list[tuple[str, str, str]]:
    """Return code, short code and English name of each language that has a name, the usual script first."""
    return _rust.language_names()


def name_of(code: str) -> str:
    """Return a language's name in English, or its code where it has none here."""
    names = {known: name for known, _, name in reversed(_names())}
    return names.get(code) or (f"unknown ({code[4:]})" if code.startswith("und_") else code)


def resolve(written: str) -> list[str]:
    """Return the codes of what a user calls a language: en, eng, eng_Latn, English. A script that is not said is any.

    Raises:
        UsageError: No language is called so.
    """
    word = written.strip()
    if _is_code(word):
        return [word]
    low = word.lower().replace("-", "_")
    known = _names()
    found = [code for code, short, name in known if low in (code.lower(), code[:3], short) or low == name.lower()]
    found += [code for code, _, name in known if name.lower() == f"{low} ({code[4:].lower()})"]
    if low.startswith("zh_"):  # Chinese has one code, whichever characters it is written with
        found.append("cmn_Hani")
    if not found:
        spelled = [name for _, _, name in known] + [code for code, _, _ in known]
        hint = did_you_mean(word, spelled) or "write en, eng, eng_Latn or English"
        raise UsageError(f"{word or 'nothing'} is no language that is known here", hint)
    codes = dict.fromkeys(found)
    return [
        *codes,
        *(
            code
            for code, short, _ in known
            if code[:3] in {c[:3] for c in codes} and code not in codes and len(low) < 4
        ),
    ]


def _is_code(word: str) -> bool:
    language, line, script = word[:3], word[3:4], word[4:]
    return len(word) == 8 and line == "_" and language.isascii() and language.islower() and script.istitle()


def built_in(settings: Settings) -> Settings:
    """Return settings of rules with thresholds of our own for thirty languages.

    English keeps what the settings say. A language without thresholds keeps what holds for any script; what does not
    (stop words, lengths of words, ends of lines, sentences) is off for it. A script without spaces is measured by its
    characters.
    """
    given, said = _shipped(), _full(settings)
    languages: dict[str, dict[str, Any]] = _of_scripts(_of_words(settings))
    for code, own in given["languages"].items():
        script = languages.get(f"und_{code[4:]}")
        if code == "eng_Latn":
            languages[code] = {key: value for key, value in said.items() if key in given["default"]}
        elif script is None:
            kept = {key: value for key, value in said.items() if key in given["default"]}
            languages[code] = {**kept, **given["spaced"], **own}
        else:
            languages[code] = {**script, **own}
    return _with(settings, given["default"], languages)


def fineweb2(settings: Settings, folder: str | Path) -> tuple[Settings, dict[str, float]]:
    """Return settings of rules with the thresholds of FineWeb-2's files, and how sure of each language one must be.

    The folder holds a file for each language, `deu_Latn.yml`; a folder whose `configs` does is as good, and so is one
    with the archive that `pylm data get fineweb2-rules` fetched. A language without a file keeps what holds for any.

    Raises:
        DataError: No such folder, or a file in it is not one of these.
    """
    place = Path(folder)
    given = _given(place)
    if not given:
        what = "holds no file of rules such as deu_Latn.yml" if place.is_dir() else "is no folder"
        raise DataError(f"{folder} {what}", "pylm data get fineweb2-rules fetches FineWeb-2's")
    said, words = _full(settings), _of_words(settings)
    default = _shipped()["default"]
    languages, scores = _of_scripts(words), {}
    for code, (name, content) in given.items():
        own, scores[code] = _read(name, content)
        if "gopher.stop_word_list" in own:  # how many of them there must be its file does not say
            own["gopher.stop_words"] = words.get("gopher.stop_words")
        characters = _shipped()["characters"].get(code[4:])
        languages[code] = own if characters is None else _by_characters({**words, **own}, characters)
    # FineWeb-2 has no file for English, which keeps what the settings say
    languages.setdefault("eng_Latn", {key: value for key, value in said.items() if key in default})
    return _with(settings, default, languages), scores


@cache
def _shipped() -> dict[str, Any]:
    """Return the thresholds of thresholds.json, which docs/languages.md explains."""
    made: dict[str, Any] = json.loads(files("pylm.data.cleaning").joinpath("thresholds.json").read_text("utf-8"))
    return made


def _of_words(settings: Settings) -> dict[str, Any]:
    """Return what the settings say, with the limits of n-grams that the rules have of themselves.

    Those of characters follow from them, and a limit that somebody typed is that of its own key alone.
    """
    unsaid = _full({**settings, "default": {}})
    return {**_full(settings), **{key: value for key, value in unsaid.items() if key.endswith("_gram")}}


def _of_scripts(said: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return thresholds by script, for languages without their own: where it has no spaces, or others than ours."""
    given = _shipped()
    by_script = {script: {**given["default"], **own} for script, own in given["scripts"].items()}
    for script, characters in given["characters"].items():
        by_script[script] = {**_by_characters(said, characters), **given["default"], **_grams(said, characters)}
    return {f"und_{script}": values for script, values in by_script.items()}


def _by_characters(words: Mapping[str, Any], characters: float) -> dict[str, Any]:
    """Return thresholds for text whose characters are its words, from those for words of so many characters.

    What counts words counts more of them; a share of them is smaller; and n-grams are as long as that many words.
    """
    made = {key: value for key, value in words.items() if key in WORDLESS}
    for keys, factor in ((COUNTS, characters), (SHARES, 1 / characters)):
        made |= {key: None if words[key] is None else round(words[key] * factor, 4) for key in keys if key in words}
    lists = words.get("gopher.stop_word_list", [])
    made["gopher.stop_word_list"] = [word for word in lists if len(_rust.words_of(word)) == 1]
    if len(made["gopher.stop_word_list"]) < FEWEST_STOP_WORDS:
        made["gopher.stop_words"] = None
    return {**made, **dict.fromkeys(OFF), **_grams(words, characters)}


def _grams(words: Mapping[str, Any], characters: float) -> dict[str, Any]:
    """Return the limits of repeated n-grams of characters that mean as much text as those of words.

    Five words are the fewest that are looked for twice. Where ten characters are fewer, twice as much of the text must
    repeat: in declarations of human rights, which repeat themselves, it is up to 0.23. The commonest four characters,
    with the three spaces that are counted between them, stand for the commonest two words.
    """
    made: dict[str, Any] = {"repetition.top_2_gram": None, "repetition.top_3_gram": None}
    pair = words.get("repetition.top_2_gram")
    made["repetition.top_4_gram"] = None if pair is None else round(pair * 7 / 4, 3)
    for count in range(5, 11):
        as_words = int(count / characters)
        made[f"repetition.dup_{count}_gram"] = words.get(f"repetition.dup_{as_words}_gram") if as_words >= 5 else None
    if int(10 / characters) < 5 and (five := words.get("repetition.dup_5_gram")) is not None:
        made["repetition.dup_10_gram"] = min(2 * five, 1)
    return made


def _full(settings: Settings) -> Mapping[str, Any]:
    """Return every key of the settings' families with its value for all languages."""
    full: Mapping[str, Any] = json.loads(_rust.rules_full(json.dumps(settings)))["default"]
    return full


def _with(settings: Settings, default: Mapping[str, Any], languages: Mapping[str, Mapping[str, Any]]) -> Settings:
    """Return settings with thresholds for their own families: for all languages, and for each."""
    families = set(settings["families"])
    keys = _full(settings)

    def own(values: Mapping[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in values.items() if key in keys}

    made = {**settings, "families": list(settings["families"])} if families else dict(settings)
    made["default"] = {**settings["default"], **own(default)}
    made["languages"] = {code: chosen for code, values in languages.items() if (chosen := own(values))}
    return made


def _given(place: Path) -> dict[str, tuple[str, bytes]]:
    """Return FineWeb-2's files of a folder, or of an archive in it, by the codes of their languages in order."""
    inside = place / "configs" if (place / "configs").is_dir() else place
    paths = {path.stem: path for path in sorted(inside.glob("*.yml")) if _is_code(path.stem)}
    try:
        if paths:
            return {code: (str(path), path.read_bytes()) for code, path in paths.items()}
        for archive in sorted(place.glob("*.tar.gz")):
            if found := dict(sorted(_packed(archive))):
                return found
    except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
        raise DataError(f"{place} cannot be read as rules: {error}", "fetch it again") from None
    return {}


def _packed(archive: Path) -> Iterator[tuple[str, tuple[str, bytes]]]:
    """Yield code, name and content of each file of rules in an archive."""
    with tarfile.open(archive, "r:gz") as opened:
        for member in opened:
            path = PurePosixPath(member.name)
            if path.parent.name == "configs" and path.suffix == ".yml" and _is_code(path.stem) and member.isfile():
                content = opened.extractfile(member)
                yield path.stem, (f"{archive}: {path.name}", content.read(LARGEST) if content else b"")


def _read(name: str, content: bytes) -> tuple[dict[str, Any], float]:
    """Return the thresholds of a file of FineWeb-2's by the rules' names, and its score of the language."""
    import yaml

    try:
        given = yaml.load(content.decode("utf-8"), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (ValueError, AttributeError, RecursionError, yaml.YAMLError) as error:  # a date or number may be none
        raise DataError(f"{name} cannot be read as rules: {str(error).splitlines()[0]}", "fetch it again") from None
    hint = f"FineWeb-2's files say {', '.join([*FINEWEB2, *FINEWEB2_GRAMS, 'language_score'])}"
    if not isinstance(given, dict):
        raise DataError(f"{name} holds no rules", hint)
    made: dict[str, Any] = {}
    score = 0.0
    for key, value in given.items():
        if key in FINEWEB2_GRAMS and _is_grams(value, FINEWEB2_GRAMS[key][1]):
            made |= {FINEWEB2_GRAMS[key][0].format(count): limit for count, limit in value}
        elif key == "stopwords" and isinstance(value, list):
            made[FINEWEB2[key]] = [str(word) for word in value]
        elif key == "language_score" and _is_number(value):
            score = float(value)
        elif key in FINEWEB2 and key != "stopwords" and _is_number(value):
            # a share of repeated lines of 0 is no limit
            made[FINEWEB2[key]] = None if key == "dup_line_frac" and value == 0 else value
        else:
            raise DataError(f"{name} says {key}: {str(value)[:40]}, which is no rule of FineWeb-2's", hint)
    return made, score


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _is_grams(value: object, lengths: range) -> bool:
    """Whether a value is a list of pairs: how many words, and the limit."""
    if not isinstance(value, list):
        return False
    pairs = (pair for pair in value if isinstance(pair, list) and len(pair) == 2)
    return len(value) == sum(count in lengths and _is_number(limit) for count, limit in pairs)
