"""`pylm data list`: without the network, without what takes long to load, and in words that programs read too."""

import json
import subprocess
import sys

import pytest

from pylm.cli import run
from pylm.cli.frame.completion import complete_datasets
from pylm.data import catalogue


@pytest.fixture(autouse=True)
def nothing_here(tmp_path, monkeypatch):
    monkeypatch.setenv("PYLM_CACHE", str(tmp_path / "ours"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "theirs"))


def test_all_are_listed(capsys):
    assert run(["data", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:-2]] == list(catalogue.names())
    assert "2,119,719" in lines[1] and "CDLA-Sharing-1.0" in lines[1]
    assert "nobody could check" in lines[-1]


def test_a_page_says_what_was_seen_and_what_was_not(capsys):
    assert run(["data", "list", "fineweb_10M"]) == 0
    text = capsys.readouterr().out
    assert "token_count" in text and "@9bb295ddab0e05d785b879661af7260fed5140fc  (seen 2026-" in text
    assert "14,868,862  (nobody could check it)" in text and "sample-10BT if none is named" in text
    assert run(["data", "list", "nue"]) == 0
    assert "no derivatives" in capsys.readouterr().out


def test_programs_read_the_same(capsys):
    assert run(["data", "list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)["datasets"]
    assert [one["name"] for one in listed] == list(catalogue.names())
    livedoor = next(one for one in listed if one["name"] == "livedoor")
    assert livedoor["licence"] == {"value": "CC-BY-ND-2.1-JP", "verified": "2026-11-29"}
    assert livedoor["here"] == [] and "no derivatives" in livedoor["terms"][0]


def test_an_unknown_name_is_answered_with_the_nearest(capsys):
    assert run(["data", "list", "openwebtxt"]) == 2
    assert "did you mean openwebtext" in capsys.readouterr().err


def test_nothing_heavy_is_loaded_and_no_socket_is_opened():
    code = (
        "import socket, sys\n"
        "def no(*_): raise AssertionError('a socket')\n"
        "socket.socket.__init__ = no\n"
        "from pylm.cli import run\n"
        "assert run(['data', 'list']) == 0\n"
        "heavy = ('numpy', 'torch', 'pydantic', 'http.client', 'ssl', 'pylm._rust', 'yaml', 'rich')\n"
        "print([name for name in heavy if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_names_are_completed():
    complete = lambda start: complete_datasets(None, None, start)  # noqa: E731
    assert complete("tinyst") == ["tinystories", "tinystories-v2"]
    assert complete("tinystories_1") == ["tinystories_10M", "tinystories_100M", "tinystories_1B"]
    assert "wikipedia:ja" in complete("wikipedia:")
    assert complete("zzz") == []
