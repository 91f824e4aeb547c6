"""`pylm data verify` sees each file of a folder and each field of its manifest; nobody follows a name out of it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pylm import _rust
from pylm.cli import run
from pylm.data import Loader
from pylm.data.identity import identify
from pylm.errors import DataError

END = "<|endoftext|>"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Several train shards, of which one begins within a document, and validation."""
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        short = [f"{number} the cat sat on a mat, Größe 漢字 {'the dog ' * (number % 7)}" for number in range(400)]
        Path("a.txt").write_text(END.join(short) + END + "one long document goes on and on. " * 90_000)
        line = ["tokenize", "a.txt", "--vocab-size", "300", "--val", "0.1", "--shard-tokens", "250k", "--out", "x"]
        assert run(line) == 0
    manifest = json.loads((folder / "x/manifest.json").read_text())
    assert any(shard["starts_inside"] for shard in manifest["splits"]["train"]["shards"])
    assert manifest["splits"]["val"]["tokens"]
    return folder / "x"


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "x"))


def problems(folder: Path, capsys: Any, code: int = 3) -> str:
    capsys.readouterr()
    assert run(["data", "verify", str(folder)]) == code
    out, err = capsys.readouterr()
    assert "Traceback" not in err and "defect of pylm" not in err
    return str(out + err)


def unseal(folder: Path) -> None:
    """Make the folder one of an earlier version, which had no hashes beside those of shards."""
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["seal"], manifest["beside"]
    (folder / "manifest.json").write_text(json.dumps(manifest))


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    change(manifest)
    (folder / "manifest.json").write_text(json.dumps(manifest))


def test_a_sound_folder_is_sound_written_anew_or_from_before(folder: Path, capsys: Any) -> None:
    assert "is sound" in problems(folder, capsys, 0)
    edit(folder, lambda manifest: None)  # the same JSON in other words
    assert "is sound" in problems(folder, capsys, 0)
    unseal(folder)
    assert "an earlier pylm" in problems(folder, capsys, 0)
    assert identify(str(folder)).tokenizer and Loader(str(folder), 8, 1).tokens


KINDS = [
    ["--format", "llmc"],
    ["--limit", "150docs"],
    ["--limit", "2MB"],
    ["--limit", "3ktok", "--val", "0"],
    ["--allow-special", END, "--split", "blank"],
    ["--split", "file", "--val", "0.1"],
    ["--split", "blank", "--val", "0.3"],
    ["--val", "0"],
]


@pytest.mark.parametrize("options", KINDS)
@pytest.mark.parametrize("kind", ["native", "without an end", "foreign"])
def test_no_kind_of_sound_folder_is_called_unsound(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any, kind: str, options: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    if kind == "foreign":
        if options not in (KINDS[1], KINDS[4], KINDS[6]):
            pytest.skip("three are enough of a slow encoder")
        tokenizers = pytest.importorskip("tokenizers")
        words = {"the": 0, "cat": 1, "dog": 2, "long": 3, END: 4}
        foreign = tokenizers.Tokenizer(
            tokenizers.models.WordLevel(words, unk_token=END)
        )  # every unknown word is an end
        foreign.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
        foreign.add_special_tokens([END])
        Path("tok").mkdir()
        foreign.save("tok/tokenizer.json")
    else:
        bpe = _rust.Bpe.from_merges([(ord("t") - 33, ord("h") - 33)], "gpt2", [END] if kind == "native" else [])
        Path("tok").mkdir()
        Path("tok/tokenizer.json").write_text(bpe.to_tokenizer_json())
        if kind != "native" and "--allow-special" in options:
            options = options[2:]
    line = ["tokenize", str(made.parent / "a.txt"), "--tokenizer", "tok", "--shard-tokens", "1M", "--out", "x"]
    assert run([*line, *options]) == 0
    assert "is sound" in problems(Path("x"), capsys, 0)
    unseal(Path("x"))
    assert "is sound" in problems(Path("x"), capsys, 0)


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json", "job.json", "manifest.json"])
def test_any_flipped_bit_beside_the_shards_is_seen(folder: Path, capsys: Any, name: str) -> None:
    whole = (folder / name).read_bytes()
    for place in range(7, len(whole), max(len(whole) // 23, 1)):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 7
        if bytes(damaged).split() == whole.split():
            continue  # a space that became another says the same
        (folder / name).write_bytes(damaged)
        capsys.readouterr()
        code = run(["data", "verify", str(folder)])
        said = capsys.readouterr()
        foreign = "no manifest of token shards" in said.err or "of version" in said.err
        assert code == 3 or (name == "manifest.json" and code == 1 and foreign), (place, said)
        assert "defect of pylm" not in said.err
        try:  # what training reads of it is refused in a sentence, or as it was
            identify(str(folder))
        except DataError as error:
            assert str(folder) in error.message
    (folder / name).unlink()
    if name != "manifest.json":
        assert f"{name}, byte 0: the file is missing" in problems(folder, capsys)


def leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if isinstance(value, dict):
        return [leaf for key, one in value.items() for leaf in leaves(one, (*path, key))]
    if isinstance(value, list) and value:
        return [leaf for number, one in enumerate(value[:2]) for leaf in leaves(one, (*path, number))]
    return [path]


def other(value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, (int, float)):
        return value + 1
    if isinstance(value, str):
        return ("f" if value[:1] != "f" else "e") + value[1:]
    return 7 if value is None else None


def test_each_field_of_the_manifest_is_checked(folder: Path, capsys: Any) -> None:
    whole = json.loads((folder / "manifest.json").read_text())
    assert len(leaves(whole)) > 40
    for path in leaves(whole):
        changed = json.loads(json.dumps(whole))
        place = changed
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = other(place[path[-1]])
        (folder / "manifest.json").write_text(json.dumps(changed))
        code = run(["data", "verify", str(folder)])
        assert code == 3 or (code == 1 and path[0] in ("format", "version")), path


# in a folder of an earlier version, by what is there to be compared
RECOMPUTED: list[tuple[str, Callable[[dict[str, Any]], Any]]] = [
    ("'eot' is 3", lambda manifest: manifest.update(eot=3)),
    ("bytes of text, its tokens stand for", lambda m: m["splits"]["train"].update(text_bytes=5)),
    ("bytes of text, its tokens stand for", lambda m: m["splits"]["val"].update(text_bytes=5)),
    ("documents, its shards have", lambda m: m["splits"]["train"].update(documents=5)),
    ("goes on with the last document", lambda m: flip_inside(m)),
    ("not the tokenizer that the manifest names", lambda m: m.update(tokenizer="e" * 64)),
    ("'vocab_size' is 301", lambda m: m.update(vocab_size=301)),
    ('its "sources" is not', lambda m: m["sources"][0].update(fingerprint="0" * 32)),
    ('its "settings" is not', lambda m: m["settings"].update(field="body")),
    ('its "settings" is not', lambda m: m["settings"]["rule"]["hash"].update(threshold=1)),
    ("is listed twice", lambda m: m["splits"]["train"]["shards"].append(m["splits"]["train"]["shards"][0])),
]


def flip_inside(manifest: dict[str, Any]) -> None:
    shard = next(one for one in manifest["splits"]["train"]["shards"] if one["starts_inside"])
    shard["starts_inside"] = False


@pytest.mark.parametrize(("said", "change"), RECOMPUTED)
def test_what_can_be_counted_again_is(
    folder: Path, capsys: Any, said: str, change: Callable[[dict[str, Any]], Any]
) -> None:
    unseal(folder)
    edit(folder, change)
    assert said in problems(folder, capsys)


@pytest.mark.parametrize(
    "name", ["../out.bin", "/etc/passwd", "a/b.bin", "..", "", "a\\b.bin", "a\0.bin", "\udc80.bin"]
)
def test_a_name_that_leaves_the_folder_is_refused_by_everyone(folder: Path, capsys: Any, name: str) -> None:
    first = folder / "train_00000.bin"
    shutil.copy(first, folder.parent / "out.bin")
    unseal(folder)
    edit(folder, lambda manifest: manifest["splits"]["train"]["shards"][0].update(file=name))
    assert "manifest.json" in problems(folder, capsys)
    for line in (["data", "stats"], ["data", "show"], ["train", "--max-steps", "1", "--preset", "tiny", "--data"]):
        assert run([*line, str(folder)]) == 1, line
        err = capsys.readouterr().err
        assert "manifest.json" in err and err.count("error:") == 1 and "defect of pylm" not in err
    for read in (lambda: Loader(str(folder), 8, 1), lambda: identify(str(folder))):
        with pytest.raises(DataError, match=r"manifest\.json"):
            read()


@pytest.mark.parametrize(
    "bomb", [("tokens", 2**63), ("tokens", float("inf")), ("tokens", -1), ("documents", 2**64 - 1)]
)
def test_hostile_numbers_are_a_sentence(folder: Path, capsys: Any, bomb: tuple[str, Any]) -> None:
    edit(folder, lambda manifest: manifest["splits"]["train"]["shards"][0].update([bomb]))
    problems(folder, capsys)
    for line in (["data", "stats"], ["data", "show"], ["train", "--max-steps", "1", "--preset", "tiny", "--data"]):
        assert run([*line, str(folder)]) == 1, line
        assert "defect of pylm" not in capsys.readouterr().err


def test_nesting_is_a_sentence(folder: Path, capsys: Any) -> None:
    deep = "[" * 100_000 + "]" * 100_000
    (folder / "manifest.json").write_text(f'{{"format": "pylm-shards", "version": 1, "dtype": "uint16", "x": {deep}}}')
    assert "manifest.json" in problems(folder, capsys)
    for read in (lambda: Loader(str(folder), 8, 1), lambda: identify(str(folder))):
        with pytest.raises(DataError, match=r"manifest\.json: damaged: nested too deeply"):
            read()


def test_a_shard_that_is_a_folder_is_a_problem_not_an_error(folder: Path, capsys: Any) -> None:
    (folder / "train_00000.bin").unlink()
    (folder / "train_00000.bin").mkdir()
    assert "it is a folder, not a file" in problems(folder, capsys)


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json"])
def test_bytes_that_are_no_utf8_are_a_sentence(folder: Path, name: str) -> None:
    whole = bytearray((folder / name).read_bytes())
    whole[5] |= 0x80
    (folder / name).write_bytes(whole)
    with pytest.raises(DataError, match=f"{name} is damaged: byte 5 is not UTF-8"):
        identify(str(folder))


def test_text_in_place_of_a_folder_gets_the_line_that_makes_one(tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "my.txt").write_text("words")
    assert run(["data", "stats", str(tmp_path / "my.txt")]) == 1
    err = capsys.readouterr().err
    assert "is a file, not a folder" in err and f"pylm tokenize {tmp_path / 'my.txt'}" in err


def test_a_split_without_documents_says_which_has_some(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.txt").write_text("some words and more words")
    assert run(["tokenize", "a.txt", "--val", "0", "--out", "x"]) == 0
    capsys.readouterr()
    assert run(["data", "show", "x", "--split", "val"]) == 2
    assert "val holds no documents; --split train does" in capsys.readouterr().err
    assert _rust.shards_changed("x", "tokenizer.json") is None
