"""The page of a report: all of it is there, none of it is more than text, and the same report is the same page."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from pylm.data.cleaning import report
from pylm.data.cleaning.report.crossed import crossed
from pylm.data.cleaning.report.figures import brief, percent, rule, shown, tint, value
from pylm.data.cleaning.report.histogram import HEIGHT, WIDTH, histogram
from pylm.errors import DataError
from tests.data.cleaning.report.made_up import TEXTS, made_up, written

HOSTILE = (
    "</style></title></div><script>alert(1)</script><img src=x onerror=alert(2)>\"'><svg onload=alert(3)>&amp;{{ 7*7 }}"
    "<!-- <a href=javascript:alert(4)>x</a> \0\u202eevil\u2066\ud800\u200b]]>"
)


class Parsed(HTMLParser):
    """What a page holds: its elements with their attributes, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def page(folder: Path, content: dict[str, Any]) -> str:
    return report.write(written(folder, content)).read_text(encoding="utf-8")


def shape(text: str) -> list[tuple[str, list[str]]]:
    return [(tag, sorted(attributes)) for tag, attributes in Parsed(text).elements]


def test_the_page_says_what_the_report_says(tmp_path: Path) -> None:
    content = made_up()
    text = " ".join(" ".join(Parsed(page(tmp_path, content)).words).split())
    for expected in (
        "66.4 % of documents kept: 56,438 of 85,000",
        "Gopher quality 80,849 9,242 11.4 % 28.7 MB",
        "gopher_short_doc gopher.word_count < 50 9,120 10.7 % 28.3 MB",
        "Removed nothing: gopher_too_many_bullets .",
        "gopher_short_doc 6,437 1,609 1,072",
        "jpn_Jpan characters built-in 8,120",
        "near 2,210 7,337 5,127",
        "boolq 3,270 812 24.8 % 1 1",
        "mojibake 410",
        "mail 1,207",
        "< 50 removes",
        '"families"',
        *(" ".join(each.split()) for each in TEXTS.values()),
    ):
        assert expected in text, expected


def test_hostile_text_and_names_change_nothing_but_text(tmp_path: Path) -> None:
    tame, wild = page(tmp_path / "a", made_up("tame", "tame")), page(tmp_path / "b", made_up(HOSTILE, HOSTILE))
    assert shape(wild) == shape(tame)
    for tag, attributes in Parsed(wild).elements:
        assert tag not in ("script", "img", "iframe", "object", "link", "base", "form")
        for name, content in attributes.items():
            assert not name.startswith("on") and name not in ("src", "style", "xlink:href"), (tag, name)
            assert name != "href" or (content or "").startswith("#")
            assert "alert" not in (content or "")
    assert not re.search("[\0\u202e\u2066\u200b]", wild) and "49" not in shown(HOSTILE)
    words = "".join(Parsed(wild).words)
    assert shown(HOSTILE) in words
    assert shown(HOSTILE).endswith("⟨U+0000⟩⟨U+202E⟩evil⟨U+2066⟩⟨U+D800⟩⟨U+200B⟩]]>")


def test_what_scripts_need_is_shown_as_it_is() -> None:
    for text in ("क्‍ष ‌می‌خواهم", "a\n\tb", "吾輩は猫である", "👩‍👩‍👧", "e\u0301"):
        assert shown(text) == text


def test_the_policy_allows_one_style_sheet_and_nothing_else(tmp_path: Path) -> None:
    text = page(tmp_path, made_up())
    (style,) = re.findall("<style>(.*?)</style>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    (policy,) = (each["content"] for tag, each in Parsed(text).elements if each.get("http-equiv"))
    assert policy == f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    assert "url(" not in style and "@import" not in style


def test_the_same_report_is_the_same_page(tmp_path: Path) -> None:
    first = report.write(written(tmp_path / "a", made_up())).read_bytes()
    assert report.write(tmp_path / "a", tmp_path / "other.html").read_bytes() == first
    assert report.write(written(tmp_path / "b", made_up())).read_bytes() == first
    assert sorted(path.name for path in tmp_path.glob("a/*")) == ["report.html", "report.json"]


def test_a_report_of_nothing_has_a_page(tmp_path: Path) -> None:
    empty: dict[str, Any] = {key: [] for key in ("stages", "sources", "languages", "reasons", "measures")}
    none = {"documents": 0, "bytes": 0}
    text = page(tmp_path, {"format": report.FORMAT, **none, "kept": none, **empty})
    assert "No document was removed." in text and "Thresholds" not in text and "Test sets" not in text


def test_tables_have_headers_and_what_scrolls_takes_the_keyboard(tmp_path: Path) -> None:
    elements = Parsed(page(tmp_path, made_up())).elements
    assert all(each.get("scope") in ("row", "col") for tag, each in elements if tag == "th")
    ids = {each["id"] for _, each in elements if "id" in each}
    for tag, each in elements:
        if each.get("class") == "scroll":
            assert each["tabindex"] == "0" and (each.get("aria-label") or each["aria-labelledby"] in ids)
        if tag == "svg":
            assert each.get("aria-hidden") == "true" or each.get("aria-label")
        if tag == "a":
            assert (each["href"] or "")[1:] in ids


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "holds no report"),
        ("{", "is damaged: it is no JSON"),
        ("[]", "is no report of this pylm's"),
        ('{"format": "pylm-clean-report-9"}', "is no report of this pylm's"),
        (json.dumps({**made_up(), "kept": 3}), "is damaged: 'kept' is 3"),
        (json.dumps({key: value for key, value in made_up().items() if key != "stages"}), "it has no 'stages'"),
        (json.dumps({**made_up(), "stages": [{"stage": "c4"}]}), "is damaged"),
        (json.dumps({**made_up(), "measures": [{**made_up()["measures"][0], "edges": [0]}]}), "do not belong together"),
    ],
)
def test_a_damaged_report_is_one_sentence(tmp_path: Path, content: str | None, said: str) -> None:
    if content is not None:
        (tmp_path / "report.json").write_text(content)
    with pytest.raises(DataError, match=re.escape(said)):
        report.write(tmp_path)
    assert not list(tmp_path.glob("*.html"))


def test_a_folder_that_is_none_is_said() -> None:
    with pytest.raises(DataError, match="is no folder"):
        report.read("nowhere")


def test_a_histogram_stands_where_its_numbers_say() -> None:
    one = {"measure": "m", "threshold": 15, "edges": [0, 10, 20, 40], "counts": [0, 8, 4], "removed": [0, 2, 0]}
    drawn = histogram(one)
    assert drawn.threshold == f"{WIDTH / 2:g}"  # half of the second of three bars
    assert (drawn.documents, drawn.removed) == (12, 2)
    nothing, tall, low = drawn.bars
    assert nothing.kept == nothing.removed == "0"
    assert float(tall.kept) == pytest.approx(3 * float(tall.removed)) and low.removed == "0"
    assert float(tall.removed_y) == pytest.approx(4) and float(tall.kept_y) == pytest.approx(HEIGHT - float(tall.kept))
    assert float(low.kept) == pytest.approx((HEIGHT - 4) / 2)
    assert [text for _, _, text in drawn.labels] == ["0", "10", "20", "40"]
    for outside in (41, -1, None, "x"):
        assert histogram({**one, "threshold": outside}).threshold is None


def test_a_table_keeps_every_document() -> None:
    parts = [{"name": f"s{number:02}", "documents": number} for number in range(20)]
    reasons = [{"reason": "r", "sources": {f"s{number:02}": number for number in range(20)}}, {"reason": "none"}]
    made = crossed(parts, "name", reasons, "sources")
    assert [name for name, _ in made.columns[:2]] == ["s19", "s18"] and made.columns[-1][0] == "13 others"
    assert sum(documents for _, documents in made.columns) == sum(range(20))
    assert [name for name, _ in made.rows] == ["r"] and sum(made.rows[0][1]) == sum(range(20))
    assert crossed(parts[:8], "name", reasons, "sources").others == 0


def test_figures_do_not_round_to_nothing_or_all() -> None:
    assert [percent(*each) for each in ((1, 10**6), (10**6 - 1, 10**6), (0, 9), (9, 9), (0, 0), (1, 8))] == [
        "< 0.1 %", "> 99.9 %", "0.0 %", "100.0 %", "0.0 %", "12.5 %",
    ]  # fmt: skip
    assert [value(each) for each in (None, 50, 0.30000001, 1234567, 50.0, "x", 1e300)] == [
        "–", "50", "0.3", "1,234,567", "50", "x", "1e+300",
    ]  # fmt: skip
    assert [brief(each) for each in (0, 0.12345, 1.01, 152.04, 9845.2, 13053.0, 100_000)] == [
        "0", "0.123", "1.01", "152", "9,845", "13.1k", "100k",
    ]  # fmt: skip
    assert rule({"key": "a.b", "comparison": "<", "threshold": 0.5}) == "a.b < 0.5" and rule({"key": ""}) == ""
    assert [tint(part, 100) for part in (0, 1, 2, 10, 20, 90)] == ["t0", "t1", "t2", "t3", "t4", "t5"]


def test_a_threshold_that_only_languages_have_is_told_with_whose_it_is(tmp_path: Path) -> None:
    content = made_up()
    first = content["measures"][0]
    first["language"] = "jpn_Jpan"
    reason = next(one for one in content["reasons"] if one["key"] == first["key"])
    reason["threshold"] = None
    text = " ".join(" ".join(Parsed(page(tmp_path, content)).words).split())
    assert re.search(rf"{first['key']} [<>] \S+ removes [\d,]+ documents? of jpn_Jpan", text)
    assert f"{reason['key']} {reason['comparison']} by language" in text
