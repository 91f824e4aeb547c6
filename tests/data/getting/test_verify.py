"""`pylm data verify` reads every byte of what was got, by the hashes that its publisher gives and by our own."""

import json

import pytest

import pylm
from pylm.cli import run


@pytest.fixture
def folder(tinystories, tmp_path):
    return pylm.data.get("tinystories", tmp_path / "ts", allow_private=True).folder


def test_what_is_as_it_was_got_is_sound(folder, capsys):
    assert run(["data", "verify", str(folder), "--json"]) == 0
    listed = json.loads((folder / "dataset.json").read_text())["files"]
    assert json.loads(capsys.readouterr().out) == {
        "files": len(listed), "bytes": sum(one["size"] for one in listed), "problems": []
    }  # fmt: skip
    assert run(["data", "verify", str(folder)]) == 0
    assert f"is sound: {len(listed)} files" in capsys.readouterr().out


def test_one_bit_of_each_file_is_seen(folder, capsys):
    for one in json.loads((folder / "dataset.json").read_text())["files"]:
        path = folder / one["path"]
        whole = path.read_bytes()
        path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        assert run(["data", "verify", str(folder)]) == 3
        said = capsys.readouterr().err
        assert f"{one['path']}: another content" in said and "pylm data get" in said
        path.write_bytes(whole)
    assert run(["data", "verify", str(folder)]) == 0


def test_what_is_shorter_gone_or_elsewhere_is_said(folder, tmp_path, capsys):
    listed = json.loads((folder / "dataset.json").read_text())["files"]
    first = folder / listed[0]["path"]
    size = first.stat().st_size
    with first.open("r+b") as file:
        file.truncate(size - 1)
    assert run(["data", "verify", str(folder)]) == 3
    assert f"the file has {size - 1:,} bytes, and {size:,} were written" in capsys.readouterr().err
    first.unlink()
    assert run(["data", "verify", str(folder)]) == 3
    assert f"{listed[0]['path']}: the file is gone" in capsys.readouterr().err
    (tmp_path / "secret").write_bytes(b"x" * size)
    first.symlink_to(tmp_path / "secret")
    assert run(["data", "verify", str(folder)]) == 3
    assert "lies outside of the folder" in capsys.readouterr().err
