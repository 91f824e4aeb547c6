"""`pylm data report`: the same numbers on the terminal, on the page and as JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pylm.cli import run
from tests.data.cleaning.report.made_up import made_up, written


def test_a_report_is_shown_and_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = written(tmp_path / "clean", made_up())
    assert run(["data", "report", str(folder)]) == 0
    shown = capsys.readouterr().out
    lines = [" ".join(line.split()) for line in shown.splitlines()]
    assert lines[0] == "85,000 documents, 412 MB: 56,438 kept (66.4 %), 323 MB"
    assert "gopher 80,849 9,242 11.4 %" in lines and "gopher_short_doc 9,120 10.7 % gopher.word_count < 50" in lines
    assert not any(line.startswith("gopher_too_many_bullets") for line in lines)  # it removed nothing
    assert lines[-1] == f"all of it: {folder / 'report.html'}" and (folder / "report.html").is_file()


def test_the_page_goes_where_it_is_wanted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = written(tmp_path / "clean", made_up())
    assert run(["data", "report", str(folder), "--out", str(tmp_path / "x.html"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == made_up()
    assert (tmp_path / "x.html").is_file() and not (folder / "report.html").exists()


def test_hostile_names_do_not_steer_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = made_up()
    content["stages"][0]["stage"] = "\x1b[2Jgone\u202e"
    assert run(["data", "report", str(written(tmp_path, content))]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out and "⟨U+001B⟩[2Jgone⟨U+202E⟩" in out


def test_a_folder_without_a_report_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["data", "report", str(tmp_path)]) == 1
    assert "holds no report" in capsys.readouterr().err
