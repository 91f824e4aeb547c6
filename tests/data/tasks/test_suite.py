"""What a core.yaml says of its tasks, and that it can hold no code."""

from pathlib import Path

import pytest

from pylm.data.tasks import suite
from pylm.errors import DataError

TASK = "{label: a, dataset_uri: deep/a.jsonl, icl_task_type: schema, num_fewshot: [0, 10]}"


def test_tasks_and_their_files(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a.jsonl").touch()
    (tmp_path / "b.jsonl.gz").touch()
    second = '{label: b, dataset_uri: far/b.jsonl, icl_task_type: mc, continuation_delimiter: "\\nAnswer: "}'
    (tmp_path / "core.yaml").write_text(f"epoch: 1\nicl_tasks:\n- {TASK}\n- {second}\n")
    one, two = suite(tmp_path / "core.yaml")
    assert (one.name, one.kind, one.shots, one.continuation_delimiter) == ("a", "schema", (0, 10), " ")
    assert (one.file, two.file) == (tmp_path / "deep" / "a.jsonl", tmp_path / "b.jsonl.gz")
    assert (two.continuation_delimiter, two.example_delimiter, two.shots) == ("\nAnswer: ", "\n\n", (0,))
    (tmp_path / "b.jsonl.gz").unlink()
    assert suite(tmp_path / "core.yaml")[1].file is None


@pytest.mark.parametrize(
    ("written", "sentence"),
    [
        ("a: [", "is no YAML"),
        ("icl_tasks: !!python/object/apply:os.system ['touch broken']", "is no YAML"),
        ("x: 2024-99-99", "is no YAML: month"),
        ("x: !!timestamp then", "is no YAML"),
        ("x: 1", "lists no tasks"),
        ("[]", "lists no tasks"),
        ("icl_tasks: [1]", "task 1 is no mapping"),
        ("icl_tasks: [{label: 1, dataset_uri: a, icl_task_type: b}]", "task 1: label is no text"),
        (f"icl_tasks: [{TASK}, {{label: a}}]", "task 2: dataset_uri is no text"),
        (f"icl_tasks: [{TASK.replace('10', 'ten')}]", "num_fewshot is"),
    ],
)
def test_a_file_that_is_no_suite(tmp_path: Path, written: str, sentence: str) -> None:
    (tmp_path / "core.yaml").write_text(written)
    with pytest.raises(DataError, match=sentence):
        suite(tmp_path / "core.yaml")
    assert list(tmp_path.iterdir()) == [tmp_path / "core.yaml"]


def test_no_suite_at_all(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot read"):
        suite(tmp_path / "core.yaml")


@pytest.mark.parametrize("uri", ["", "/", "..", "x" * 5000])
def test_what_is_no_name_of_a_file_is_not_there(tmp_path: Path, uri: str) -> None:
    (tmp_path / "core.yaml").write_text(f"icl_tasks: [{{label: a, dataset_uri: '{uri}', icl_task_type: b}}]")
    (task,) = suite(tmp_path / "core.yaml")
    assert task.file is None and task.uri == uri
