"""DCLM's CORE once more, a question at a time, in as few lines as it takes: what the suite must agree with."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import torch

Item = dict[str, Any]


def prompts_of(item: Item, delimiter: str, examples: Sequence[Item]) -> list[str]:
    def solved(one: Item) -> str:
        if "query" in one:
            return str(one["query"] + delimiter + one["choices"][one["gold"]])
        if "context_options" in one:
            return str(one["context_options"][one["gold"]] + delimiter + one["continuation"])
        return str(one["context"].strip() + delimiter + one["continuation"])

    header = "".join(solved(example) + "\n\n" for example in examples)
    if "query" in item:
        return [header + item["query"] + delimiter + choice for choice in item["choices"]]
    if "context_options" in item:
        return [header + option + delimiter + item["continuation"] for option in item["context_options"]]
    without = header + item["context"].strip() + delimiter
    return [without.strip(), without + item["continuation"]]


def alike(rows: Sequence[Sequence[int]]) -> int:
    count = 0
    while count < min(map(len, rows)) and len({row[count] for row in rows}) == 1:
        count += 1
    return count


def evaluate_item(model: Any, tokenizer: Any, data: list[Item], idx: int, shots: int, delimiter: str) -> bool:
    item = data[idx]
    others = [i for i in range(len(data)) if i != idx]
    examples = [data[i] for i in random.Random(1234 + idx).sample(others, shots)] if shots else []
    tokens = [[tokenizer.eot, *tokenizer.encode(prompt)] for prompt in prompts_of(item, delimiter, examples)]
    if "query" in item:
        starts = [alike(tokens)] * len(tokens)
    elif "context_options" in item:
        suffix = alike([row[::-1] for row in tokens])
        starts = [len(row) - suffix for row in tokens]
    else:
        assert tokens[1][: len(tokens[0])] == tokens[0]
        starts, tokens = [len(tokens[0])], tokens[1:]
    means = []
    for row, start in zip(tokens, starts, strict=True):
        with torch.inference_mode():
            found = model(torch.tensor([row[:-1]]))
        logits = getattr(found, "logits", found)[0].float()
        targets = torch.tensor(row[1:])
        losses = torch.nn.functional.cross_entropy(logits, targets, reduction="none")[start - 1 :]
        means.append(losses.mean().item())
        greedy = bool((logits.argmax(-1) == targets)[start - 1 :].all())
    return means.index(min(means)) == item["gold"] if len(means) > 1 else greedy


def shuffled(data: Sequence[Any]) -> list[Any]:
    data = list(data)
    random.Random(1337).shuffle(data)
    return data
