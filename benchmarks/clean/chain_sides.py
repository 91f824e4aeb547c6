"""What runs chains of filters, each over the same texts: ours and datatrove's. Runs in the environment of each."""

from __future__ import annotations

import functools
import json
import multiprocessing
import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

SEPARATOR = "<|endoftext|>"
LENGTHS = (60, 300, 600, 1500, 3000, 6000)  # characters of a passage
WORKERS = 2

# decisions


def documents(paths: list[str]) -> list[str]:
    return [text for path in paths for text in Path(path).read_text(encoding="utf-8").split(SEPARATOR)]


def passages(texts: list[str], count: int) -> Iterator[str]:
    """Cut from documents at random."""
    draw = random.Random(1)
    for _ in range(count):
        text, length = draw.choice(texts), draw.choice(LENGTHS)
        start = draw.randrange(max(1, len(text) - length))
        yield text[start : start + length]


class Judge:
    """Decides on texts by our rules and by datatrove's filters."""

    def __init__(self, rules: str, filters: list[Any], language: str) -> None:
        """The rules are JSON."""
        from pylm import _rust

        self.rules, self.filters, self.language = _rust.CleaningRules(rules), filters, language

    def __call__(self, text: str) -> tuple[str | None, str | None, bool]:
        """Our reason, datatrove's, and whether both leave the same text."""
        from tests.data.cleaning.rules.datatrove_decisions import decide

        measures, rewritten = self.rules.measure(text, self.language)
        found = self.rules.decide(measures, self.language)
        reason, left = decide(self.filters, text)
        same = reason is not None or left == (text if rewritten is None else rewritten)
        return found[0] if found else None, reason, same


def share_words() -> None:
    """Give datatrove our words and sentences."""
    from pylm import _rust
    from tests.data.cleaning.rules import datatrove_decisions

    datatrove_decisions.give(functools.lru_cache(3)(_rust.words_of), _rust.sentences_of)


def english(name: str) -> Judge:
    from pylm import _rust
    from tests.data.cleaning.rules.datatrove_decisions import CHAINS

    return Judge(_rust.rules_preset(name), CHAINS[name](), "eng_Latn")


def fineweb2(language: str, folder: str) -> Judge:
    """FineWeb-2's chain as its file of the language has it.

    Where characters are words, pylm turns what the file says of words into what holds for characters, and datatrove is
    given these thresholds too.
    """
    import yaml
    from datatrove.pipeline.filters import FineWebQualityFilter, GopherQualityFilter, GopherRepetitionFilter

    from pylm import _rust
    from pylm.data.cleaning import languages

    rules, _ = languages.fineweb2(json.loads(_rust.rules_preset("fineweb2")), folder)
    own = rules["languages"][language]
    rules["languages"] = {language: own}
    if language[4:] in ("Hani", "Jpan", "Thai", "Laoo", "Khmr", "Mymr"):
        said = filed(json.loads(_rust.rules_full(json.dumps(rules)))["default"] | own)
    else:
        said = yaml.safe_load(Path(folder, f"{language}.yml").read_text(encoding="utf-8"))
    repetition = GopherRepetitionFilter(
        dup_para_frac=0,
        dup_line_char_frac=0,
        dup_para_char_frac=0,
        dup_line_frac=said["dup_line_frac"],
        top_n_grams=said["top_n_grams"],
        dup_n_grams=said["dup_n_grams"],
    )
    fineweb = FineWebQualityFilter(
        short_line_thr=999,
        char_duplicates_ratio=said.get("char_duplicates_ratio", 0.1),
        line_punct_thr=said["line_punct_thr"],
        new_line_ratio=said["new_line_ratio"],
    )
    names = {"min_avg_word_length", "max_avg_word_length", "max_non_alpha_words_ratio", *COUNTED}
    chosen = {name: said[name] for name in names if name in said}
    return Judge(
        json.dumps(rules), [repetition, fineweb, GopherQualityFilter(stop_words=said["stopwords"], **chosen)], language
    )


COUNTED = {"min_doc_words": "gopher.word_count", "max_doc_words": "gopher.max_word_count"}
COUNTED |= {"max_symbol_word_ratio": "gopher.hash_ratio", "min_stop_words": "gopher.stop_words"}
SAID = {
    "dup_line_frac": "repetition.dup_line_frac",
    "line_punct_thr": "fineweb.line_punct_ratio",
    "new_line_ratio": "fineweb.list_ratio",
    "char_duplicates_ratio": "fineweb.char_dup_ratio",
    "min_avg_word_length": "gopher.mean_word_length",
    "max_avg_word_length": "gopher.max_mean_word_length",
    "max_non_alpha_words_ratio": "gopher.alphabetic_words",
    "stopwords": "gopher.stop_word_list",
}


def filed(values: dict[str, Any]) -> dict[str, Any]:
    """Thresholds by our keys as a file of FineWeb-2's would say them, and what such a file does not say."""
    above = ("new_line_ratio", "char_duplicates_ratio")  # of these 0 is a limit
    said = {name: values[key] for name, key in (SAID | COUNTED).items()}
    said |= {name: 1e9 if name in above else 0 for name, value in said.items() if value is None}
    for name, counts in (("top", range(2, 5)), ("dup", range(5, 11))):
        limits = [(count, values[f"repetition.{name}_{count}_gram"]) for count in counts]
        said[f"{name}_n_grams"] = [(count, limit) for count, limit in limits if limit is not None]
    return said


def judged(make: Callable[[], Judge], texts: list[str]) -> dict[str, Any]:
    """How many texts both decide alike, and in how many both name each pair of reasons; on two processes."""
    with multiprocessing.get_context("fork").Pool(WORKERS, _begin, (make,)) as pool:
        answers = pool.map(_judge, texts, chunksize=50)
    pairs = Counter((ours, theirs) for ours, theirs, _ in answers)
    equal = [ours == theirs and same for ours, theirs, same in answers]
    different = [number for number, same in enumerate(equal) if not same]
    return {
        "texts": len(texts),
        "equal": sum(equal),
        "reasons": [[ours, theirs, count] for (ours, theirs), count in pairs.most_common()],
        "different": [[texts[number][:300], *answers[number]] for number in different[:50]],
    }


_judge_of: list[Judge] = []


def _begin(make: Callable[[], Judge]) -> None:
    _judge_of.append(make())


def _judge(text: str) -> tuple[str | None, str | None, bool]:
    return _judge_of[-1](text)


def shared(paths: list[str], name: str, count: int, step: int = 1) -> dict[str, Any]:
    """The English chain of that name on every `step`th document and on passages, words shared."""
    share_words()
    texts = documents(paths)
    return judged(functools.partial(english, name), texts[::step] + list(passages(texts, count)))


def apart(paths: list[str], name: str, count: int, step: int = 1) -> dict[str, Any]:
    """The same, each with its own words."""
    texts = documents(paths)
    return judged(functools.partial(english, name), texts[::step] + list(passages(texts, count)))


def by_language(paths: list[str], folder: str, languages: list[str], count: int) -> dict[str, Any]:
    """FineWeb-2's chain of each language on the documents that are in it and on passages of these, words shared."""
    from pylm import _rust

    share_words()
    every = documents(paths)
    named = [name for name, _ in _rust.LanguageIdentifier().identify(every)]
    answers: list[dict[str, Any]] = []
    for language in languages:
        texts = [text for text, name in zip(every, named, strict=True) if name == language]
        texts += list(passages(texts, count)) if texts else []
        answers.append(judged(functools.partial(fineweb2, language, folder), texts))
        print(language, answers[-1]["texts"], answers[-1]["equal"])
    summed = {name: sum(answer[name] for answer in answers) for name in ("texts", "equal")}
    joined = {name: [one for answer in answers for one in answer[name]] for name in ("reasons", "different")}
    return summed | joined


# speed


def texts_of(path: str) -> list[str]:
    return [json.loads(line)["text"] for line in Path(path).read_text(encoding="utf-8").splitlines()]


def figures(seconds: float, texts: list[str], kept: int) -> dict[str, Any]:
    """With the seconds of a gigabyte of text, since sides read more and less of it."""
    size = sum(len(text.encode()) for text in texts)
    return {
        "seconds": seconds,
        "kept": kept / len(texts),
        "rate": size / seconds / 1e6,
        "a gigabyte": seconds / size * 1e9,
    }


def chain(every: str, sample: str) -> dict[str, Any]:
    """Our rules alone on two processes: text in memory to decisions, with the text that is left."""
    del sample
    _texts.extend(texts_of(every))
    with multiprocessing.get_context("fork").Pool(WORKERS) as pool:
        pool.map(_kept, [range(1)] * WORKERS, chunksize=1)
        begun = time.perf_counter()
        kept = sum(pool.map(_kept, [range(at, len(_texts), 64) for at in range(64)], chunksize=1))
        seconds = time.perf_counter() - begun
    return figures(seconds, _texts, kept)


_texts: list[str] = []


@functools.cache
def _rules() -> Any:
    from pylm import _rust

    return _rust.CleaningRules(_rust.rules_preset("fineweb"))


def _kept(numbers: range) -> int:
    rules = _rules()
    return sum(rules.decide(rules.measure(_texts[number])[0]) is None for number in numbers)


def command(every: str, sample: str) -> dict[str, Any]:
    """`pylm data clean` from jsonl to jsonl, without a search for near-duplicates."""
    from pylm import data

    del sample
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        data.clean(every, out=f"{folder}/out", rules="fineweb", near="off", threads=WORKERS)
        seconds = time.perf_counter() - begun
        report = json.loads(Path(folder, "out", "report.json").read_text(encoding="utf-8"))
    return figures(seconds, texts_of(every), report["kept"]["documents"])


def datatrove(every: str, sample: str) -> dict[str, Any]:
    """FineWeb's filters in its order, from jsonl to jsonl, two tasks on two workers, of the sample."""
    from datatrove.executor.local import LocalPipelineExecutor
    from datatrove.pipeline.readers import JsonlReader
    from datatrove.pipeline.writers import JsonlWriter

    from tests.data.cleaning.rules.datatrove_decisions import CHAINS

    del every
    with tempfile.TemporaryDirectory() as folder:
        lines = Path(sample).read_text(encoding="utf-8").splitlines()
        Path(folder, "in").mkdir()
        for part in range(WORKERS):
            Path(folder, "in", f"{part}.jsonl").write_text("\n".join(lines[part::WORKERS]) + "\n", encoding="utf-8")
        pipeline = [JsonlReader(f"{folder}/in"), *CHAINS["fineweb"](), JsonlWriter(f"{folder}/out", compression=None)]
        executor = LocalPipelineExecutor(pipeline, tasks=WORKERS, workers=WORKERS, logging_dir=f"{folder}/logs")
        begun = time.perf_counter()
        executor.run()
        seconds = time.perf_counter() - begun
        kept = sum(len(file.read_bytes().splitlines()) for file in Path(folder, "out").glob("*.jsonl"))
    return figures(seconds, texts_of(sample), kept)
