"""The rules of Gopher, C4 and FineWeb in plain Python, given words and sentences: what the fast ones must equal."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable

STOP_WORDS = {"the", "be", "to", "of", "and", "that", "have", "with"}
POLICY = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")
CITATION = re.compile(r"\[\d*]|\[edit]|\[citation needed]")
Measures = dict[str, float]


def repeated(parts: Iterable[str]) -> tuple[int, int, int]:
    """How many parts there are, how many came before, and the characters of those."""
    seen: set[str] = set()
    every = list(parts)
    again = [part for part in every if part in seen or seen.add(part)]  # type: ignore[func-returns-value]
    return len(every), len(again), sum(map(len, again))


def repetition(text: str, words: list[str]) -> Measures:
    """Gopher's repetition."""
    found: Measures = {"repetition.characters": len(text)}
    if not text:
        return found
    for name, parts in (("para", re.split(r"\n{2,}", text.strip())), ("line", re.split(r"\n+", text))):
        every, again, characters = repeated(parts)
        found[f"repetition.dup_{name}_frac"] = again / every
        found[f"repetition.dup_{name}_char_frac"] = characters / len(text)
    for n in (2, 3, 4):
        counts = Counter(" ".join(words[at : at + n]) for at in range(len(words) - n + 1))
        if counts:
            gram, times = counts.most_common(1)[0]
            found[f"repetition.top_{n}_gram"] = len(gram) * times / len(text)
    for n in range(5, 11):
        found[f"repetition.dup_{n}_gram"] = duplicated(words, n) / len(text)
    return found


def duplicated(words: list[str], n: int) -> int:
    """Characters of n-grams that came before; after one that did, the next begins behind it."""
    seen: set[str] = set()
    characters = at = 0
    while at + n <= len(words):
        gram = "".join(words[at : at + n])
        again = gram in seen
        seen.add(gram)
        characters += len(gram) if again else 0
        at += n if again else 1
    return characters


def gopher(text: str, words: list[str], punctuation: str) -> Measures:
    """Gopher's quality."""
    solid = [word for word in words if word.strip(punctuation)]
    found: Measures = {"gopher.word_count": len(solid), "gopher.stop_words": len(STOP_WORDS & set(words))}
    if solid:
        found["gopher.mean_word_length"] = sum(map(len, solid)) / len(solid)
    if words:
        lines = text.splitlines()
        found["gopher.hash_ratio"] = text.count("#") / len(words)
        found["gopher.ellipsis_ratio"] = (text.count("...") + text.count("…")) / len(words)
        found["gopher.bullet_lines"] = sum(line.lstrip().startswith(("•", "-")) for line in lines) / len(lines)
        found["gopher.ellipsis_lines"] = sum(line.rstrip().endswith(("...", "…")) for line in lines) / len(lines)
        found["gopher.alphabetic_words"] = sum(any(map(str.isalpha, word)) for word in words) / len(words)
    return found


def c4(text: str, sentences: Callable[[str], int], terminal: bool) -> tuple[Measures, str]:
    """C4's lines: the measures, and the text that stays."""
    lines = text.splitlines()
    kept: list[str] = []
    first = {"{": 0.0, "lorem ipsum": 0.0}
    count = 0
    for number, line in enumerate(lines, start=1):
        words = line.split()
        if any(len(word) > 1000 for word in words):
            continue
        line = CITATION.sub("", line.strip())
        if terminal and (not line.endswith((".", "?", "!", '"', "'")) or line.endswith("...")):
            continue
        if len(words) < 3:
            continue
        lower = line.lower()
        if "lorem ipsum" in lower:
            first["lorem ipsum"] = first["lorem ipsum"] or 1 / number
        if "javascript" in lower:
            continue
        if "{" in line:
            first["{"] = first["{"] or 1 / number
        if any(phrase in lower for phrase in POLICY):
            continue
        count += sentences(line)
        kept.append(line)
    found = {
        "c4.lorem_ipsum": first["lorem ipsum"],
        "c4.curly_bracket": first["{"],
        "c4.sentences": count,
        "c4.lines": len(lines),
        "c4.lines_dropped": len(lines) - len(kept),
    }
    return found, "\n".join(kept).strip()


def fineweb(text: str, words: list[str], terminal: str) -> Measures:
    """FineWeb's own rules."""
    lines = [line for line in text.split("\n") if line.strip()]
    found: Measures = {"fineweb.lines": len(lines)}
    if lines:
        found["fineweb.line_punct_ratio"] = sum(line.endswith(tuple(terminal)) for line in lines) / len(lines)
        found["fineweb.short_line_ratio"] = sum(len(line) <= 30 for line in lines) / len(lines)
        found["fineweb.char_dup_ratio"] = repeated(lines)[2] / len(text.replace("\n", ""))
        found["fineweb.list_ratio"] = text.count("\n") / len(words)
    return found


def c4_paragraph(text: str) -> Measures:
    """mC4's paragraphs."""
    lines = sorted(map(len, text.split("\n")))
    return {"c4_paragraph.third_longest_line": lines[-3] if len(lines) > 2 else 0}
