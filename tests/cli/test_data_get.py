"""`pylm data get`: what it prints, what it asks, and what it takes where no name is given."""

import json

import pytest

import pylm.cli.data.get_ as command
from pylm.cli import run
from pylm.data.getting import foreseen
from tests.data.getting.conftest import at, environment, hub, jsonl, knows, parquet, server, texts, tinystories

__all__ = ["at", "environment", "hub", "knows", "server", "tinystories"]


def test_it_says_terms_and_where_it_is(tinystories, tmp_path, capsys):
    line = ["data", "get", "tinystories", "--allow-private", "--out", str(tmp_path / "ts")]
    assert run(line) == 0
    out, err = capsys.readouterr()
    assert out.startswith("tinystories: 5 files, ") and out.endswith(f"→ {tmp_path / 'ts'}\n")
    assert "tinystories: CDLA-Sharing-1.0" in err
    assert run(line) == 0
    assert "are here already:" in capsys.readouterr().out


def test_several_get_a_folder_each_and_programs_read_it(tinystories, hub, tmp_path, capsys):
    hub.add("org/name", {"a.jsonl": jsonl([{"text": t} for t in texts(3)])})
    names = ["tinystories", "hub:org/name"]
    assert run(["data", "get", *names, "--allow-private", "--limit", "2docs", "--out", str(tmp_path), "--json"]) == 0
    made = json.loads(capsys.readouterr().out)["datasets"]
    assert [(one["folder"], one["slice"]["documents"], one["was_here"]) for one in made] == [
        (str(tmp_path / "tinystories"), 2, False), (str(tmp_path / "hub-org--name"), 2, False)]  # fmt: skip
    assert (tmp_path / "hub-org--name" / "text_00000.jsonl").is_file()


def test_a_slice_says_its_tokens(hub, tmp_path, capsys):
    content = parquet(text=texts(20), token_count=[10] * 20)
    hub.add("HuggingFaceFW/fineweb", {"sample/10BT/000_00000.parquet": content})
    assert run(["data", "get", "fineweb_0.00005M", "--allow-private", "--out", str(tmp_path / "x")]) == 0
    assert capsys.readouterr().out.startswith("fineweb_0.00005M: 5 documents, 55 tokens, ")


def test_a_configuration_names_what_no_name_does(tinystories, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text("data:\n  sources: {'tinystories::validation': 1}\n")
    assert run(["data", "get", "--config", "mine.yaml", "--allow-private", "--limit", "3docs", "--out", "x"]) == 0
    assert "3 documents" in capsys.readouterr().out
    (tmp_path / "none.yaml").write_text("data: {window: packed}\n")
    assert run(["data", "get", "--config", "none.yaml"]) == 2
    assert "none.yaml names no data.sources" in capsys.readouterr().err
    assert run(["data", "get", "tinystories", "--config", "mine.yaml"]) == 2
    assert run(["data", "get"]) == 2
    assert "no dataset was named" in capsys.readouterr().err


def test_much_is_asked_about(tinystories, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(foreseen, "LARGE", 1000)
    line = ["data", "get", "tinystories", "--allow-private", "--out", str(tmp_path / "ts")]
    assert run(line) == 2
    assert "--yes says that it is; --limit 100Mtok takes the beginning" in capsys.readouterr().err
    monkeypatch.setattr(command, "_asking", lambda progress: lambda text: False)
    assert run(line) == 1
    assert not (tmp_path / "ts").exists()
    assert run([*line, "--yes"]) == 0


def test_a_question_has_the_line_to_itself(monkeypatch):
    from pylm.cli.frame.progress import Progress

    events = []
    monkeypatch.setattr(Progress, "__enter__", lambda self: events.append("bar"))
    monkeypatch.setattr(Progress, "__exit__", lambda self, *_: events.append("no bar"))
    monkeypatch.setattr(command.click, "confirm", lambda text, err: events.append(text) or True)
    assert command._asking(Progress("get")) is None
    for stream in ("stdin", "stderr"):
        monkeypatch.setattr(f"sys.{stream}.isatty", lambda: True)
    assert command._asking(Progress("get"))("fetch it?")
    assert events == ["no bar", "fetch it?", "bar"]


@pytest.mark.parametrize("name", ["tinystores", "hub:org", "fineweb-2"])
def test_a_name_that_is_none_is_answered(name, server, capsys):
    assert run(["data", "get", name]) == 2
    assert "hint:" in capsys.readouterr().err


def test_the_folders_of_signed_addresses_do_not_have_the_signatures(hub, tmp_path, capsys):
    urls = [f"{hub.add_plain(name, b'text')}?token=SECRET" for name in ("a.txt", "b.txt")]
    assert run(["data", "get", *urls, "--allow-private", "--out", str(tmp_path / "out")]) == 0
    assert len(list((tmp_path / "out").glob("*/?.txt"))) == 2
    assert "SECRET" not in "".join([*capsys.readouterr(), *map(str, (tmp_path / "out").rglob("*"))])
