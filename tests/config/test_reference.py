"""docs/configuration.md says what the schema says, and its examples are true."""

import re
from pathlib import Path

from pylm.cli import run
from pylm.config.cascade import resolve
from pylm.config.preset_files import preset_names
from pylm.config.reference import BEGIN, END, renewed
from pylm.config.schema import SECTIONS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "configuration.md"


def test_the_tables_are_the_schemas():
    page = PAGE.read_text(encoding="utf-8")
    assert page == renewed(page), "renew it: python -m pylm.config.reference docs/configuration.md"
    tables = page.partition(BEGIN)[2].partition(END)[0]
    keys = re.findall(r"^\| `(\w+)` \|", tables, re.MULTILINE)
    assert keys == [key for kind in SECTIONS.values() for key in kind.model_fields]


def test_every_preset_is_named():
    page = " ".join(PAGE.read_text(encoding="utf-8").split())
    named = page.partition("`--preset NAME`:")[2].partition(";")[0]
    assert re.findall(r"`([^`]+)`", named) == preset_names()


def test_the_example_of_origins_is_what_is_printed(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = PAGE.read_text(encoding="utf-8")
    command, shown = re.search(r"\$ pylm (.*)\n((?:.+\n)+?)```", page).groups()
    assert run(command.split()) == 0
    assert [line.rstrip() for line in capsys.readouterr().out.splitlines()] == shown.splitlines()


def test_the_example_file_resolves(tmp_path):
    page = PAGE.read_text(encoding="utf-8")
    path = tmp_path / "mine.yaml"
    path.write_text(re.search(r"```yaml\n(.*?)```", page, re.DOTALL)[1])
    config = resolve("train", files=[path], environ={}).config
    assert config.model.n_layers == 12 and config.train.max_time == 7200 and config.data.path == "data/mine"
