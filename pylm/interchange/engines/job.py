"""What an engine's process is asked and answers: files in a folder, so that nothing is shared but numbers.

`python -m pylm.interchange.engines.of_X WHERE FOLDER` reads `FOLDER/texts.json` and `FOLDER/sequences.npz` (`tokens`,
a row a sequence; `lengths`; `prompts`, how many of the first are the prompt) and writes `FOLDER/answer.npz`: `ids` of
all texts with their `counts`, `logits` after each prompt, and the `likeliest` token at each later place. How far it is
stands in lines of its output; whatever else an engine prints is nobody's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["answer", "ask", "done_in"]

Numbers = npt.NDArray[Any]
DONE = re.compile(r"pylm: (ids|logits) (\d+) of (\d+)")
TOGETHER = 5_000  # texts between two lines of how far it is


def ask(folder: Path, texts: Sequence[str], sequences: Sequence[Sequence[int]], prompts: Sequence[int]) -> None:
    """Write what engines are asked."""
    (folder / "texts.json").write_text(json.dumps(list(texts)), encoding="utf-8")
    tokens = np.zeros((len(sequences), max(map(len, sequences))), np.int64)
    for row, sequence in zip(tokens, sequences, strict=True):
        row[: len(sequence)] = sequence
    lengths = np.array([len(sequence) for sequence in sequences])
    np.savez(folder / "sequences.npz", tokens=tokens, lengths=lengths, prompts=np.array(prompts))


def answer(
    folder: Path, encode: Callable[[list[str]], list[list[int]]], logits: Callable[[list[int]], Numbers], version: str
) -> None:
    """Write what an engine makes of it.

    Args:
        folder: of the job.
        encode: the engine's tokenizer.
        logits: of every place of a sequence, [tokens, vocabulary] in float32.
        version: of the engine.
    """
    texts: list[str] = json.loads((folder / "texts.json").read_text(encoding="utf-8"))
    ids: list[list[int]] = []
    for start in range(0, len(texts), TOGETHER):
        ids += encode(texts[start : start + TOGETHER])
        print(f"pylm: ids {len(ids)} of {len(texts)}", flush=True)
    asked = np.load(folder / "sequences.npz")
    last, likeliest = [], []
    for row, length, prompt in zip(asked["tokens"], asked["lengths"], asked["prompts"], strict=True):
        made = logits(row[:length].tolist())
        last.append(made[prompt - 1].copy())  # a view would keep the logits of all places
        likeliest.append(made[prompt - 1 : -1].argmax(-1))
        print(f"pylm: logits {len(last)} of {len(asked['lengths'])}", flush=True)
    np.savez(
        folder / "answer.npz",
        ids=np.array([one for each in ids for one in each], np.int64),
        counts=np.array([len(each) for each in ids], np.int64),
        logits=np.stack(last).astype(np.float32),
        likeliest=np.concatenate(likeliest),
        version=np.array(version),
    )


def done_in(line: str) -> tuple[str, int, int] | None:
    """Return of what how much is done of how much, where a line of an engine's output says so."""
    found = DONE.fullmatch(line.strip())
    return (found[1], int(found[2]), int(found[3])) if found else None
