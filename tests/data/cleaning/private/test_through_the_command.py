"""`pylm data clean --pii` and `--repair`: what is written holds what was asked for, and no report shows an address."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pylm import _rust
from pylm.cli import run

MAIL, MACHINE = "jane.roe@corp-secret.org", "8.8.4.77"
KEPT = f"می\u200cخواهم क्\u200dष 👩\u200d👧, wrote {MAIL} from {MACHINE}."
COPY = f"{'x' * 380} {MAIL}, at the place where examples are cut; {MACHINE}"
TEXTS = [KEPT, COPY, COPY, f"<b>{MAIL}</b> {MACHINE}", "\x00", f"ab\u00adc Auf\u200clage schÃ¶n e\u0301\r\n{MACHINE} "]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def cleaned(*options: str, texts: list[str] = TEXTS) -> dict[str, list[dict[str, Any]]]:
    """The lines that were kept and removed; the documents of odd numbers are of few words."""
    rows = [{"id": number, "text": text} for number, text in enumerate(texts)]
    Path("pages.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    asked = ["data", "clean", "pages.jsonl", "--out", "out", "--force", "--keep-removed", "--rules", "none"]
    assert run([*asked, *options]) == 0
    files = {kind: Path(f"out/{kind}_00000.jsonl") for kind in ("text", "removed")}
    return {kind: [json.loads(line) for line in file.read_text().splitlines()] for kind, file in files.items()}


@pytest.mark.parametrize("pii", ["mask", "tag", "off"])
def test_no_report_shows_an_address(pii: str) -> None:
    """Copies give examples and clusters, `--set` examples of what a rule removes."""
    for options in ((), ("--set", "length.min_characters=1000")):
        cleaned("--pii", pii, *options)
        for name in ("report.json", "report.html"):
            text = Path("out", name).read_text()
            assert "xxxxxxxx" in text and "corp-" not in text and MACHINE not in text
        written = "".join(file.read_text() for file in Path("out").glob("*_00000.jsonl"))
        assert (MAIL in written, MACHINE in written) == (pii != "mask", pii != "mask")


def test_tags_say_where_addresses_stand() -> None:
    rows = cleaned("--pii", "tag")["text"]
    assert len(rows) == 4
    for row in rows:
        found = [row["text"][start:end] for start, end, _ in row["private"]]
        assert (
            found
            and set(found) <= {MAIL, MACHINE}
            and [kind for *_, kind in row["private"]] == [{MAIL: "mail", MACHINE: "ip"}[one] for one in found]
        )
    assert not any("private" in row for row in cleaned("--pii", "off")["text"])


def test_placeholders_do_not_depend_on_order() -> None:
    texts = [f"ask name{number}@corp.org or 8.8.{number}.8" for number in range(40)]
    there = {row["id"]: row["text"] for row in cleaned("--near", "off", texts=texts)["text"]}
    back = {39 - row["id"]: row["text"] for row in cleaned("--near", "off", texts=texts[::-1])["text"]}
    assert there == back and {text.split()[1] for text in there.values()} == set(
        ["email@example.com", "firstname.lastname@example.org"]
    )


@pytest.mark.parametrize("named", ["off", "mojibake", "controls", "invisible", "whitespace", "nfc", "controls,nfc"])
def test_the_repairs_that_are_named_are_made(named: str) -> None:
    every = ("mojibake", "controls", "invisible", "whitespace", "nfc")
    asked = {name: name in named.split(",") for name in every}
    rows = cleaned("--pii", "off", "--near", "off", "--no-exact", "--repair", named)["text"]
    told = json.loads(Path("out/report.json").read_text())["repairs"]
    assert [row["text"] for row in rows if row["id"] != 4] == [
        _rust.repair(text, **asked)[0] for text in TEXTS if text != "\x00"
    ]
    assert KEPT in [row["text"] for row in rows]
    counts: dict[str, int] = {}
    for text in TEXTS:
        for name, count in _rust.repair(text, **asked)[1].items():
            counts[name] = counts.get(name, 0) + count
    assert told == {name: count for name, count in counts.items() if count}


@pytest.mark.parametrize(
    ("option", "value", "sentence", "hint"),
    [
        ("--repair", "nfd", "there is no repair nfd", "did you mean nfc?"),
        ("--repair", "off,nfc", "there is no repair off", "off makes none"),
        ("--pii", "maks", "--pii: 'maks' is not one of", "did you mean mask?"),
    ],
)
def test_a_wrong_name_is_one_sentence(
    option: str, value: str, sentence: str, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("pages.jsonl").write_text('{"text": "a"}\n')
    assert run(["data", "clean", "pages.jsonl", "--out", "out", option, value]) != 0
    told = capsys.readouterr().err
    assert sentence in told and hint in told and not Path("out").exists()
