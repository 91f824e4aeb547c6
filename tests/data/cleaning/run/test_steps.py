"""Each step of cleaning is honoured: what it removes, what it writes, and the document's own fields beside."""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import pylm
from pylm.data.cleaning import options
from pylm.errors import DataError, UsageError
from tests.data.cleaning.run.corpus import (
    clean,
    digest,
    documents,
    lines,
    passage,
    small_units,
    write,
    write_several,
)


@pytest.fixture(autouse=True)
def _small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    small_units(monkeypatch)


def cleaned(rows: list[dict[str, Any]], **given: Any) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """What is kept of rows, and why the others go by their ids; nothing but duplicates does if nothing is said."""
    source = write(Path("rows.jsonl"), rows)
    clean(source, Path("out"), force=Path("out").exists(), **{"rules": "none", "near": "off", **given})
    return lines(Path("out"), "text"), {line.get("id"): line["reason"] for line in lines(Path("out"), "removed")}


def test_a_line_is_the_documents_own_fields_with_its_text_first() -> None:
    odd = '{"text": "one", "id": 7, "n": 0.1, "big": 12345678901234567890, "in": {"text": [1, "\\u2028"]}, "nul": null}'
    Path("odd.jsonl").write_text(f'{odd}\n{{"id": "b", "text": "two"}}\n{{"text": "three"}}\n', encoding="utf-8")
    clean("odd.jsonl", Path("out"), rules="none", near="off")
    got = (Path("out") / "text_00000.jsonl").read_text(encoding="utf-8").split("\n")
    assert json.loads(got[0]) == json.loads(odd) and list(json.loads(got[0]))[:2] == ["text", "id"]
    assert got[1:] == ['{"text":"two","id":"b"}', '{"text":"three"}', ""]


def test_fields_that_no_parser_of_values_holds_stay_as_they_are_written() -> None:
    rows = ['{"text": "one", "id": 123456789012345678901234567890, "n": 1e400, "p": 1.10, "in": [ 1, 2 ]}',
            '{"text": "one", "id": "b", "half": "\\ud800", "url": "http://a.example/", "score": 5}']  # fmt: skip
    Path("odd.jsonl").write_text("\n".join(rows), encoding="utf-8")
    clean("odd.jsonl", Path("out"), rules="none", near="off", keep="best:score", keep_removed=True)
    kept = (Path("out") / "text_00000.jsonl").read_text(encoding="utf-8")
    fields = '"half":"\\ud800","url":"http://a.example/","score":5'
    assert kept == f'{{"text":"one","id":"b",{fields},"cluster":0,"cluster_size":2}}\n'
    removed = (Path("out") / "removed_00000.jsonl").read_text(encoding="utf-8")
    big = '"id":123456789012345678901234567890'
    assert f",{big}," in removed and f'"fields":{{{big},"n":1e400,"p":1.10,"in":[1,2]}}}}' in removed


def test_other_names_of_the_text_and_other_formats() -> None:
    Path("b.jsonl").write_text('{"body": "one", "text": 5, "x": {"y": "deep"}}\n', encoding="utf-8")
    clean("b.jsonl", Path("b"), rules="none", near="off", field="body")
    assert lines(Path("b"), "text") == [{"text": "one", "x": {"y": "deep"}}]
    clean("b.jsonl", Path("c"), rules="none", near="off", field="x.y")
    assert lines(Path("c"), "text") == [{"text": "deep", "body": "one", "x": {}}]
    Path("d.csv").write_text("id,text,n\na,one,1\nb,two,2\n", encoding="utf-8")
    clean("d.csv", Path("d"), rules="none", near="off")
    assert [line["id"] for line in lines(Path("d"), "text")] == ["a", "b"]
    Path("e.txt").write_text("one<|endoftext|>two", encoding="utf-8")
    clean("e.txt", Path("e"), rules="none", near="off")
    assert lines(Path("e"), "text") == [{"text": "one"}, {"text": "two"}]


def test_what_python_alone_can_read_keeps_its_fields() -> None:
    def rows() -> Iterator[dict[str, Any]]:
        yield {"id": 3, "text": "one", "when": "2024"}
        yield {"text": "two"}

    clean(rows, Path("out"), rules="none", near="off")
    assert lines(Path("out"), "text") == [{"text": "one", "id": "3", "when": "2024"}, {"text": "two"}]
    clean(rows, Path("out2"), rules="none", near="off", limit="1docs")
    assert [line["text"] for line in lines(Path("out2"), "text")] == ["one"]


def test_copies_go_but_for_the_one_that_is_to_stay() -> None:
    rows = [
        {"id": "a", "text": "one two three", "q": 1, "date": "2020-01-01"},
        {"id": "b", "text": "one  two\nthree", "q": 3, "date": "2019"},
        {"id": "c", "text": "one two three", "q": 2, "date": "2020-01-02T00:00:00Z"},
        {"id": "d", "text": "else"},
    ]
    for keep, stays in (("first", "a"), ("longest", "b"), ("newest", "c"), ("best:q", "b")):
        kept, gone = cleaned(rows, keep=keep)
        assert [line["id"] for line in kept] == [stays, "d"]
        assert set(gone) == {"a", "b", "c"} - {stays} and set(gone.values()) == {"exact_duplicate"}
        assert (kept[0]["cluster"], kept[0]["cluster_size"]) == (0, 3) and "cluster" not in kept[1]
    assert len(cleaned(rows, exact=False)[0]) == 4
    assert [line["id"] for line in cleaned(rows, rehydrate=True)[0]] == ["a", "a", "a", "d"]


def test_a_field_that_no_document_has_a_number_in_is_refused() -> None:
    rows = [{"id": "a", "text": "one", "q": "good", "score": 2}, {"id": "b", "text": "one", "n": "7"}]
    with pytest.raises(UsageError, match='no document has a number under "q"') as refused:
        cleaned(rows, keep="best:q")
    assert "n, score" in str(refused.value.hint)
    assert [line["id"] for line in cleaned(rows, keep="best:score")[0]] == ["a"]  # what was begun is replaced
    with pytest.raises(UsageError) as refused:
        cleaned([{"id": "a", "text": "one"}], keep="best:score")
    assert "no field of theirs holds a number" in str(refused.value.hint)


def test_rules_of_another_name_are_told_by_it() -> None:
    cleaned([{"text": "one"}])
    with pytest.raises(DataError, match='holds text cleaned with rules "none" instead of "gopher"'):
        clean("rows.jsonl", Path("out"), rules="gopher", near="off")


def test_near_duplicates_are_those_whose_words_agree() -> None:
    rows = documents()
    _, gone = cleaned(rows, near=0.8)
    near = {name for name, reason in gone.items() if reason == "near_duplicate"}
    firsts = {row["id"] for row in rows if str(row.get("id", "")).startswith("near-")}
    assert len(near) == len(firsts) == 20  # of a document and its near-copy the one that comes later goes


def test_a_language_that_is_not_wanted_goes() -> None:
    rows = [
        {"id": "en", "text": "This is a sentence of the English language, and here is another one for you."},
        {"id": "ja", "text": "これは日本語の文章です。もう一つの文がここにあります。"},
    ]
    kept, gone = cleaned(rows, languages="Japanese")
    assert [line["id"] for line in kept] == ["ja"] and gone == {"en": "language"}
    assert lines(Path("out"), "removed")[0]["language"] == "eng_Latn"


def test_addresses_of_pages_are_looked_up() -> None:
    Path("lists").mkdir()
    Path("lists/domains").write_text("bad.example\n")
    addresses = {"a": "https://www.bad.example/x", "b": "https://good.example/"}
    rows = [{"id": name, "text": f"text {name}", "url": url} for name, url in addresses.items()]
    rows.append({"id": "c", "text": "none"})
    kept, gone = cleaned(rows, url_list="lists")
    assert [line["id"] for line in kept] == ["b", "c"] and gone == {"a": "url"}
    assert lines(Path("out"), "removed")[0]["key"] in ("url.domain", "url.subdomain")


def test_text_is_repaired_and_addresses_of_people_masked_or_tagged() -> None:
    text = "Caf\u00c3\u00a9 at 8.8.4.4 \u0000or  jo@mail.example \r\nand more"
    (kept,), _ = cleaned([{"id": "a", "text": text}])
    assert kept["text"].startswith("Café at ") and "jo@mail" not in kept["text"] and "\x00" not in kept["text"]
    assert re.search(r"at (\d+\.){3}\d+ or", kept["text"]) and "8.8.4.4" not in kept["text"]
    (kept,), _ = cleaned([{"id": "a", "text": text}], pii="tag", repair=False)
    assert kept["text"] == text
    assert [(kept["text"][start:end], kind) for start, end, kind in kept["private"]] == [
        ("8.8.4.4", "ip"), ("jo@mail.example", "mail")]  # fmt: skip
    (kept,), _ = cleaned([{"id": "a", "text": text}], pii="off", repair="controls")
    assert kept["text"] == text.replace("\x00", "").replace("\r\n", "\n")
    report = json.loads(Path("out/report.json").read_text())
    assert report["repairs"] == {"controls": 1, "line_ends": 1} and report["private"] == {}


@pytest.mark.parametrize("part", ["lines", "spans"])
def test_tags_say_where_addresses_stand_in_what_is_left(part: str) -> None:
    """The first document keeps the line, the others lose it with the address in it; a field of their own stays."""
    same = "Ask help@shop.example for more. It is a line of many pages. Nobody reads it at all."
    rows = [{"id": n, "text": f"{same}\nWrite to é{n} or {n}@own.example."} for n in "abc"]
    rows += [{"id": "d", "text": f"{same}\nNo more."}, {"id": "e", "text": "Nothing at all.", "private": "its own"}]
    kept, _ = cleaned(rows, pii="tag", keep_removed=True, **{part: 2})
    found = [[row["text"][start:end] for start, end, _ in row.get("private", [])] for row in kept[:4]]
    assert found == [["help@shop.example", "a@own.example"], ["b@own.example"], ["c@own.example"], []]
    assert "private" not in kept[3] and kept[4]["private"] == "its own"
    schema = json.loads(Path("out/tags/tags.json").read_text())
    records, size = Path("out/tags/records.bin").read_bytes(), schema["record_bytes"]
    told = [int.from_bytes(records[at + 16 : at + 20], "little") for at in range(0, len(records), size)]
    own = [json.dumps({k: v for k, v in row.items() if k != "text"}, separators=(",", ":")) for row in kept]
    assert told == [len(one) for one in own]


def test_a_field_that_nobody_can_hold_costs_no_other_field() -> None:
    Path("lists").mkdir()
    Path("lists/domains").write_text("bad.example\n")
    odd = ['"a\\ud800b"', "1e999", "[" * 200 + "]" * 200, '{"in": "\\udc00"}']
    own = '"url": "http://good.example"'
    written = [
        f'{{"odd": {value}, "id": {number}, "text": "text {number}", {own}}}' for number, value in enumerate(odd)
    ]
    written.append('{"odd": -1e999, "id": "gone", "text": "bad", "url": "http://bad.example/x"}')
    Path("odd.jsonl").write_text("\n".join(written))
    clean("odd.jsonl", Path("out"), rules="none", near="off", url_list="lists")
    kept = (Path("out") / "text_00000.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["id"] for line in kept] == [0, 1, 2, 3]
    assert all(f'"odd":{value}' in line.replace(": ", ":") and "good.example" in line
               for value, line in zip((value.replace(": ", ":") for value in odd), kept, strict=True))  # fmt: skip
    assert [line["id"] for line in lines(Path("out"), "removed")] == ["gone"]


def test_a_list_that_got_another_name_is_another_list() -> None:
    Path("lists").mkdir()
    Path("lists/domains").write_text("bad.example\n")
    cleaned([{"id": "a", "text": "text", "url": "http://bad.example"}], url_list="lists")
    Path("lists/domains").rename("lists/urls")
    with pytest.raises(DataError, match="holds text cleaned with other files"):
        clean("rows.jsonl", Path("out"), rules="none", near="off", url_list="lists")


def test_two_ranks_that_were_asked_for_different_things_do_not_share_a_folder() -> None:
    """One looks at the folder while it is empty, waits for its list of addresses, and finds another's work then."""
    write(Path("rows.jsonl"), documents())
    os.mkfifo("list")
    refused: list[BaseException] = []

    def late() -> None:
        try:
            clean("rows.jsonl", Path("out"), url_list="list", rank=1, world=2)
        except DataError as error:
            refused.append(error)

    thread = threading.Thread(target=late)
    thread.start()
    with open("list", "w") as feed:  # opens once the other reads: it has looked at the folder
        first = clean("rows.jsonl", Path("out"), rank=0, world=2)
        feed.write("bad.example\n")
    thread.join()
    assert len(refused) == 1 and "holds text cleaned with" in str(refused[0])
    assert first.missing == 0 or first.manifest is None
    assert clean("rows.jsonl", Path("out")).manifest is not None
    clean("rows.jsonl", Path("alone"))
    assert digest(Path("out")) == digest(Path("alone"))


@pytest.mark.parametrize("spelled", ["out", "./out", "{here}/out", "../{name}/out", "link", "out/text_00000.jsonl"])
def test_a_folder_is_not_cleaned_into_itself_however_it_is_called(tmp_path: Path, spelled: str) -> None:
    """`--force` would remove the text before it is read."""
    cleaned([{"id": "a", "text": "text"}])
    before = digest(Path("out"))
    Path("link").symlink_to("out")
    spelled = spelled.format(here=tmp_path, name=tmp_path.name)
    for source, out in ((spelled, "out"), ("out", spelled)):
        if Path(out).is_dir():
            with pytest.raises(UsageError, match="is both read and written"):
                clean(source, Path(out), force=True)
    assert digest(Path("out")) == before


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"memory": -5}, "memory is -5"),
        ({"memory": 1 << 70}, "memory is 1180591620717411303424"),
        ({"rank": -(1 << 70), "world": 1}, "rank is -1180591620717411303424"),
        ({"lines": 1 << 70}, "lines is 1180591620717411303424"),
        ({"rules": None}, "rules is None"),
        ({"pii": None}, "pii is None"),
        ({"keep": 3}, "keep is 3"),
        ({"repair": 3}, "3 is no name"),
        ({"languages": ["en", 3]}, "3 is no name"),
        ({"set": {1: 2}}, "there is no rule 1"),
    ],
)
def test_what_is_no_value_is_said_in_one_sentence(wrong: dict[str, Any], said: str) -> None:
    write(Path("rows.jsonl"), documents()[:3])
    with pytest.raises(UsageError, match=said) as told:
        clean("rows.jsonl", Path("out"), **wrong)
    assert told.value.hint and not Path("out").exists()


def test_documents_that_hold_a_test_go_and_the_report_counts_its_items() -> None:
    import random

    draw = random.Random(5)
    items = [{"query": passage(draw, 10), "choices": [passage(draw, 8), "no"], "gold": 0} for _ in range(4)]
    write(Path("quiz.jsonl"), items)
    hit = f"{passage(draw, 30)} {items[2]['query']} {items[2]['choices'][0].upper()} {passage(draw, 30)}"
    rows = [{"id": "clean", "text": passage(draw, 60)}, {"id": "hit", "text": hit}]
    kept, gone = cleaned(rows, against="quiz.jsonl", ngram=8)
    assert [line["id"] for line in kept] == ["clean"] and gone == {"hit": "contaminated"}
    told = json.loads(Path("out/report.json").read_text())["contamination"]
    assert told["n"] == 8 and told["tasks"] == [
        {"task": "quiz", "items": 4, "items_with_a_gram": 4, "items_found": 1, "documents": 1}
    ]
    assert ">test items<" in re.sub(r"\s*([<>])\s*", r"\1", Path("out/report.html").read_text())


def test_lines_that_many_documents_have_are_dropped_from_all_but_the_first() -> None:
    rows = [{"id": n, "text": f"Own line {n} here.\nAccept all cookies.\nThe end of {n}."} for n in "abc"]
    rows.append({"id": "d", "text": "Accept all cookies."})
    kept, gone = cleaned(rows, lines=3, keep_removed=True)
    assert kept[0]["text"].count("cookies") == 1 and not any("cookies" in line["text"] for line in kept[1:])
    assert kept[1]["text"] == "Own line b here.\nThe end of b." and gone == {"d": "empty"}


def test_rules_by_name_and_key_and_their_rewriting() -> None:
    import random

    draw = random.Random(2)
    body = "\n".join(passage(draw, 30) for _ in range(4))
    rows = [{"id": "page", "text": f"{body}\nPlease enable javascript to go on.\n{body[:200]} end."},
            {"id": "short", "text": "Too short to stay."}]  # fmt: skip
    kept, gone = cleaned(rows, rules="c4", set={"c4.sentences": 3})
    assert "javascript" not in kept[0]["text"] and gone == {"short": "too_few_sentences"}
    removed = lines(Path("out"), "removed")[0]
    assert (removed["key"], removed["value"]) == ("c4.sentences", 1)
    assert cleaned(rows, rules="c4", set=["c4.sentences=off"])[1] == {}


def test_tags_alone_and_what_was_removed_with_its_text() -> None:
    rows = documents()
    cleaned(rows, rules="fineweb", tags_only=True)
    names = {path.name for path in Path("out").iterdir()}
    assert names == {"tags", "report.json", "report.html", "manifest.json", "job.json"}
    cleaned(rows, rules="fineweb", keep_removed=True)
    both = lines(Path("out"), "text") + lines(Path("out"), "removed")
    assert len(both) == len(rows)
    fields = [line.get("fields", {}) for line in lines(Path("out"), "removed")]
    assert any("score" in own for own in fields) and all("text" in line for line in both)


def test_a_source_without_a_folder_gives_the_same_documents(tmp_path: Path) -> None:
    source = write_several(tmp_path / "texts", documents())
    folder = clean(source, Path("out"))
    lazily = pylm.data.clean(source)
    first, again = list(lazily), list(lazily)
    assert first == again == list(folder.source) and len(first) == folder.manifest["kept"]["documents"]
    assert lazily.take(3).count() == 3
    assert len(list(zip(pylm.data.clean(source), first, strict=True))) == len(first)  # nobody else holds it


def test_a_unit_size_is_no_part_of_the_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_several(tmp_path / "texts", documents())
    clean(source, Path("small"))
    monkeypatch.setattr(options, "UNIT", 1 << 25)
    clean(source, Path("large"))
    for name in ("text_00000.jsonl", "removed_00000.jsonl", "tags/records.bin", "tags/clusters.bin"):
        assert (Path("small") / name).read_bytes() == (Path("large") / name).read_bytes()
