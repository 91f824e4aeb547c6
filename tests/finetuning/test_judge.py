"""Answers and losses of examples, against transformers in float64 on the same weights, which writes greedily itself."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

import pylm
from pylm.errors import DataError, UsageError
from pylm.evaluation.answered import Question, _written, questions
from pylm.evaluation.examples import Example, examples_of_shards
from pylm.finetuning.judge import judge
from pylm.model.names import to_hugging_face
from pylm.tokenizer import Tokenizer
from tests.generation.small import CONTEXT, small_model, small_tokenizer, stored, write_run

MARKS = [f"<|{number}|>" for number in range(30)]  # so many that a model of random weights soon writes one


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYLM_CACHE", str(tmp_path / "cache"))
    torch.set_num_threads(1)


def example(ids: Sequence[int], counts: Sequence[int]) -> Example:
    return Example(np.array(ids, np.int64), np.array(counts, bool))


def test_an_example_asks_for_each_run_that_counts_up_to_its_end() -> None:
    specials = frozenset((9, 8, 7))
    by_hand = example([11, 12, 21, 22, 9], [0, 0, 1, 1, 1])
    assert list(questions(by_hand, specials)) == [Question([11, 12], [21, 22], 9)]
    # two turns: 7 begins one and 8 ends it, a new line (5) follows that nobody learns, and the end of text is 9
    turns = example(
        [7, 1, 8, 5, 7, 21, 8, 5, 7, 2, 8, 5, 7, 22, 23, 8, 5, 9], [0] * 5 + [1, 1] + [0] * 6 + [1] * 3 + [0, 1]
    )
    assert list(questions(turns, specials)) == [
        Question([7, 1, 8, 5, 7], [21], 8),
        Question([7, 1, 8, 5, 7, 21, 8, 5, 7, 2, 8, 5, 7], [22, 23], 8),
    ]
    assert not list(questions(example([1, 2, 9], [1, 1, 1]), specials))  # a text: nothing is asked
    assert not list(questions(example([1, 2, 3], [0, 1, 1]), specials))  # an answer that does not end


def test_an_answer_that_ends_past_its_own_room_has_not_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """Side by side with one that may be longer it is written on, and that must not change what is said of it."""
    written = [[1] * 36 + [9], [1] * 33 + [9]]  # the first has room for 2 + 32 tokens, the second for 4 + 32

    class Writes:
        def __init__(self, *args: Any, **options: Any) -> None:
            pass

        def stream(self, prompts: Any, settings: Any) -> Any:
            return (SimpleNamespace(prompt=row, id=token) for row, ids in enumerate(written) for token in ids)

    monkeypatch.setattr("pylm.generation.session.Session", Writes)
    opened: Any = SimpleNamespace(engine=SimpleNamespace(context_length=99), tokenizer=object(), folder="x")
    short, long = _written(opened, [Question([5], [1], 9), Question([5], [1, 1], 9)], frozenset((9,)))
    assert (short.ids, short.end) == ([1] * 34, None) and (long.ids, long.end) == ([1] * 33, 9)


class Held(NamedTuple):
    """Examples of every kind, and what a model is worth by them."""

    examples: list[Example]
    exact: list[bool]
    ended: list[bool]
    loss: float


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return small_tokenizer(*MARKS)


@pytest.fixture(scope="module")
def model(tokenizer: Tokenizer) -> Any:
    return small_model(tokenizer.vocab_size, n_layers=1, tied=False)  # a tied one says its last token again


@pytest.fixture(scope="module")
def held(model: Any, tokenizer: Tokenizer) -> Held:
    """What transformers writes after random prompts, as it is and made wrong in every way that counts."""
    import transformers

    weights, config = to_hugging_face(stored(model), model.shape)
    oracle: Any = transformers.AutoModelForCausalLM.from_config(transformers.LlamaConfig(**config)).double().eval()
    state = {name: torch.from_numpy(np.frombuffer(bytearray(bytes(memoryview(one.data).cast("B"))), np.float32))
             .reshape(one.shape).double() for name, one in weights.items()}  # fmt: skip
    oracle.load_state_dict(state, strict=False)
    oracle.tie_weights()
    specials = set(tokenizer.specials.values())
    random = np.random.default_rng(4)
    made = Held([], [], [], 0.0)

    def add(prompt: list[int], answer: list[int], exact: bool, ended: bool) -> None:
        made.examples.append(example(prompt + answer, [0] * len(prompt) + [1] * len(answer)))
        made.exact.append(exact)
        made.ended.append(ended)

    for _ in range(24):
        prompt = random.integers(0, 256, random.integers(1, 12)).tolist()
        with torch.no_grad():
            answer = oracle.generate(
                torch.tensor([prompt]), do_sample=False, max_new_tokens=CONTEXT // 2,
                eos_token_id=sorted(specials), pad_token_id=0,
            )[0, len(prompt) :].tolist()  # fmt: skip
        if answer[-1] not in specials:
            add(prompt, [*answer[:3], tokenizer.eot or 0], exact=False, ended=False)
        elif len(answer) > 2:
            add(prompt, answer, exact=True, ended=True)
            add(prompt, [*answer[:-2], (answer[-2] + 1) % 256, answer[-1]], exact=False, ended=True)
            other = next(mark for mark in sorted(specials) if mark != answer[-1])
            add(prompt, [*answer[:-1], other], exact=False, ended=False)
            add(prompt, [*answer[:1], answer[-1]], exact=False, ended=True)
    assert sum(made.exact) > 5 and made.ended.count(False) > 5
    nats, count = 0.0, 0
    for one in made.examples:
        with torch.no_grad():
            logits = torch.log_softmax(oracle(torch.tensor(one.ids[None, :-1])).logits[0], -1)
        for place in np.flatnonzero(one.counts):
            nats, count = nats - float(logits[place - 1, one.ids[place]]), count + 1
    return made._replace(loss=nats / count)


def write_examples(folder: Path, examples: Sequence[Example], tokenizer: Tokenizer, shards: int = 2) -> None:
    """Shards of examples with their masks, the same for both splits."""
    folder.mkdir()
    splits: dict[str, Any] = {}
    for split in ("train", "val"):
        entries = []
        for number in range(shards):
            mine = examples[number::shards]
            ids = np.concatenate([one.ids for one in mine]).astype(np.uint16)
            name = f"{split}_{number:05}"
            ids.tofile(folder / f"{name}.bin")
            np.cumsum([0, *(len(one.ids) for one in mine)]).astype(np.uint64).tofile(folder / f"{name}.idx")
            bits = np.concatenate([one.counts for one in mine])
            np.packbits(bits, bitorder="little").tofile(folder / f"{name}.mask")
            shard = {"file": f"{name}.bin", "tokens": len(ids), "documents": len(mine), "hash": str(int(ids.sum()))}
            entries.append({**shard, "mask": f"{name}.mask"})
        tokens = sum(entry["tokens"] for entry in entries)
        splits[split] = {"tokens": tokens, "documents": len(examples), "text_bytes": 1, "shards": entries}
    manifest = {"dtype": "uint16", "vocab_size": tokenizer.vocab_size, "tokenizer": tokenizer.identity}
    masks = {entry["mask"]: {"bytes": 0, "blake2b": ""} for split in splits.values() for entry in split["shards"]}
    made = {"kind": "examples", "masks": masks, "labels": []}
    whole = {**manifest, "eot": tokenizer.eot, "splits": splits, "made": made}
    (folder / "manifest.json").write_text(json.dumps(whole))
    for file, data in tokenizer.files().items():
        (folder / file).write_bytes(data)


@pytest.mark.parametrize("backend", ["torch", "native"])
def test_answers_and_losses_are_those_of_transformers(
    model: Any, tokenizer: Tokenizer, held: Held, backend: str
) -> None:
    write_run(Path("runs/x"), model, tokenizer)
    write_examples(Path("held"), held.examples, tokenizer)
    order = [*range(0, len(held.examples), 2), *range(1, len(held.examples), 2)]  # as two shards have them
    for one, number in zip(examples_of_shards("held", "val"), order, strict=True):
        assert one.ids.tolist() == held.examples[number].ids.tolist()
        assert one.counts.tolist() == held.examples[number].counts.tolist()
    found = pylm.evaluate("runs/x", data="held", backend=backend)
    assert found.loss == pytest.approx(held.loss, rel=1e-5)
    assert found.tokens == sum(int(one.counts.sum()) for one in held.examples)
    assert found.units is not None and len(found.units.keys) == len(held.examples)
    answers = found.tasks[0]
    assert answers.items["exact_match"] == [float(held.exact[number]) for number in order]
    assert answers.items["ended"] == [float(held.ended[number]) for number in order]


def test_what_is_judged_is_kept_and_told(model: Any, tokenizer: Tokenizer, held: Held) -> None:
    write_run(Path("runs/x"), model, tokenizer)
    write_examples(Path("held"), held.examples, tokenizer, shards=1)
    told: list[tuple[str, int, int]] = []
    found = judge("runs/x", "held", told=lambda *said: told.append(said))
    count = len(held.examples)
    assert (found.data, found.n, found.checkpoint.name) == ("held", count, "step_5")
    assert found.exact_match == pytest.approx(sum(held.exact) / count)
    assert found.ended == pytest.approx(sum(held.ended) / count)
    assert told[-1] == ("answers", count, count)
    lines = [json.loads(line) for line in Path("runs/x/evaluations.jsonl").read_text().splitlines()]
    kept = {(line["task"], line["metric"]): line for line in lines}
    assert kept["held", "loss"]["value"] == found.loss and kept["held", "loss"]["n"] == found.tokens
    assert kept["answers", "exact_match"]["value"] == found.exact_match
    share = found.exact_match
    assert kept["answers", "exact_match"]["stderr"] == pytest.approx(math.sqrt(share * (1 - share) / (count - 1)))
    assert kept["answers", "ended"]["n"] == count
    first = judge("runs/x", "held", limit=3)
    assert first.n == 3 and first.tokens == sum(int(one.counts.sum()) for one in held.examples[:3])


def test_examples_that_the_model_cannot_see_whole_are_refused(model: Any, tokenizer: Tokenizer) -> None:
    write_run(Path("runs/x"), model, tokenizer)
    long = example([1] * CONTEXT + [2, tokenizer.eot or 0], [0] * CONTEXT + [1, 1])
    write_examples(Path("held"), [long], tokenizer, shards=1)
    with pytest.raises(DataError, match=f"an example of {CONTEXT + 2} tokens, and the model sees {CONTEXT}"):
        judge("runs/x", "held")
    assert not Path("runs/x/evaluations.jsonl").exists()
    with pytest.raises(UsageError, match="examples, which are read whole"):
        pylm.evaluate("runs/x", data="held", stride=4)
    with pytest.raises(UsageError, match="both say what to judge by"):
        pylm.evaluate("runs/x", data="held", examples="held.jsonl")
