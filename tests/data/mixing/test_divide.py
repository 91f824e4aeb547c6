"""Shards divided into training and validation: nothing lost, nothing twice, whoever wrote them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import pylm
from pylm.data.mixing.dividing import divide
from pylm.data.mixing.documents import of_manifest
from pylm.data.mixing.foreign import of_foreign
from pylm.data.shards import verify
from pylm.errors import DataError, UsageError
from tests.data.mixing.shards import EOT, counted, documents_of, drawn, flat, llmc, megatron, nanogpt, texts, tokenized


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def both(folder: Path) -> tuple[list[tuple[int, ...]], list[tuple[int, ...]]]:
    return documents_of(folder, "train"), documents_of(folder, "val")


@pytest.mark.parametrize("by", ["hash", "tail"])
@pytest.mark.parametrize("format", ["raw", "llmc"])
def test_our_shards(tmp_path: Path, by: str, format: str) -> None:
    tokenized(tmp_path / "in", texts(500, 1), vocab_size=280, format=format)
    made = divide("in", "out", val=0.1, by=by, shard_tokens=1500)
    train, val = both(tmp_path / "out")
    inside = documents_of(tmp_path / "in", "train")
    assert counted(train, val) == counted(inside)
    assert made.documents == {"train": len(train), "val": len(val)} and 25 < len(val) < 80
    assert made.tokens["train"] + made.tokens["val"] == len(flat(inside)) == len(flat(train)) + len(flat(val))
    assert verify("out")["problems"] == [] and len(list((tmp_path / "out").glob("train_*.bin"))) > 2
    if by == "tail":
        assert train + val == inside
        assert len(flat(val)) >= 0.1 * len(flat(inside)) > len(flat(val[1:]))
    else:
        assert [d for d in inside if d in counted(train)] == train  # and in their order
    assert divide("in", "out", val=0.1, by=by, shard_tokens=1500).was_here
    with pytest.raises(DataError, match="out is there already"):
        divide("in", "out", val=0.2, by=by, shard_tokens=1500)


def test_a_split_that_is_there_is_divided_anew(tmp_path: Path) -> None:
    tokenized(tmp_path / "in", texts(500, 1), vocab_size=280, val=0.1)
    said: list[str] = []
    divide("in", "out", val=0.2, say=said.append)
    assert counted(*both(tmp_path / "out")) == counted(*both(tmp_path / "in"))
    assert "has" in said[0] and "documents of validation already" in said[0] and verify("out")["problems"] == []


def test_bytes_of_text_are_counted_anew(tmp_path: Path) -> None:
    """A special token that stands in the text is text, and the end of one is not."""
    some = [f"{text} <|pad|>" for text in texts(300, 1)]
    own = pylm.Tokenizer.train(
        [(tmp_path / "t.txt").write_text("\n".join(some)) and tmp_path / "t.txt"], 300, specials=["<|pad|>"]
    )
    own.save(tmp_path / "tok")
    tokenized(tmp_path / "in", some, tokenizer="tok", allow_special="<|pad|>", val=0)
    divide("in", "out", val=0.3)
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    sizes = {name: manifest["splits"][name]["text_bytes"] for name in ("train", "val")}
    said = json.loads((tmp_path / "in" / "manifest.json").read_text())["splits"]["train"]["text_bytes"]
    text = [own.decode(list(document[:-1])) for document in documents_of(tmp_path / "out", "val")]
    assert sizes["val"] == sum(len(one.encode()) for one in text) and sum(sizes.values()) == said
    assert all(one.endswith("<|pad|>") for one in text) and verify("out")["problems"] == []


def test_a_document_that_goes_on_in_the_next_shard_is_one(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    some = drawn(40, 8, most=20)
    ids = flat(some)
    cut = len(flat(some[:15])) + 2
    shards = []
    for number, (part, starts) in enumerate(((ids[:cut], 0), (ids[cut:], cut))):
        np.array(part, "<u2").tofile(folder / f"train_0000{number}.bin")
        begins = [sum(map(len, some[:n])) - starts for n in range(len(some))]
        here = sorted({0, *(b for b in begins if 0 <= b < len(part)), len(part)})
        np.array(here, "<u8").tofile(folder / f"train_0000{number}.idx")
        shards.append({"file": f"train_0000{number}.bin", "tokens": len(part), "starts_inside": number == 1})
    manifest = {"dtype": "uint16", "splits": {"train": {"shards": shards}}}
    found = of_manifest(folder, manifest, "train")
    assert found.lengths.tolist() == [len(document) for document in some] and found.last_id() == EOT
    again = found.only(np.array([15, 0])).hashes()
    nanogpt(tmp_path / "x.bin", [some[0], some[15]])
    alone = of_foreign(tmp_path / "x.bin", EOT, print).documents
    assert alone.hashes().tolist() == again.tolist()[::-1]


def test_by_hash_copies_go_the_same_way_in_any_order(tmp_path: Path) -> None:
    some = drawn(300, 1)
    nanogpt(tmp_path / "a.bin", [*some, *some[:100]])
    nanogpt(tmp_path / "b.bin", some[::-1])
    for name in ("a", "b"):
        divide(f"{name}.bin", f"out-{name}", val=0.2, eot=EOT)
    train, val = both(tmp_path / "out-a")
    assert not counted(train) & counted(val) and counted(val).keys() == counted(both(tmp_path / "out-b")[1]).keys()


@pytest.mark.parametrize("by", ["hash", "tail"])
def test_nanogpt(tmp_path: Path, by: str) -> None:
    some = drawn(400, 2)
    nanogpt(tmp_path / "corpus.bin", some)
    made = divide("corpus.bin", "out", val=0.1, by=by, eot=EOT)
    train, val = both(tmp_path / "out")
    assert counted(train, val) == counted(some) and made.tokens["train"] + made.tokens["val"] == len(flat(some))
    assert not (tmp_path / "out" / "manifest.json").exists()
    reader = pylm.data.Loader("out", 8, 2, split="val")
    assert reader.tokens == len(flat(val))


def test_llmc_has_the_end_of_text_before_a_document(tmp_path: Path) -> None:
    some = [(EOT, *document[:-1]) for document in drawn(300, 3)]
    ids = flat(some)
    folder = tmp_path / "fineweb"
    folder.mkdir()
    cut = len(flat(some[:150])) + 3  # within a document, as its writer cuts
    llmc(folder / "fineweb_train_000001.bin", ids[:cut])
    llmc(folder / "fineweb_train_000002.bin", ids[cut:])
    divide("fineweb", "out", val=0.1)
    train, val = both(tmp_path / "out")
    assert counted(train, val) == counted(some)
    assert int.from_bytes((tmp_path / "out" / "val_00000.bin").read_bytes()[:4], "little") == 20240520
    assert pylm.data.Loader("out", 8, 2).tokens == len(flat(train))


@pytest.mark.parametrize(("code", "magic"), [(4, 20240801), (8, None)])
def test_megatron(tmp_path: Path, code: int, magic: int | None) -> None:
    some = drawn(200, 4, vocabulary=120_000 if code == 4 else 50_000)
    if code == 8:
        some = [document[:-1] or (1,) for document in some]  # its index alone says where documents are
    megatron(tmp_path / "x_text_document.bin", some, code)
    divide("x_text_document.bin", "out", val=0.1, by="tail")
    train, val = both(tmp_path / "out")
    assert train + val == some
    head = int.from_bytes((tmp_path / "out" / "val_00000.bin").read_bytes()[:4], "little")
    assert magic is None or head == magic
    assert pylm.data.Loader("out", 8, 2).tokens == len(flat(train))


def test_numpy_and_a_folder_with_both_and_more(tmp_path: Path) -> None:
    folder = tmp_path / "d"
    folder.mkdir()
    parts = {name: drawn(100, seed) for seed, name in enumerate(("train", "val", "test"))}
    for name, some in parts.items():
        np.save(folder / f"{name}.npy", np.array(flat(some), "<u2"))
    said: list[str] = []
    divide("d", "out", val=0.1, eot=EOT, say=said.append)
    assert counted(*both(tmp_path / "out")) == counted(parts["train"], parts["val"])
    assert said == ["left out: test.npy"]


def test_the_tokenizer_beside_says_the_end_of_text_and_comes_along(tmp_path: Path) -> None:
    tokenized(tmp_path / "in", texts(200, 1), vocab_size=280)
    inside = documents_of(tmp_path / "in", "train")
    for name in ("manifest.json", "job.json", "train_00000.idx"):
        (tmp_path / "in" / name).unlink()
    divide("in", "out", val=0.2)
    assert counted(*both(tmp_path / "out")) == counted(inside)
    assert (tmp_path / "out" / "tokenizer.json").read_bytes() == (tmp_path / "in" / "tokenizer.json").read_bytes()


def _text(folder: Path) -> str:
    (folder / "a.txt").write_text("text")
    return "a.txt"


def _short(folder: Path) -> str:
    llmc(folder / "a.bin", range(100)).write_bytes((folder / "a.bin").read_bytes()[:-2])
    return "a.bin"


def _odd(folder: Path) -> str:
    (folder / "a.bin").write_bytes(b"\1\2\3")
    return "a.bin"


def _plain(folder: Path) -> str:
    return str(nanogpt(folder / "a.bin", drawn(30, 1)))


def _one(folder: Path) -> str:
    return str(llmc(folder / "a.bin", [5] * 100))


def _ours(folder: Path) -> str:
    return str(tokenized(folder / "ours", texts(30, 1), vocab_size=260))


def _unfinished(folder: Path) -> str:
    (Path(_ours(folder)) / "manifest.json").unlink()
    return "ours"


def _none(folder: Path) -> str:
    (folder / "empty").mkdir()
    return "empty"


@pytest.mark.parametrize(
    ("source", "options", "error", "said"),
    [
        (lambda folder: "nowhere", {}, DataError, "no such folder or file"),
        (_text, {}, DataError, "is text, not token ids"),
        (_short, {}, DataError, "and 100 tokens of 2 bytes would make"),
        (_odd, {"eot": 1}, DataError, "has 3 bytes"),
        (_plain, {}, UsageError, "nothing says where documents of"),
        (_plain, {"eot": 49_999_999}, DataError, "of the 1 documents"),
        (_one, {}, DataError, "of the 1 documents"),
        (_plain, {"eot": EOT, "val": 1e-9}, DataError, "none of the 30 documents"),
        (_ours, {"eot": 3}, UsageError, "has an index of its documents"),
        (_ours, {"val": 0}, UsageError, "val is 0"),
        (_ours, {"by": "luck"}, UsageError, "there is no way 'luck'"),
        (_unfinished, {}, DataError, "ours is not finished"),
        (_none, {}, DataError, "holds no token shards"),
    ],
)
def test_bad_input_is_one_sentence(tmp_path: Path, source, options, error, said) -> None:
    with pytest.raises(error, match=said) as caught:
        divide(source(tmp_path), "out", **options)
    assert caught.value.hint and not (tmp_path / "out").exists()
