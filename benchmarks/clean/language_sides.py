"""What names languages, each with the same texts and the same model. Runs in the environment of each."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

Named = list[tuple[str, float]]


def answer(seconds: float, named: Named, texts: list[str]) -> dict[str, Any]:
    size = sum(len(text.encode()) for text in texts)
    return {"seconds": seconds, "result": named, "mb_per_s": size / seconds / 1e6}


def ours(path: str, model: str) -> dict[str, Any]:
    from pylm import _rust

    texts: list[str] = json.loads(Path(path).read_text(encoding="utf-8"))
    classifier = _rust.FastText(model)
    begun = time.perf_counter()
    named = [found[0] if found else ("", 0.0) for found in classifier.predict(texts)]
    return answer(time.perf_counter() - begun, named, texts)


def fasttext_predict(path: str, model: str) -> dict[str, Any]:
    import fasttext  # type: ignore[import-untyped, unused-ignore]

    texts: list[str] = json.loads(Path(path).read_text(encoding="utf-8"))
    classifier = fasttext.load_model(model)
    begun = time.perf_counter()
    named = []
    for text in texts:
        labels, probabilities = classifier.predict(text.replace("\n", " "))  # as datatrove asks
        named.append((labels[0], float(probabilities[0])) if labels else ("", 0.0))
    return answer(time.perf_counter() - begun, named, texts)


def built_in(path: str) -> dict[str, Any]:
    from pylm import _rust

    texts: list[str] = json.loads(Path(path).read_text(encoding="utf-8"))
    identifier = _rust.LanguageIdentifier()
    identifier.identify(texts[:1])  # reads its model
    begun = time.perf_counter()
    named = identifier.identify(texts)
    return answer(time.perf_counter() - begun, named, texts)
