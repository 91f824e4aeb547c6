"""Examples as shards with masks: the same bytes, sound, refused where they are another dataset's."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pylm.data
from pylm.data import masks, shards
from pylm.data.chat import ExamplesPrepared, prepare
from pylm.data.chat.masking import mask
from pylm.data.identity import identify
from pylm.errors import DataError, UsageError
from pylm.tokenizer import Tokenizer

WORDS = "hello there world how are you today well thanks a lot".split()


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train(lambda: [" ".join(WORDS)] * 20, vocab_size=285, chat=True)


def words(drawn: random.Random, most: int) -> str:
    return " ".join(drawn.choice(WORDS) for _ in range(drawn.randint(1, most)))


def pairs(count: int, seed: int = 0) -> list[dict[str, Any]]:
    drawn = random.Random(seed)
    return [{"prompt": words(drawn, 30), "completion": f" {words(drawn, 8)}"} for _ in range(count)]


def lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def documents(folder: Path, split: str) -> list[tuple[list[int], list[bool]]]:
    """The documents of shards and their masks, read by nothing of ours."""
    found = []
    for path in sorted(folder.glob(f"{split}_*.bin")):
        ids = np.fromfile(path, "<u2")
        starts = np.fromfile(path.with_suffix(".idx"), "<u8").astype(int)
        raw = path.with_suffix(".mask").read_bytes()
        bits = [bool(raw[token // 8] >> (token % 8) & 1) for token in range(len(ids))]
        assert len(raw) == (len(ids) + 7) // 8
        found += [(ids[a:b].tolist(), bits[a:b]) for a, b in zip(starts[:-1], starts[1:], strict=True)]
    return found


def test_shards_hold_what_mask_says(tmp_path: Path, tokenizer: Tokenizer) -> None:
    rows = pairs(200)
    folder = prepare(lines(tmp_path / "f.jsonl", rows), tokenizer, tmp_path / "out")
    train, val = documents(folder, "train"), documents(folder, "val")
    expected = [mask(row, tokenizer) for row in rows]
    assert len(val) > 0 and len(train) + len(val) == len(rows)
    wanted = [(one.ids.tolist(), one.counts.tolist()) for one in expected]
    assert sorted(train + val) == sorted(wanted)
    kept = iter(wanted)
    assert all(one in kept for one in train)  # in the order of the dataset
    assert shards.verify(folder)["problems"] == []
    counted = shards.statistics(folder)["splits"]["train"]["counted"]
    assert counted == sum(sum(bits) for _, bits in train)


def test_the_same_dataset_gives_the_same_bytes(tmp_path: Path, tokenizer: Tokenizer) -> None:
    source = lines(tmp_path / "f.jsonl", pairs(60))
    first = content(prepare(source, tokenizer, tmp_path / "a", context_length=20))
    assert content(prepare(source, tokenizer, tmp_path / "b", context_length=20)) == first
    events: list[object] = []
    assert content(prepare(source, tokenizer, tmp_path / "a", context_length=20, on_event=events.append)) == first
    assert events == []


@pytest.mark.parametrize("changed", ["context", "overflow", "dataset", "val"])
def test_a_folder_of_other_examples_is_refused(tmp_path: Path, tokenizer: Tokenizer, changed: str) -> None:
    source = lines(tmp_path / "f.jsonl", pairs(60))
    before = content(prepare(source, tokenizer, tmp_path / "a", context_length=20))
    given: dict[str, Any] = {"context_length": 20}
    given |= {"context": {"context_length": 21}, "overflow": {"overflow": "drop"}, "val": {"val": 0.1}}.get(changed, {})
    if changed == "dataset":
        lines(source, pairs(61))
    with pytest.raises(DataError, match="is there already"):
        prepare(source, tokenizer, tmp_path / "a", **given)
    assert content(tmp_path / "a") == before


def test_an_example_is_held_out_whatever_stands_around_it(tmp_path: Path, tokenizer: Tokenizer) -> None:
    rows = pairs(200)
    held = documents(prepare(rows, tokenizer, tmp_path / "a", val=0.2), "val")
    fewer = documents(prepare(rows[::-2], tokenizer, tmp_path / "b", val=0.2), "val")
    assert 20 < len(held) < 60
    assert len(fewer) > 5 and all(one in held for one in fewer)
    assert not documents(prepare(rows, tokenizer, tmp_path / "c", val=0), "val")
    # of few examples one is held out all the same, and of a single one none
    (alone,) = documents(prepare(rows, tokenizer, tmp_path / "d", val=1e-9), "val")
    assert alone in held
    assert not documents(prepare(rows[:1] * 3, tokenizer, tmp_path / "e", val=1e-9), "val")


def test_other_examples_are_held_out(tmp_path: Path, tokenizer: Tokenizer) -> None:
    events: list[Any] = []
    folder = prepare(pairs(30), tokenizer, tmp_path / "a", val_dataset=pairs(9, seed=1), on_event=events.append)
    said = events[-1]
    assert isinstance(said, ExamplesPrepared)
    assert said.examples == {"train": 30, "val": 9}
    train, val = documents(folder, "train"), documents(folder, "val")
    assert said.counted == {"train": sum(sum(c) for _, c in train), "val": sum(sum(c) for _, c in val)}
    assert said.counts["examples"] == 39


@pytest.mark.parametrize(("overflow", "cut", "dropped"), [("cut-prompt", 2, 1), ("drop", 0, 3)])
def test_what_is_too_long_is_counted(
    tmp_path: Path, tokenizer: Tokenizer, overflow: str, cut: int, dropped: int
) -> None:
    rows = [
        {"prompt": "how are you", "completion": " well"},
        {"prompt": "how are you today " * 9, "completion": " well thanks"},
        {"prompt": "how are you today " * 9, "completion": " a lot"},
        {"prompt": "how", "completion": " a lot" * 30},
    ]
    examples = pylm.data.Examples(rows, tokenizer, overflow=overflow, context_length=16)
    assert {key: examples.counts[key] for key in ("examples", "cut", "dropped")} == {
        "examples": 4, "cut": cut, "dropped": dropped,
    }  # fmt: skip
    assert len(examples) == 4 - dropped
    for inputs, targets, counts in examples:
        assert len(inputs) == len(targets) == len(counts) <= 16
        assert targets[-1] == tokenizer.eot and counts[-1]
        assert inputs[1:].tolist() == targets[:-1].tolist()
    if cut:
        _, targets, counts = examples[1]
        assert tokenizer.decode(targets[counts].tolist()) == " well thanks<|endoftext|>"
        assert len(targets) == 16
    with pytest.raises(DataError, match="item 1 of this list has .* tokens"):
        pylm.data.Examples(rows, tokenizer, overflow="error", context_length=16)


def test_a_text_is_cut_into_pieces_that_join(tokenizer: Tokenizer) -> None:
    text = " ".join(WORDS * 9)
    whole = pylm.data.Examples([{"text": text}], tokenizer)[0][1]
    pieces = pylm.data.Examples([{"text": text}], tokenizer, context_length=10)
    assert len(pieces) > 5
    assert np.concatenate([targets[counts] for _, targets, counts in pieces]).tolist() == whole.tolist()


def test_examples_that_nothing_is_learned_of_are_an_error_with_a_count(tmp_path: Path, tokenizer: Tokenizer) -> None:
    template = tmp_path / "t.jinja"
    template.write_text(
        "{% for m in messages %}{% if m.content != 'skip' %}{% generation %}{{ m.content }}{% endgeneration %}"
        "{% else %}{{ m.content }}{% endif %}{% endfor %}"
    )
    rows = [{"messages": [{"role": "assistant", "content": text}]} for text in ("how are", "skip", "you", "skip")]
    with pytest.raises(DataError, match="nothing would be learned of 2 of the 4 examples .* item 1 .*, item 3 "):
        prepare(rows, tokenizer, tmp_path / "a", template=template)
    assert not (tmp_path / "a").exists()
    assert list(tmp_path.iterdir()) == [template]


def test_the_tokenizer_beside_the_shards_talks_as_they_do(tmp_path: Path, tokenizer: Tokenizer) -> None:
    turns = [{"role": "user", "content": "how"}, {"role": "assistant", "content": "well"}]
    before = tokenizer.chat_template
    folder = prepare([{"messages": turns}] * 9, tokenizer, tmp_path / "a", template="plain", val=0)
    beside = Tokenizer.load(folder)
    assert beside.identity == tokenizer.identity
    assert beside.apply_chat_template(turns[:1], add_generation_prompt=True, tokenize=False) == "how\n"
    assert tokenizer.chat_template == before


def test_labels_that_training_lacks_are_refused(tmp_path: Path, tokenizer: Tokenizer) -> None:
    rows = [{"text": "how", "label": "good"}, {"text": "well", "label": "bad"}]
    with pytest.raises(DataError, match="item 0 of this list has the label 'goof', .* good, bad"):
        prepare(rows, tokenizer, tmp_path / "a", val_dataset=[{"text": "x", "label": "goof"}])
    events: list[Any] = []
    prepare(rows, tokenizer, tmp_path / "b", val_dataset=rows[:1], on_event=events.append)
    assert events[-1].labels == ("good", "bad")


@pytest.mark.parametrize("fault", ["bit", "short", "gone", "stranger"])
def test_a_damaged_mask_is_found(tmp_path: Path, tokenizer: Tokenizer, fault: str) -> None:
    folder = prepare(pairs(20), tokenizer, tmp_path / "a", val=0)
    path = folder / "train_00000.mask"
    raw = bytearray(path.read_bytes())
    if fault == "bit":
        raw[3] ^= 4
        path.write_bytes(raw)
    elif fault == "short":
        path.write_bytes(raw[:-1])
    elif fault == "gone":
        path.unlink()
    else:
        (folder / "train_00001.mask").write_bytes(b"x")
    problems = shards.verify(folder)["problems"]
    assert [one["file"] for one in problems] == ["train_00001.mask" if fault == "stranger" else path.name]


def test_other_masks_are_other_data(tmp_path: Path, tokenizer: Tokenizer) -> None:
    row = {"prompt": "how are", "completion": " you"}
    first = prepare([row] * 3, tokenizer, tmp_path / "a", val=0)
    other = prepare([{"prompt": "how", "completion": " are you"}] * 3, tokenizer, tmp_path / "b", val=0)
    assert (first / "train_00000.bin").read_bytes() == (other / "train_00000.bin").read_bytes()
    assert identify(str(first)).fingerprint != identify(str(other)).fingerprint


def test_bad_options(tmp_path: Path, tokenizer: Tokenizer) -> None:
    with pytest.raises(UsageError, match="overflow is 'cut'"):
        prepare(pairs(3), tokenizer, tmp_path / "a", overflow="cut")
    with pytest.raises(UsageError, match="val is 1"):
        prepare(pairs(3), tokenizer, tmp_path / "a", val=1)
    with pytest.raises(DataError, match="cannot read the template"):
        prepare(pairs(3), tokenizer, tmp_path / "a", template=tmp_path / "none.jinja")
    assert list(tmp_path.iterdir()) == []


def test_bits_of_a_mask_are_those_of_the_tokens_asked_for(tmp_path: Path) -> None:
    counts = np.random.default_rng(3).random(77) < 0.5
    (tmp_path / "train_00000.mask").write_bytes(masks.written(counts))
    manifest = {"made": {"masks": {"train_00000.mask": {}}}}
    for start, length in ((0, 77), (5, 1), (8, 16), (13, 40), (76, 1), (70, 7)):
        found = masks.counts_of(tmp_path, manifest, "train_00000.bin", start, length)
        assert found == counts[start : start + length].tolist(), (start, length)
