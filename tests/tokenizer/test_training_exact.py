"""The trainer's merges against those of Hugging Face's `BpeTrainer`, on corpora made to be hard."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from pylm import _rust
from pylm.errors import DataError, TokenizerError, UsageError

tokenizers = pytest.importorskip("tokenizers")

# tiktoken's cl100k_base for Oniguruma: possessive quantifiers mean something else there, and `$` is the end of a line
CL100K = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s+\z|\s*[\r\n]+|\s+(?!\S)|\s+"
)
END = "<|endoftext|>"


def huggingface(documents: Sequence[str], pattern: str, vocab_size: int, **options: Any) -> list[tuple[int, int]]:
    """The merges of `BpeTrainer`, in ids that count from the first byte."""
    pre = tokenizers.pre_tokenizers
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    if pattern == "gpt2":
        tokenizer.pre_tokenizer = pre.ByteLevel(add_prefix_space=False, use_regex=True)
    else:
        split = pre.Split(tokenizers.Regex(CL100K), "isolated")
        tokenizer.pre_tokenizer = pre.Sequence([split, pre.ByteLevel(add_prefix_space=False, use_regex=False)])
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=vocab_size,
        show_progress=False,
        initial_alphabet=pre.ByteLevel.alphabet(),
        special_tokens=[END],
        **options,
    )
    tokenizer.train_from_iterator(documents, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    # special tokens take the first ids there
    ids = {token: number - 1 for token, number in model["vocab"].items()}
    pairs = (merge if isinstance(merge, list) else merge.split(" ") for merge in model["merges"])
    return [(ids[left], ids[right]) for left, right in pairs]


def words_of_few_letters(rng: random.Random) -> list[str]:
    """Ties everywhere, and runs of one letter."""
    words = ["".join(rng.choices("abc", k=rng.randint(1, 9))) for _ in range(400)]
    return [" ".join(rng.choices(words, k=rng.randint(1, 60))) for _ in range(60)]


def every_count_twice(rng: random.Random) -> list[str]:
    """Each word has another one with exactly its count."""
    words = ["".join(rng.choices("abcdefghijklmnop", k=6)) for _ in range(300)]
    text = [word for number, word in enumerate(words) for _ in range(number // 2 + 1)]
    rng.shuffle(text)
    return [" ".join(text[start : start + 500]) for start in range(0, len(text), 500)]


def multilingual(rng: random.Random) -> list[str]:
    """Scripts of one to four bytes a character, long runs without a space, digits, contractions, odd white space."""
    alphabets = [
        "eeetaoinshrdlu",
        "áéíóúñüß",
        "оеаинтсрвл",
        "的一是不了人我在有他这中",
        "のにはをたがでてとしれさ",
        "ابتثجحخد",
        "हिन्दीकाखा",
        "\U0001f600\U0001f680👩‍👩‍👧",
        "0123456789",
        "!?.,;:-—",
    ]
    between = [" ", "  ", "\n", "\r\n", "\t", "\u3000", "'s ", "'LL ", "", "\n\n "]
    documents = []
    for _ in range(80):
        alphabet = rng.sample(alphabets, 3)
        pieces = []
        for _ in range(rng.randint(1, 120)):
            pieces.append("".join(rng.choices(rng.choice(alphabet), k=rng.randint(1, 14))))
            pieces.append(rng.choice(between))
        documents.append("".join(pieces))
    return documents


CORPORA = [words_of_few_letters, every_count_twice, multilingual]


@pytest.fixture(params=CORPORA, ids=lambda make: make.__name__)
def documents(request: pytest.FixtureRequest) -> list[str]:
    made: list[str] = request.param(random.Random(7))
    return made


def write(folder: Path, documents: Sequence[str]) -> Path:
    path = folder / "text.txt"
    path.write_bytes(END.join(documents).encode())
    return path


@pytest.mark.parametrize("pattern", ["gpt2", "cl100k"])
def test_merges_are_those_of_huggingface(documents: list[str], pattern: str, tmp_path: Path) -> None:
    wanted = huggingface(documents, pattern, 1500)
    path = write(tmp_path, documents)
    for threads in (1, 2, 7):
        trained = _rust.train_bpe(
            [str(path)], vocab_size=1500, specials=1, pattern=pattern, threads=threads, allow_fewer=True
        )
        assert trained["merges"] == wanted
        assert trained["bytes"] == sum(len(document.encode()) for document in documents)


@pytest.mark.parametrize("options", [{"min_frequency": 7}, {"max_token_length": 5}, {"max_token_length": 2}])
def test_limits_are_those_of_huggingface(documents: list[str], options: dict[str, Any], tmp_path: Path) -> None:
    wanted = huggingface(documents, "gpt2", 1200, **options)
    trained = _rust.train_bpe(
        [str(write(tmp_path, documents))], vocab_size=1200, specials=1, threads=2, allow_fewer=True, **options
    )
    assert trained["merges"] == wanted
    assert trained["exhausted"] == (len(wanted) < 1200 - 257)


def test_the_order_of_files_and_the_size_of_blocks_change_nothing(tmp_path: Path) -> None:
    rng = random.Random(3)
    documents = multilingual(rng) + words_of_few_letters(rng)
    names = []
    for number, document in enumerate(documents):
        path = tmp_path / f"{number}.txt"
        path.write_bytes(document.encode())
        names.append(str(path))
    whole = _rust.train_bpe([str(write(tmp_path, documents))], vocab_size=1000, threads=1)["merges"]
    assert _rust.train_bpe(names[::-1], vocab_size=1000, threads=2)["merges"] == whole


def test_training_goes_on_from_merges_made_before(documents: list[str], tmp_path: Path) -> None:
    path = str(write(tmp_path, documents))
    whole = _rust.train_bpe([path], vocab_size=700)["merges"]
    before = _rust.train_bpe([path], vocab_size=400)["merges"]
    assert before == whole[:144]
    assert _rust.train_bpe([path], vocab_size=700, before=before)["merges"] == whole


def test_a_sample_is_the_first_documents(tmp_path: Path) -> None:
    documents = [f"{'ab' * (number % 5 + 1)} {'xyz' * (number % 3)}" for number in range(1000)]
    path = write(tmp_path, documents)
    sampled = _rust.train_bpe([str(path)], vocab_size=262, documents=120, threads=3)
    assert sampled["documents"] == 120
    assert sampled["bytes"] == sum(map(len, documents[:120]))
    short = write(tmp_path, documents[:120])
    assert sampled["merges"] == _rust.train_bpe([str(short)], vocab_size=262)["merges"]
    some = _rust.train_bpe([str(short)], vocab_size=258, bytes=50)
    assert 50 <= some["bytes"] < 50 + 20


def test_counts_that_spill_give_the_same_merges(tmp_path: Path) -> None:
    rng = random.Random(11)
    words = ["".join(rng.choices("abcdefgh", k=rng.randint(2, 8))) for _ in range(90_000)]
    path = write(tmp_path, [" ".join(words)] + multilingual(rng))
    wanted = _rust.train_bpe([str(path)], vocab_size=1000)
    assert wanted["spills"] == 0
    temporary = tmp_path / "temporary"
    for threads in (1, 2, 7):
        # merging needs some 11 MB; seven threads have a megabyte and a half each
        trained = _rust.train_bpe(
            [str(path)], vocab_size=1000, threads=threads, memory=1 << 24, temporary=temporary, documents=10**9
        )
        assert trained["merges"] == wanted["merges"]
        assert trained["spills"] > 0 or threads < 7
        assert list(temporary.iterdir()) == []
    with pytest.raises(TokenizerError, match="merging takes about 1[0-9] MB for the [0-9]+ symbols") as raised:
        _rust.train_bpe([str(path)], vocab_size=1000, threads=2, memory=1_000_000, temporary=temporary)
    assert "or train on a sample of about" in str(raised.value.hint)
    assert list(temporary.iterdir()) == []


FULL_DISK = """
import resource, sys
from pylm import _rust
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
try:
    _rust.train_bpe([sys.argv[1]], vocab_size=1000, threads=2, memory=1_000_000, temporary=sys.argv[2])
except Exception as error:
    print(type(error).__name__, error, "|", error.hint)
"""


def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path: Path) -> None:
    rng = random.Random(12)
    path = write(tmp_path, [" ".join("".join(rng.choices("abcdefgh", k=7)) for _ in range(60_000))])
    temporary = tmp_path / "temporary"
    ended = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(path), str(temporary)], capture_output=True, text=True, check=True
    )
    assert ended.stdout.startswith(f"DataError cannot write {temporary}/")
    assert "File too large | free some space there" in ended.stdout
    assert list(temporary.iterdir()) == []


def test_an_interrupted_training_goes_on_to_the_same_merges(tmp_path: Path) -> None:
    path = str(write(tmp_path, multilingual(random.Random(5))))
    whole = _rust.train_bpe([path], vocab_size=1500)["merges"]
    state = tmp_path / "state"

    class Stop(Exception):
        pass

    def stop(phase: str, done: int, total: int, seconds: float) -> None:
        if phase == "merge":
            raise Stop

    with pytest.raises(Stop):
        _rust.train_bpe([path], vocab_size=1500, state=state, progress=stop)
    trained = _rust.train_bpe([path], vocab_size=1500, state=state)
    assert 0 < trained["resumed"] < len(whole)
    assert trained["merges"] == whole
    Path(path).write_text("something else")
    with pytest.raises(UsageError, match="holds the state of another training"):
        _rust.train_bpe([path], vocab_size=1500, state=state)


def test_progress_is_told_and_stops_the_training(tmp_path: Path) -> None:
    path = str(write(tmp_path, multilingual(random.Random(1))))
    told: list[tuple[str, int, int, float]] = []
    _rust.train_bpe([path], vocab_size=600, progress=lambda *report: told.append(report))
    assert [phase for phase, *_ in told][0] == "count"
    assert told[-1][0] == "merge" and told[-1][2] == 344
    assert told[0][1] == told[0][2] == Path(path).stat().st_size or told[0][1] < told[0][2]

    class Stop(Exception):
        pass

    def stop(phase: str, done: int, total: int, seconds: float) -> None:
        raise Stop

    with pytest.raises(Stop):
        _rust.train_bpe([path], vocab_size=600, progress=stop)


def test_bad_input_is_named(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text("hello hello\n")
    with pytest.raises(UsageError, match="a vocabulary of 256 cannot hold the 256 bytes and 1 special token"):
        _rust.train_bpe([str(path)], vocab_size=256, specials=1)
    with pytest.raises(TokenizerError, match=r"is too small for a vocabulary of 500: it has 5 merges, 244 are wanted"):
        _rust.train_bpe([str(path)], vocab_size=500)
    path.write_text(" \n\t\n")
    with pytest.raises(DataError, match="nothing but white space"):
        _rust.train_bpe([str(path)], vocab_size=500)
    path.write_text("")
    with pytest.raises(DataError, match="there is no text to train on"):
        _rust.train_bpe([str(path)], vocab_size=500)
    path.write_bytes(b"fine until \xff here")
    with pytest.raises(DataError, match="byte 11 is not UTF-8"):
        _rust.train_bpe([str(path)], vocab_size=500)
    assert _rust.train_bpe([str(path)], vocab_size=258, invalid="replace")["replaced"] == 1
