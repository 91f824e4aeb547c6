"""A recipe's file: what its steps are spelled out to, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from pylm.errors import PylmError
from pylm.recipes.file import read_recipe, shipped
from pylm.recipes.steps import Input, Instance, Output, instances_of


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def steps_of(text: str, size: str | None = None) -> dict[str, Instance]:
    Path("mine.yaml").write_text(text)
    return {each.name: each for each in instances_of(read_recipe("mine.yaml", size))}


MATRIX = """
values: {seeds: [1, 2], few: 3}
sizes:
  small: {values: {steps: 10}, steps: {text: {command: data stories}}}
  large: {values: {steps: 1000, few: 4}, steps: {text: {command: data get, arguments: [tinystories]}}}
steps:
  base: {command: train, matrix: {seed: $seeds}, options: {data: $text, seed: $seed, max-steps: $steps}}
  anneal:
    command: train
    matrix: {seed: $seeds, order: [x, y, z]}
    options: {init-from: $base/step_$few, data: $text}
  soup: {command: soup, matrix: {seed: $seeds}, arguments: $anneal/last}
  all: {command: eval, arguments: [$soup, $base.best]}
"""


def test_a_step_of_a_matrix_takes_what_is_at_its_own_place() -> None:
    steps = steps_of(MATRIX)
    anneals = [f"anneal-{seed}-{order}" for seed in "12" for order in "xyz"]
    assert set(steps) == {"text", "base-1", "base-2", *anneals, "soup-1", "soup-2", "all"}
    assert steps["anneal-2-y"].options[0] == ("init-from", (Output(("base-2",)), "/step_3"))
    assert steps["soup-1"].arguments == tuple((Output((name,)), "/last") for name in anneals[:3])
    best = Output(("base-1", "base-2"), best=True)
    assert steps["all"].arguments == ((Output(("soup-1",)),), (Output(("soup-2",)),), (best,))
    order = list(steps)
    assert all(order.index(need) < order.index(name) for name, step in steps.items() for need in step.needs())


def test_a_size_has_values_and_steps_of_its_own() -> None:
    assert dict(steps_of(MATRIX)["base-1"].options)["max-steps"] == ("10",)
    large = steps_of(MATRIX, "large")
    assert dict(large["base-2"].options)["max-steps"] == ("1000",) and large["text"].command == "data get"
    assert large["anneal-1-x"].options[0] == ("init-from", (Output(("base-1",)), "/step_4"))


def test_what_lies_elsewhere_is_fetched_once_and_what_lies_here_is_an_input() -> None:
    Path("notes.txt").write_text("of mine")
    steps = steps_of("""
values: {none: null, several: [a, b], yes: true, no: false}
steps:
  one: {command: data mix, arguments: [tinystories_10M:0.7, notes.txt, "hub:a/b:c:0.5"], options: {tokens: $none}}
  two: {command: tokenize, arguments: ["https://x.org/a.txt", tinystories_10M],
        options: {force: $yes, store: $no, special: $several, limit: "$$5"}}
""")
    tiny, hub, page = "get-tinystories_10M", "get-hub-a-b-c", "get-https-x.org-a.txt"
    assert set(steps) == {tiny, hub, page, "one", "two"}
    assert steps[hub].arguments == (("hub:a/b:c",),)
    assert steps["one"].arguments == ((Output((tiny,)), ":0.7"), (Input(Path("notes.txt")),), (Output((hub,)), ":0.5"))
    assert steps["one"].options == ()
    assert steps["two"].arguments == ((Output((page,)),), (Output((tiny,)),))
    options = (("force", None), ("no-store", None), ("special", ("a",)), ("special", ("b",)), ("limit", ("$5",)))
    assert steps["two"].options == options


STEP = "steps:\n  a: {command: data stories, %s}\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- 1", "mine.yaml:1: expected a recipe's keys"),
        ("about: x", "has no steps"),
        ("setps: {}", "mine.yaml:1: a recipe has no setps; did you mean steps or sizes?"),
        ("steps: {a: {command: data storis}}", "the step a is the command data storis, which no step can be; did you"),
        ("steps: {a: {command: rm}}", "the step a is the command rm, which no step can be"),
        ("steps: {a: [1]}", "should be names with what each is"),
        ("steps: {1a: {command: soup}}", "1a is no name"),
        ("steps: {a: {command: !!python/object:os.system x}}", "has no meaning here"),
        (STEP % "option: {}", "mine.yaml:2: the step a has no option; did you mean options?"),
        (STEP % "options: {out: x}", "out is not for a step to say"),
        (STEP % "options: {size: {x: 1}}", "size is nested"),
        (STEP % "options: {size: $szie}", "$szie is nothing that a could mean"),
        (STEP % "options: {size: $a}", "a takes what it makes itself"),
        (STEP % "matrix: {seed: []}", "the axis seed of a is empty"),
        (STEP % "matrix: {seed: [1, 1]}", "name different values"),
        ("values: {a: 1}\n" + STEP % "matrix: {}", "a is a step and a value"),
        ("values: {b: [1]}\n" + STEP % "options: {size: x$b}", "stands within a text"),
        (
            STEP % "" + "  b: {command: soup, arguments: $c}\n  c: {command: soup, arguments: $b}\n",
            "wait for each other",
        ),
        (
            STEP % "matrix: {seed: [1, 2]}" + "  b: {command: tokenize, options: {tokenizer: $a}}\n",
            "tokenizer of b is one thing, and $a are 2",
        ),
        (STEP % "matrix: {seed: [1]}" + "  a-1: {command: data stories}\n", "two steps would be called a-1"),
    ],
)
def test_what_is_no_recipe_is_one_sentence(text: str, said: str) -> None:
    with pytest.raises(PylmError) as error:
        steps_of(text)
    whole = f"{error.value.message}; {error.value.hint}"
    assert said in whole and "\n" not in whole


def test_a_name_or_a_size_that_is_none_is_refused() -> None:
    with pytest.raises(PylmError, match="there is no recipe nothing"):
        read_recipe("nothing")
    with pytest.raises(PylmError, match="has no size huge"):
        steps_of(MATRIX, "huge")
    with pytest.raises(PylmError, match="there is no recipe ../shipped/two-stage"):
        read_recipe("../shipped/two-stage")


@pytest.mark.parametrize("name", shipped())
def test_recipes_that_come_with_pylm_hold_together(name: str) -> None:
    for size in ("demo", "laptop", "gpu"):
        assert instances_of(read_recipe(name, size))
