"""`pylm report`: what its page says, that nothing of it is more than text, and that it asks for nothing outside."""

from __future__ import annotations

import base64
import getpass
import hashlib
import json
import os
import re
import socket
from html.parser import HTMLParser
from pathlib import Path

import pytest

from pylm.cli import run
from pylm.runs.redacted import redacted
from tests.runs.made import line_of, made_run

Capture = pytest.CaptureFixture[str]
HOSTILE = '</p><script>alert(1)</script><img src=x onerror="alert(2)">&amp;'


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


class Page(HTMLParser):
    """The tags and the texts of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def lines(path: Path, records: list[dict[str, object]]) -> None:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


def full_run() -> Path:
    made_run(Path("runs/before"), choices={"device_name": "another machine", "torch": "2.0"})
    os.utime("runs/before/metrics.jsonl", (1000, 1000))
    path = made_run(Path("runs/a"), origins={"train.seed": "--seed"}, config={"train": {"seed": 5}})
    lines(path / "samples.jsonl", [{"step": step, "prompt": "Once", "text": f" {HOSTILE} {step}"} for step in (10, 20)])
    documents = [{"shard": "s", "index": 1, "start": 0, "text": f"secret {HOSTILE}"}]
    lines(path / "incidents.jsonl", [{"step": 7, "kind": "spike", "loss": 9.5, "documents": documents, "of": 1}])
    found = {"task": "t", "metric": "acc", "value": 0.25, "stderr": 0.1, "checkpoint": "step_9"}
    lines(path / "evaluations.jsonl", [found])
    lines(path / "resumes.jsonl", [{"step": 20, "time": "2026-01-01T00:00:00+00:00", "removed": [line_of(21, 3.0)]}])
    return path


def test_the_page_says_what_the_folder_holds(capsys: Capture) -> None:
    full_run()
    assert run(["report", "a"]) == 0 and capsys.readouterr().out == "runs/a/report.html\n"
    page = Page(Path("runs/a/report.html").read_text())
    text = " ".join(" ".join(page.texts).split())
    for part in (
        *("40 steps", "2,560 tokens", "2.1352 at step 40", "Resumed at step 20 (2026-01-01T00:00:00+00:00), 1 lines"),
        *("spike", "9.5", "train.seed 5 --seed", "Not as in before", "another machine a machine", "torch 2.0 None"),
        *("pylm train --data data/x", "unknown: no checkpoint was saved", "forward 20.0 s", "acc 0.25 0.1 step_9"),
    ):
        assert part in text, part
    assert text.count("</p><script>alert(1)") == 3  # twice in samples, once in a document, as text
    assert [tag for tag, _ in page.tags].count("svg") == 5


def test_nothing_in_it_is_more_than_text_and_nothing_lies_outside() -> None:
    full_run()
    assert run(["report", "a", "--out", "p.html"]) == 0
    text = Path("p.html").read_text()
    page = Page(text)
    assert not {"img", "link", "iframe", "object", "base", "form"} & {tag for tag, _ in page.tags}
    assert not any(name in ("src", "href") or name.startswith("on") for _, attrs in page.tags for name in attrs)
    policy = next(attrs["content"] for tag, attrs in page.tags if tag == "meta" and "http-equiv" in attrs)
    assert policy and "unsafe" not in policy and "default-src 'none'" in policy and "connect-src 'none'" in policy
    scripts = re.findall(r"<script>(.*?)</script>", text, re.S)
    assert len(scripts) == 1
    assert base64.b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode() in policy
    assert not any("style" in attrs for _, attrs in page.tags)  # the policy would drop them


def test_redacted_it_names_nobody_and_no_folder() -> None:
    path = full_run()
    home, user, host = f"/home/{getpass.getuser()}x/data", getpass.getuser(), socket.gethostname()
    noted = json.loads((path / "environment.json").read_text())
    argv = ["train", "--data", home, "--out", f"{path.resolve()}", f"on {host} by {user}"]
    noted |= {"argv": argv, "origins": {"train.seed": f"{home}/m.yaml:3"}}
    (path / "environment.json").write_text(json.dumps(noted))
    assert run(["report", "a", "--redact", "--out", "p.html"]) == 0
    text = Path("p.html").read_text()
    assert home not in text and str(Path().resolve()) not in text and "/home/" not in text and "secret" not in text
    assert "…/m.yaml:3" in text and "[host]" in text and "[user]" in text and "alert(1)" in text


def test_redacted_it_names_nobody_by_the_name_of_the_run() -> None:
    made_run(Path("runs", f"{getpass.getuser()}-1"))
    assert run(["report", f"{getpass.getuser()}-1", "--redact", "--out", "p.html"]) == 0
    assert "<title>[user]-1: a run of pylm</title>" in Path("p.html").read_text()


def test_what_steers_a_terminal_is_spelled() -> None:
    path = made_run(Path("runs/a"))
    (path / "samples.jsonl").write_text(json.dumps({"step": 1, "prompt": "\0", "text": "\x1b[31mred"}) + "\n")
    assert run(["report", "a", "--out", "p.html"]) == 0
    text = Path("p.html").read_text()
    assert r"<b>\x00</b>\x1b[31mred" in text and not {"\0", "\x1b"} & {*text}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/home/ann/text.txt", "…/text.txt"),
        ("~/runs/a", "…/a"),
        ("../../ann/x", "…/x"),
        ("data/mine", "…/mine"),
        ("/data", "…/data"),
        ("--out=/srv/ann/r --n 3", "--out=…/r --n 3"),
        ("runs/a/", "…/"),
        ("bf16, 3.5e-4 and 1.2", "bf16, 3.5e-4 and 1.2"),
        ("plain", "plain"),
    ],
)
def test_paths_lose_their_folders(text: str, expected: str) -> None:
    assert redacted({"a": [text, 1, None]}) == {"a": [expected, 1, None]}


def test_a_run_that_has_just_begun_has_a_page() -> None:
    path = made_run(Path("runs/a"), lines=[])
    assert run(["report", "a"]) == 0 and "no checkpoint was saved" in (path / "report.html").read_text()
    (path / "metrics.jsonl").unlink()
    assert run(["report", "a"]) == 0 and "Nothing was written down yet" in (path / "report.html").read_text()


def test_long_runs_stay_small() -> None:
    path = made_run(Path("runs/a"), lines=[line_of(step, 3 + step % 7) for step in range(1, 30_000)])
    texts = [{"step": step, "prompt": "p", "text": "w" * 9999} for step in range(1, 2000)]
    lines(path / "samples.jsonl", texts)  # type: ignore[arg-type]
    assert run(["report", "a"]) == 0
    text = (path / "report.html").read_text()
    assert len(text.encode()) < 2_000_000
    steps = [attrs["data-step"] for tag, attrs in Page(text).tags if tag == "article"]
    assert len(steps) == 40 and (steps[0], steps[-1]) == ("1", "1999")


def test_what_cannot_be_written_is_a_sentence(capsys: Capture) -> None:
    full_run()
    assert run(["report", "a", "--out", "no/such/p.html"]) == 1
    assert "cannot write no/such/p.html: no such file or directory" in capsys.readouterr().err
