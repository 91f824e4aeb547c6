"""What is drawn depends on nothing but weights, seed, sample and position; text is cut where it may be."""

from __future__ import annotations

import itertools
import random
from typing import Any

import numpy as np
import pytest
import torch

import pylm
from pylm._native import SampleSettings, sample_probabilities
from pylm.errors import PylmError
from pylm.generation.lookup import Lookup
from pylm.generation.native_engine import NativeEngine
from pylm.generation.session import Piece, Session
from pylm.generation.settings import sample_settings
from pylm.generation.text import TextStream
from pylm.generation.torch_engine import TorchEngine, UncachedEngine
from pylm.model.torch import Model
from pylm.tokenizer import Tokenizer
from tests.generation.small import CONTEXT, END, small_model, stored_in

PROMPTS = ["The cat sat on", "a", "What then? On that mat there is ano"]


def ids(pieces: list[Piece], prompt: int = 0, number: int = 0) -> list[int]:
    return [piece.id for piece in pieces if (piece.prompt, piece.sample) == (prompt, number)]


def write(session: Session, prompts: list[str], **keywords: Any) -> list[Piece]:
    outside = {key: keywords.pop(key) for key in ("speculate", "likeliest", "say", "ends") if key in keywords}
    settings = {"max_tokens": 20, "seed": 5, "temperature": 1.0, **keywords}
    return list(session.stream(prompts, sample_settings(settings), **outside))


def plainly(model: Model, tokenizer: Tokenizer, prompt: str, count: int) -> list[int]:
    """The likeliest tokens, everything read again for each: the loop that anyone would write."""
    sequence = tokenizer.encode(prompt)
    made: list[int] = []
    while len(made) < count and made[-1:] != [tokenizer.eot]:
        with torch.inference_mode():
            made.append(int(model(torch.tensor([sequence + made]))[0, -1].argmax()))
    return made


@pytest.fixture
def session(model: Model, tokenizer: Tokenizer) -> Session:
    return Session(TorchEngine(model), tokenizer)


def test_greedy_is_what_the_plain_loop_writes(session: Session, model: Model, tokenizer: Tokenizer) -> None:
    for prompt in PROMPTS:
        assert ids(write(session, [prompt], temperature=0)) == plainly(model, tokenizer, prompt, 20)


def test_alone_or_in_company_cached_or_not_guessed_or_not(session: Session, model: Model, tokenizer: Tokenizer) -> None:
    lengths = {"max_tokens": CONTEXT + 12, "n": 2, "stop": []}  # past the context
    together = write(session, PROMPTS, **lengths)
    uncached = Session(UncachedEngine(model), tokenizer)
    for number, prompt in enumerate(PROMPTS):
        for one in (
            write(session, [prompt], **lengths),
            write(session, [prompt], **lengths, speculate=True),
            write(uncached, [prompt], **lengths),
        ):
            for which in (0, 1):
                assert ids(one, 0, which) == ids(together, number, which)
        assert ids(together, number, 0) != ids(together, number, 1)
    assert ids(write(session, PROMPTS[:1], seed=6)) != ids(write(session, PROMPTS[:1]))


def test_weights_in_bf16_write_the_same_in_the_native_engine_and_torch(tokenizer: Tokenizer) -> None:
    model = small_model(tokenizer.vocab_size, tied=False)
    native = Session(NativeEngine(model.shape, stored_in(torch.bfloat16, model)), tokenizer)
    lengths = {"max_tokens": CONTEXT + 12, "stop": []}
    expected = write(Session(TorchEngine(model), tokenizer), PROMPTS, **lengths, n=3)
    together = write(native, PROMPTS, **lengths, n=3)
    for number, prompt in enumerate(PROMPTS):
        for which in range(3):
            assert ids(together, number, which) == ids(expected, number, which)
        for one in (write(native, [prompt], **lengths), write(native, [prompt], **lengths, speculate=True)):
            assert ids(one) == ids(expected, number)


def test_a_text_that_is_continued_is_the_text_written_at_once(session: Session, tokenizer: Tokenizer) -> None:
    settings = sample_settings({"max_tokens": 12, "seed": 1})
    start = tokenizer.encode(PROMPTS[0])
    whole = ids(list(session.stream([start], settings)))
    for cut in (1, 5, 11):
        rest = sample_settings({"max_tokens": 12 - cut, "seed": 1})
        assert ids(list(session.stream([start + whole[:cut]], rest))) == whole[cut:]


class Counting(TorchEngine):
    """Notes how many tokens each call reads."""

    def __init__(self, model: Model) -> None:
        super().__init__(model)
        self.read: list[int] = []

    def _forward(self, rows: Any, *rest: Any, **keywords: Any) -> Any:
        self.read += [len(row) for row in rows]
        return super()._forward(rows, *rest, **keywords)


def test_what_was_read_is_not_read_again(model: Model, tokenizer: Tokenizer) -> None:
    engine = Counting(model)
    session = Session(engine, tokenizer)
    first = "The cat sat on"
    made = write(session, [first], max_tokens=5)
    text = first + "".join(piece.text for piece in made)
    plain = len(tokenizer.encode(first))
    engine.read.clear()
    write(session, [first], max_tokens=1)
    assert engine.read == [1]  # the last token of the prompt, for its logits
    engine.read.clear()
    write(session, [first + " a mat"], max_tokens=1)
    assert engine.read == [len(tokenizer.encode(first + " a mat")) - plain]
    engine.read.clear()
    write(session, [first], n=4, max_tokens=2)
    assert engine.read == [plain, 1, 1, 1, 1]  # read once for the four of them
    assert text


def test_speculation_reads_several_tokens_in_one_pass(model: Model, tokenizer: Tokenizer) -> None:
    engine = Counting(model)
    made = ids(write(Session(engine, tokenizer), ["on on on on"], temperature=0, max_tokens=40, speculate=True))
    passes = len(engine.read)
    assert made == plainly(model, tokenizer, "on on on on", 40)
    assert max(engine.read[1:]) > 1 and passes <= len(made)


def test_a_second_text_while_the_first_goes_on(session: Session) -> None:
    alone = ids(write(session, PROMPTS[:1]))
    settings = sample_settings({"max_tokens": 20, "seed": 5, "temperature": 1.0})
    one, two = session.stream(PROMPTS[:1], settings), session.stream(PROMPTS[1:2], settings)
    mixed = list(itertools.chain.from_iterable(itertools.zip_longest(one, two)))
    assert [piece.id for piece in mixed[::2] if piece] == alone


def test_the_full_context_is_said_once(session: Session) -> None:
    said: list[str] = []
    write(session, PROMPTS[:1], max_tokens=4 * CONTEXT, say=said.append, stop=[])
    write(session, PROMPTS[:1], max_tokens=2 * CONTEXT, say=said.append)
    assert len(said) == 1 and "48 tokens is full" in said[0]


def test_the_rolling_window_is_the_newer_half_read_anew(model: Model, tokenizer: Tokenizer) -> None:
    session = Session(TorchEngine(model), tokenizer)
    start = len(tokenizer.encode(PROMPTS[0]))
    made = next(made for seed in range(9) if len(made := write(session, PROMPTS[:1], max_tokens=64, seed=seed)) == 64)
    sequence = tokenizer.encode(PROMPTS[0]) + ids(made)
    begin = 0
    for place, piece in enumerate(made, start):  # the piece is token number `place`, drawn from those before it
        if place - begin > CONTEXT:
            begin = place - CONTEXT // 2
        with torch.inference_mode():
            logits = model(torch.tensor([sequence[begin:place]]))[0, -1]
        assert abs(float(torch.log_softmax(logits.double(), -1)[piece.id]) - piece.logprob) < 1e-3, place
    assert begin > 0


class Misled(Lookup):
    """Guesses that are right for a while and then are not."""

    truth: list[int] = []
    rights = itertools.cycle((0, 3, 1, 8, 2))

    def guess(self, most: int = 8) -> list[int]:
        right = self.truth[len(self._ids) :][: next(self.rights)]
        return [*right, 7, 7, 7, 7, 7][: max(0, most)]


def test_wrong_guesses_change_nothing(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = ids(write(session, PROMPTS[:1], max_tokens=2 * CONTEXT))
    Misled.truth = session.encode(PROMPTS[0]) + plain
    monkeypatch.setattr("pylm.generation.session.Lookup", Misled)
    assert ids(write(session, PROMPTS[:1], max_tokens=2 * CONTEXT, speculate=True)) == plain


def test_penalties_and_filters_draw_what_the_sampler_says(session: Session, model: Model, tokenizer: Tokenizer) -> None:
    settings = {"repetition_penalty": 1.5, "presence_penalty": 0.4, "frequency_penalty": 0.3, "top_k": 9, "min_p": 0.02}
    made = write(session, [PROMPTS[0]], **settings, top_p=0.8, max_tokens=15)
    drawn = SampleSettings(temperature=1.0, top_p=0.8, **settings)  # type: ignore[arg-type]
    sequence = tokenizer.encode(PROMPTS[0])
    for piece in made:
        with torch.inference_mode():
            logits = model(torch.tensor([sequence]))[0, -1:].numpy()
        chances = sample_probabilities(logits, "float32", drawn, [np.array(sequence)])[0]
        assert chances[piece.id] > 0 and (chances > 0).sum() <= 9
        wanted = torch.log_softmax(torch.from_numpy(logits[0]).double(), -1)[piece.id]
        assert abs(piece.logprob - float(wanted)) < 1e-3
        sequence.append(piece.id)


def test_the_likeliest_come_with_each_piece(session: Session, model: Model, tokenizer: Tokenizer) -> None:
    (piece,) = write(session, [PROMPTS[0]], max_tokens=1, temperature=0, likeliest=5)
    with torch.inference_mode():
        logits = model(torch.tensor([tokenizer.encode(PROMPTS[0])]))[0, -1]
    assert [token for token, _ in piece.likeliest] == logits.topk(5).indices.tolist()
    assert piece.likeliest[0] == (piece.id, piece.logprob)


def test_stop_strings_cut_the_text_wherever_the_tokens_end(tokenizer: Tokenizer) -> None:
    chance = random.Random(1)
    text = "".join(chance.choice(["that", " on", " é", "漢", "🙂", "ab", " "]) for _ in range(300))
    tokens = tokenizer.encode(text)
    for _ in range(200):
        start = chance.randrange(len(text) - 12)
        stops = [text[start : start + chance.randrange(1, 9)], "never there"]
        stream, said = TextStream(tokenizer, [], stops), []
        for token in tokens:
            said.append(stream.push(token))
            if stream.stopped:
                break
        else:
            said.append(stream.finish())
        assert "".join(said) == text[: text.index(stops[0])]
        assert all("�" not in part for part in said)


def test_what_looks_like_a_stop_and_is_none_comes_out_at_the_end(tokenizer: Tokenizer) -> None:
    stream = TextStream(tokenizer, [], ["that is all"])
    said = [stream.push(token) for token in tokenizer.encode("so that is")]
    assert "".join(said) == "so " and stream.finish() == "that is" and not stream.stopped


def test_half_a_character_at_the_end_is_told(tokenizer: Tokenizer) -> None:
    stream = TextStream(tokenizer, [], ())
    tokens = tokenizer.encode("a漢")
    assert [stream.push(token) for token in tokens[:-1]] == ["a", "", ""] and stream.finish() == "�"


def test_the_pieces_say_why_they_end(session: Session, tokenizer: Tokenizer) -> None:
    made = write(session, PROMPTS, max_tokens=6)
    assert [piece.finish for piece in made if piece.finish] == ["length"] * 3
    stop = "".join(piece.text for piece in made if piece.prompt == 0)[3:5]
    stopped = write(session, PROMPTS[:1], max_tokens=6, stop=[stop])
    assert stopped[-1].finish == "stop" and stop not in "".join(piece.text for piece in stopped)
    ended = write(session, PROMPTS[:1], max_tokens=6, ends=[made[0].id])
    assert [piece.finish for piece in ended] == ["end"] and ended[0].text == ""


def test_an_empty_prompt_starts_after_an_end_of_text(session: Session, tokenizer: Tokenizer) -> None:
    assert session.encode("") == [tokenizer.eot] and END not in "".join(p.text for p in write(session, [""]))
    assert ids(write(session, [""])) == ids(write(session, [[tokenizer.eot]]))  # type: ignore[list-item]


def test_a_lookup_gives_what_followed_the_longest_tail() -> None:
    assert Lookup([1, 2, 3, 4, 9, 2, 3]).guess() == [4, 9, 2, 3]
    assert Lookup([1, 2, 3, 7, 5, 2, 3, 8, 1, 2, 3]).guess(2) == [7, 5]  # three tokens agree there, two at 8
    assert Lookup([1, 2, 3]).guess() == [] and Lookup([1, 2, 1, 2]).guess(0) == []
    assert Lookup([5, 5, 5]).guess() == [5]


@pytest.mark.parametrize(
    ("keywords", "says"),
    [
        ({"top_k": 261}, "top_k is 261, the vocabulary has 260"),
        ({"top_p": 0}, "top_p"),
        ({"temperature": -1}, "temperature"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"likeliest": 261}, "the vocabulary has 260"),
        ({"temprature": 1}, "temprature"),
    ],
)
def test_what_cannot_be_is_one_sentence(session: Session, keywords: dict[str, Any], says: str) -> None:
    with pytest.raises(PylmError) as error:
        write(session, ["a"], **keywords)
    assert says in error.value.message


def test_prompts_that_cannot_be(session: Session) -> None:
    with pytest.raises(PylmError, match="prompt 2 has 49 tokens, and the model sees 48"):
        write(session, ["a", "b" * 49])
    assert len(write(session, ["b" * 48], max_tokens=2)) == 2
    with pytest.raises(PylmError, match="id 260"):
        write(session, [[260]])  # type: ignore[list-item]


def test_generate_takes_a_session_and_warns_of_a_full_context(session: Session) -> None:
    made = list(pylm.generate(session, PROMPTS[0], max_tokens=5, seed=5, temperature=1.0))
    assert ids(made) == ids(write(session, PROMPTS[:1], max_tokens=5))
    for read in (list, lambda made: made.texts()):
        session._rolled = False
        with pytest.warns(UserWarning, match="context of 48") as caught:
            read(pylm.generate(session, PROMPTS[0], max_tokens=3 * CONTEXT, seed=5))
        assert caught[0].filename == __file__  # it names the line that asked for the text
