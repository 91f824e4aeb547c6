"""What is read on in a run's files: whole lines once, and what a resume took back."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from pylm.errors import DataError
from pylm.runs import RunFolder
from pylm.runs.trackers.tail import Place, Rewound, Tail
from tests.runs.made import line_of


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A folder with steps 1 to 10, and room for more."""
    with RunFolder(tmp_path / "run") as folder:
        for step in range(1, 11):
            folder.metrics.append(line_of(step, 3.0))
    return tmp_path / "run"


def steps(tail: Tail, kind: str = "metrics") -> list[int]:
    return [line.record["step"] for line in tail.read() if line.kind == kind]


def add(run: Path, *more: int, name: str = "metrics.jsonl") -> None:
    with (run / name).open("a") as file:
        file.writelines(json.dumps(line_of(step, 1.0)) + "\n" for step in more)


def test_lines_are_read_once_and_a_half_one_is_left(run: Path) -> None:
    place = Place()
    tail = Tail(run, place)
    assert steps(tail) == list(range(1, 11)) and place.lines == 10
    half = json.dumps(line_of(11, 1.0))
    for cut in (1, 20, len(half)):
        with (run / "metrics.jsonl").open("a") as file:
            file.write(half[:cut] if cut == 1 else half[1:20] if cut == 20 else half[20:])
        assert steps(tail) == [] and tail.rewound() is None
    with (run / "metrics.jsonl").open("a") as file:
        file.write("\n")
    assert steps(tail) == [11] and place.lines == 11


def test_a_place_that_was_kept_goes_on(run: Path, tmp_path: Path) -> None:
    place = Place(id="x")
    Tail(run, place).read()
    place.write(tmp_path / "kept.json")
    add(run, 11, 12)
    assert steps(Tail(run, Place.read(tmp_path / "kept.json"))) == [11, 12]
    (tmp_path / "kept.json").write_text('{"id": "x", "li')  # a power loss
    assert Place.read(tmp_path / "kept.json") == Place()


@pytest.mark.parametrize("looked_between", [True, False])
def test_what_a_resume_takes_back_is_known(run: Path, looked_between: bool) -> None:
    place = Place()
    tail = Tail(run, place)
    tail.rewound()
    tail.read()
    with RunFolder(run) as folder:
        folder.cut_back(6)
        if looked_between:
            assert tail.rewound() == Rewound(step=6, lines=6) and steps(tail) == []
        for step in range(7, 15):  # more bytes than were read before the cut
            folder.metrics.append(line_of(step, 2.0, note="x" * 50))
    if not looked_between:
        assert tail.rewound() == Rewound(step=6, lines=6)
    assert steps(tail) == list(range(7, 15)) and place.lines == 14 and tail.rewound() is None


def test_a_cut_past_what_was_read_takes_nothing_back(run: Path) -> None:
    place = Place()
    tail = Tail(run, place)
    tail.read()
    add(run, 11, 12, 13)
    with RunFolder(run) as folder:
        folder.cut_back(12)
    assert tail.rewound() is None and steps(tail) == [11, 12]


def test_resumes_of_before_are_none_of_a_new_tracker(run: Path) -> None:
    with RunFolder(run) as folder:
        folder.cut_back(4)
    tail = Tail(run, Place())
    assert tail.rewound() is None and steps(tail) == [1, 2, 3, 4]


def test_another_file_in_its_place_is_read_from_its_beginning(run: Path) -> None:
    tail = Tail(run, Place())
    tail.read()
    (run / "metrics.jsonl").write_text("")
    add(run, 1, 2)
    assert tail.rewound() is None  # a resume may be about to say how much it keeps
    assert tail.rewound() == Rewound(step=0, lines=0) and steps(tail) == [1, 2]


def test_samples_and_incidents_are_read_beside(run: Path) -> None:
    add(run, 3, name="samples.jsonl")
    add(run, 4, name="incidents.jsonl")
    lines = Tail(run, Place()).read()
    assert [(line.kind, line.record["step"]) for line in lines[10:]] == [("incidents", 4), ("samples", 3)]


def test_a_line_that_is_none_is_named(run: Path) -> None:
    with (run / "metrics.jsonl").open("a") as file:
        file.write("{nonsense\n")
    with pytest.raises(DataError, match=r"metrics.jsonl: a line is no record"):
        Tail(run, Place()).read()


def test_pieces_of_any_size_make_the_same_lines(tmp_path: Path) -> None:
    dice = random.Random(3)
    whole = "".join(json.dumps({"step": step, "text": "ü" * dice.randrange(40)}) + "\n" for step in range(200)).encode()
    tail, read, at = Tail(tmp_path, Place()), [], 0
    while at < len(whole):
        size = dice.randrange(1, 400)
        with (tmp_path / "metrics.jsonl").open("ab") as file:
            file.write(whole[at : at + size])
        at += size
        read += tail.read()
    assert [line.record for line in read] == [json.loads(line) for line in whole.decode().splitlines()]
