"""`pylm.data.mix`: the shards that come of it, held against the documents that went in."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

import pylm
from pylm.data.mixing.call import mix
from pylm.data.shards import verify
from pylm.errors import DataError, UsageError
from tests.data.mixing.shards import counted, documents_of, llmc, texts, tokenized


@pytest.fixture
def two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    tokenized(tmp_path / "wiki", texts(400, 1), vocab_size=280)
    tokenized(tmp_path / "web", texts(300, 2), tokenizer="wiki", val=0.1)
    return tmp_path


def tokens_of(documents: list[tuple[int, ...]]) -> int:
    return sum(map(len, documents))


def hashes(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def test_tokens_are_as_the_weights(two: Path) -> None:
    mixed = pylm.data.mix({"wiki": 0.7, "web": 0.3}, "out", tokens=8000)
    wiki, web = (counted(documents_of(two / name, "train")) for name in ("wiki", "web"))
    train = documents_of(two / "out", "train")
    of_wiki = [document for document in train if document in wiki]
    assert all(document in wiki or document in web for document in train)
    longest = max(map(len, train))
    assert 8000 <= tokens_of(train) < 8000 + longest
    assert abs(tokens_of(of_wiki) - 0.7 * tokens_of(train)) <= longest
    first = train[: len(train) // 4]  # and not block after block
    assert abs(tokens_of([d for d in first if d in wiki]) - 0.7 * tokens_of(first)) <= longest
    part = mixed.parts[0]
    assert (part.source, part.weight, part.documents) == ("wiki", 0.7, len(of_wiki))
    assert part.taken == tokens_of(of_wiki) and part.epochs == part.taken / part.tokens
    assert verify("out")["problems"] == []


def test_what_is_validated_on_is_never_trained_on(two: Path) -> None:
    again = documents_of(two / "web", "val")[3]
    text = pylm.Tokenizer.load("wiki").decode(list(again[:-1]))
    tokenized(two / "copies", [*texts(50, 3), text, text], tokenizer="wiki")
    mixed = mix(["wiki", "web", "copies"], "out", val=0.05)
    train, val = (documents_of(two / "out", split) for split in ("train", "val"))
    own = counted(documents_of(two / "web", "val"))
    chosen = [document for document in counted(documents_of(two / "wiki", "train")) if document not in counted(train)]
    assert not counted(train) & counted(val) and again not in train and mixed.copies >= 2
    assert max(counted(val).values()) == 1 and not counted(train) & own
    assert 5 < len(chosen) < 40  # about a twentieth of 400, by hash
    assert verify("out")["problems"] == []


def test_the_choice_depends_on_what_a_document_holds(two: Path) -> None:
    tokenized(two / "turned", texts(400, 1)[::-1], tokenizer="wiki")
    for name in ("wiki", "turned"):
        mix([name], f"out-{name}", val=0.1)
    assert counted(documents_of(two / "out-wiki", "val")) == counted(documents_of(two / "out-turned", "val"))


def test_without_a_number_nothing_is_repeated_or_lost(two: Path) -> None:
    mixed = mix(["wiki", "web"], "out", val=0)
    assert [part.epochs for part in mixed.parts] == [1.0, 1.0]
    inside = counted(documents_of(two / "wiki", "train"), documents_of(two / "web", "train"))
    assert counted(documents_of(two / "out", "train")) == inside and mixed.splits["val"]["tokens"] == 0
    assert [part.epochs for part in mix({"wiki": 9, "web": 1}, "more", val=0).parts][0] == 1.0


def test_many_epochs_are_warned_about(two: Path) -> None:
    said: list[str] = []
    size = tokens_of(documents_of(two / "web", "train"))
    mixed = mix({"wiki": 0.5, "web": 0.5}, "out", tokens=10 * size, say=said.append)
    assert mixed.parts[1].epochs == pytest.approx(5, abs=0.1)
    assert [line for line in said if line.startswith("web is gone through 5.")] and len(said) == 1
    times = counted(documents_of(two / "out", "train"))
    assert {times[document] for document in counted(documents_of(two / "web", "train"))} <= {4, 5, 6}


def test_the_same_call_gives_the_same_bytes_and_finds_them(two: Path) -> None:
    options = {"tokens": 9000, "seed": 5, "shard_tokens": 1000}
    first = mix({"wiki": 2, "web": 1}, "a", **options)
    mix({"wiki": 2, "web": 1}, "b", **options)
    assert hashes(two / "a") == hashes(two / "b") and len(list((two / "a").glob("train_*.bin"))) > 5
    found = mix({"wiki": 2, "web": 1}, "a", **options)
    assert found.was_here and found.parts == first.parts and verify("a")["problems"] == []
    with pytest.raises(DataError, match="a is there already, and holds something else"):
        mix({"wiki": 2, "web": 1}, "a", tokens=9001)


def test_training_reads_it(two: Path) -> None:
    mix({"wiki": 0.5, "web": 0.5}, "out", tokens=4000)
    loader = pylm.data.Loader("out", 32, 4)
    assert loader.batch(0).inputs.shape == (4, 32) and loader.tokens == tokens_of(documents_of(two / "out", "train"))


def test_texts_are_tokenized_as_far_as_is_of_use(two: Path) -> None:
    (two / "long.txt").write_text("<|endoftext|>".join(texts(3000, 9)))
    mixed = mix(["long.txt:0.5", "wiki:0.5"], "out", tokens=3000, val=0.1)
    assert mixed.parts[0].tokens < 4000 and mixed.parts[0].taken == pytest.approx(1500, abs=150)
    assert verify("out")["problems"] == [] and not (two / ".out.texts").exists()
    train = {document for name in ("long.txt",) for document in documents_of(two / "out", "train")}
    decoded = pylm.Tokenizer.load("wiki").decode(
        list(next(d for d in train if d not in counted(documents_of(two / "wiki", "train"))))[:-1]
    )
    assert decoded in texts(3000, 9)
    assert mix(["long.txt:0.5", "wiki:0.5"], "out", tokens=3000, val=0.1).was_here


def test_what_fails_leaves_no_folder(two: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pylm.data.mixing.writing._rust.seal_shards", full, raising=False)
    from pylm.data.mixing import writing

    monkeypatch.setattr(writing._rust, "seal_shards", full)
    with pytest.raises(OSError, match="No space"):
        mix(["wiki"], "out")
    assert sorted(path.name for path in two.iterdir() if "out" in path.name) == []


def _other(two: Path) -> object:
    tokenized(two / "other", texts(50, 4), vocab_size=270)
    return ["wiki", "other"]


def _cut(two: Path) -> object:
    with (two / "web" / "train_00000.bin").open("r+b") as file:
        file.truncate(100)
    return ["wiki", "web"]


def _unfinished(two: Path) -> object:
    (two / "web" / "manifest.json").unlink()
    return ["wiki", "web"]


def _foreign(two: Path) -> object:
    llmc(two / "x.bin", [1, 2, 3])
    return ["x.bin"]


@pytest.mark.parametrize(
    ("sources", "options", "error", "said"),
    [
        (_other, {}, DataError, "other was made by another tokenizer than wiki"),
        (_cut, {}, DataError, "train_00000.bin is not what its manifest says"),
        (_unfinished, {}, DataError, "web is not finished"),
        (_foreign, {}, DataError, "x.bin holds tokens without a manifest"),
        ([], {}, UsageError, "nothing to mix was named"),
        (["wiki:0.5", "web"], {}, UsageError, "web has no weight, and another source has one"),
        (["wiki", "wiki"], {}, UsageError, "wiki is named twice"),
        ({"wiki": -1}, {}, UsageError, "the weight -1 of wiki is no share"),
        ({"wiki": 1}, {"temperature": 0.3}, UsageError, "both say the shares"),
        (["wiki"], {"temperature": -1}, UsageError, "temperature is -1"),
        (["wiki"], {"tokens": 0}, UsageError, "tokens is 0"),
        (["wiki"], {"tokens": "many"}, UsageError, "tokens: 'many' is not a whole number"),
        (["wiki"], {"val": 1}, UsageError, "val is 1"),
        (["wiki"], {"seed": -1}, UsageError, "seed is -1"),
        (["wiki"], {"tokenizer": "web"}, UsageError, "is for texts, and all that is mixed are shards"),
        (["wiki.txt"], {}, UsageError, "wiki.txt is text, and weights are shares of tokens"),
        (["nowhere"], {"tokenizer": "wiki"}, DataError, "nowhere"),
    ],
)
def test_bad_input_is_one_sentence(
    two: Path, sources: object, options: dict[str, object], error: type[Exception], said: str
) -> None:
    named = sources(two) if isinstance(sources, Callable) else sources  # type: ignore[arg-type]
    with pytest.raises(error, match=said.replace("(", r"\(")) as caught:
        mix(named, "out", **options)  # type: ignore[arg-type]
    assert getattr(caught.value, "hint", None) and not (two / "out").exists()


def test_the_manifest_says_what_it_is_of(two: Path) -> None:
    mix({"wiki": 0.5, "web": 0.5}, "out", tokens=2000)
    manifest = json.loads((two / "out" / "manifest.json").read_text())
    assert [one["name"] for one in manifest["sources"]] == ["wiki", "web"]
    assert [one["source"] for one in manifest["made"]["parts"]] == ["wiki", "web"]
    assert manifest["tokenizer"] == json.loads((two / "wiki" / "manifest.json").read_text())["tokenizer"]
    assert (two / "out" / "tokenizer.json").read_bytes() == (two / "wiki" / "tokenizer.json").read_bytes()
