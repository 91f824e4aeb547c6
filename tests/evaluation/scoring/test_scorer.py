"""Scores of continuations against transformers, and against one forward pass a pair; nothing else may matter."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch

from pylm.errors import DataError, TokenizerError, UsageError
from pylm.evaluation.scoring import Pair, Scorer
from pylm.evaluation.scoring.encoding import Encoded, encode
from pylm.evaluation.scoring.passes import LEAST_ROOT, TOKENS, Sequence_, passes
from pylm.generation.branches import Branches
from pylm.tokenizer import Tokenizer
from tests.generation.small import CONTEXT, small_model, small_tokenizer, stored
from tests.generation.test_engines import ENGINES, SHAPES, engine_of

WORDS = ["the", "cat", "on", "a", "mat", "that", "sat"]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return small_tokenizer()


def questions(count: int, longest: int, seed: int = 0) -> list[tuple[str, str]]:
    """Questions with three choices each; some begin alike, some contexts are empty, some choices are one token."""
    chance = random.Random(seed)
    header = " ".join(chance.choices(WORDS, k=longest // 2))
    pairs = []
    for number in range(count):
        own = " ".join(chance.choices(WORDS, k=chance.choice([0, 2, longest])))
        context = own if number % 2 else f"{header} {own}".rstrip()
        pairs += [(context, f" {chance.choice(WORDS)}{end}") for end in ("", ".", " again")]
    return pairs


def one_by_one(model: torch.nn.Module, tokenizer: Tokenizer, pairs: list[tuple[str, str]], most: int) -> list[float]:
    """The plain way: one forward pass a pair, log-softmax in float64."""
    nats = []
    for context, continuation in pairs:
        begin = 1 + len(tokenizer.encode(context))
        ids = [tokenizer.eot, *tokenizer.encode(context + continuation)]
        new = len(ids) - begin
        ids = ids[-(most + 1) :]
        with torch.inference_mode():
            logits = model(torch.tensor([ids[:-1]]))
        logits = getattr(logits, "logits", logits)[0].double()
        found = torch.log_softmax(logits, -1)
        nats.append(-sum(found[at - 1, ids[at]].item() for at in range(len(ids) - new, len(ids))))
    return nats


@pytest.mark.parametrize("kind", ENGINES)
@pytest.mark.parametrize("name", ["llama", "gpt2", "window and softcap", "qk_norm"])
def test_every_engine_gives_what_one_pass_a_pair_gives(name: str, kind: str, tokenizer: Tokenizer) -> None:
    model = small_model(tokenizer.vocab_size, **SHAPES[name])
    pairs = questions(8, 30, seed=4)
    scores = Scorer(engine_of(kind, model), tokenizer).score(pairs)
    wanted = one_by_one(model, tokenizer, pairs, CONTEXT)
    assert [score.nats for score in scores] == pytest.approx(wanted, abs=1e-4)
    assert 0 < sum(score.cropped for score in scores) < len(scores)
    lengths = [len(tokenizer.encode(context + more)) - len(tokenizer.encode(context)) for context, more in pairs]
    assert [score.tokens for score in scores] == lengths


def test_transformers_gives_the_same_for_its_own_llama(tmp_path: Path, tokenizer: Tokenizer) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(2)
    config = LlamaConfig(
        vocab_size=tokenizer.vocab_size,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        initializer_range=0.3,
    )
    model = LlamaForCausalLM(config).eval()
    model.save_pretrained(tmp_path)
    tokenizer.save(tmp_path / "tok")
    pairs = questions(12, 30)
    scorer = Scorer.open(tmp_path, tokenizer=str(tmp_path / "tok"))
    wanted = one_by_one(model, tokenizer, pairs, 256)
    assert [score.nats for score in scorer.score(pairs)] == pytest.approx(wanted, abs=1e-4)


@pytest.mark.parametrize("kind", ["native", "torch"])
def test_batch_order_and_threads_change_nothing(kind: str, tokenizer: Tokenizer) -> None:
    model = small_model(tokenizer.vocab_size, context_length=256)
    pairs = questions(20, 60)
    engine = engine_of(kind, model)
    alone = Scorer(engine, tokenizer).score(pairs)
    order = list(range(len(pairs)))
    random.Random(5).shuffle(order)
    for batch in (1, 4, 32, None):
        shuffled = Scorer(engine, tokenizer).score([pairs[number] for number in order], batch=batch)
        for number, score in zip(order, shuffled, strict=True):
            assert score.nats == pytest.approx(alone[number].nats, abs=1e-5)
            assert score.is_greedy == alone[number].is_greedy
    if kind == "native":
        from pylm.generation.native_engine import NativeEngine

        for threads in (1, 2):
            scores = Scorer(NativeEngine(model.shape, stored(model), threads=threads), tokenizer).score(pairs)
            assert [score.nats for score in scores] == pytest.approx([score.nats for score in alone], abs=1e-5)


def test_what_the_model_would_write_is_greedy_and_nothing_else(tokenizer: Tokenizer) -> None:
    model = small_model(tokenizer.vocab_size)
    ids = [tokenizer.eot]
    with torch.inference_mode():
        for _ in range(5):
            ids.append(int(model(torch.tensor([ids]))[0, -1].argmax()))
    scorer = Scorer(engine_of("native", model), tokenizer)
    other = [*ids[2:-1], (ids[-1] + 1) % tokenizer.vocab_size]
    greedy, not_greedy = scorer.score_ids([Encoded(ids[:2], ids[2:]), Encoded(ids[:2], other)])
    assert greedy.is_greedy and not not_greedy.is_greedy


def test_a_continuation_longer_than_the_context_is_scored_in_windows(tokenizer: Tokenizer) -> None:
    model = small_model(tokenizer.vocab_size)
    text = " ".join(random.Random(1).choices(WORDS, k=3 * CONTEXT))
    [score] = Scorer(engine_of("native", model), tokenizer).score([("the", " " + text)])
    ids = [tokenizer.eot, *tokenizer.encode("the " + text)]
    begin, total = 1 + len(tokenizer.encode("the")), 0.0
    for start in range(begin, len(ids), CONTEXT):
        stop = min(start + CONTEXT, len(ids))
        read = ids[max(stop - 1 - CONTEXT, 0) : stop - 1]
        with torch.inference_mode():
            found = torch.log_softmax(model(torch.tensor([read]))[0].double(), -1)
        total -= sum(found[place - stop, ids[place]].item() for place in range(start, stop))
    assert score.nats == pytest.approx(total, abs=1e-3)
    assert score.cropped and score.tokens == len(ids) - begin


def test_spaces_move_to_the_continuation_and_a_merge_across_the_border_is_counted(tokenizer: Tokenizer) -> None:
    eot = tokenizer.eot
    assert eot is not None
    spaced, plain, merged, empty = encode(
        [Pair("a cat \n", "sat"), Pair("a cat", " \nsat"), Pair("a t", "hat"), Pair("", "hat")], tokenizer, "eot"
    )
    assert spaced == plain and not spaced.apart
    # "th" is a token: t and hat are scored as t|hat, never as th|at
    assert merged == ([eot, *tokenizer.encode("a t")], tokenizer.encode("hat"), True)
    assert empty == ([eot], tokenizer.encode("hat"), False)
    none, still = encode([Pair("a", " b"), Pair("", "hat")], tokenizer, "none")
    assert none.context == tokenizer.encode("a") and still.context == [eot]


def test_what_cannot_be_scored_is_said_in_a_sentence(tokenizer: Tokenizer) -> None:
    with pytest.raises(DataError, match="the continuation of pair 1 is empty"):
        encode([Pair("a", "b"), Pair("a", "")], tokenizer, "eot")
    with pytest.raises(UsageError, match="prefix is 'bos'"):
        encode([Pair("a", "b")], tokenizer, "bos")
    from pylm._rust import Bpe

    bare = Tokenizer.from_tokenizer_json(Bpe.from_merges([], "gpt2", []).to_tokenizer_json())
    with pytest.raises(TokenizerError, match="no end of text"):
        encode([Pair("a", "b")], bare, "eot")
    assert encode([Pair("a", "b")], bare, "none")[0].context == bare.encode("a")


def test_what_sequences_begin_with_is_read_once() -> None:
    chance = random.Random(3)

    def some(count: int) -> tuple[int, ...]:
        return tuple(chance.randrange(50) for _ in range(count))

    header = some(2 * LEAST_ROOT)
    sequences = []
    for _ in range(30):
        context = header + some(40)
        sequences += [Sequence_(context + ending, (1, *ending)) for ending in (some(3), some(4), ())]
    chance.shuffle(sequences)
    made = list(passes(sequences))
    assert {one.root for one in made} == {header}
    fresh = sum(len(one.branches.ids) for one in made)
    # tokens that several sequences begin with by chance are saved as well
    assert 30 * (40 + 5) < fresh <= 30 * (40 + 7)
    assert all(len(one.branches.ids) <= TOKENS for one in made)
    assert sorted(owner for one in made for owner in one.owners) == sorted(
        number for number, one in enumerate(sequences) for _ in one.targets
    )


def test_trees_hold_the_sequences_and_nothing_else() -> None:
    sequences = [Sequence_((1, 2, 3), (9,)), Sequence_((1, 2, 4, 5), (7, 8)), Sequence_((6,), (1,))]
    [one] = passes(sequences)
    assert one == (
        (),
        Branches([1, 2, 3, 4, 5, 6], [-1, 0, 1, 1, 3, -1], [2, 3, 4, 5], [9, 7, 8, 1]),
        [0, 1, 1, 2],
    )
    assert [len(one.branches.ids) for one in passes(sequences, batch=1)] == [3, 4, 1]
