"""Ids against tiktoken and `tokenizers`, on vocabularies that `tokenizers` trains here with the real patterns."""
# ruff: noqa: E501  (published regexes are kept on their line)

from __future__ import annotations

import base64
import json
import random
from typing import Any

import numpy as np
import pytest
import tiktoken
import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from pylm._rust import Bpe
from pylm.errors import DataError, TokenizerError, UsageError

# as tiktoken publishes them
CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
TIKTOKEN = {
    "gpt2": r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s",
    "cl100k": r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]"
    r"|\s+(?!\S)|\s",
    "o200k": rf"[^\r\n\p{{L}}\p{{N}}]?[\p{{Lu}}\p{{Lt}}\p{{Lm}}\p{{Lo}}\p{{M}}]*[\p{{Ll}}\p{{Lm}}\p{{Lo}}\p{{M}}]+{CONTRACTIONS}?"
    rf"|[^\r\n\p{{L}}\p{{N}}]?[\p{{Lu}}\p{{Lt}}\p{{Lm}}\p{{Lo}}\p{{M}}]+[\p{{Ll}}\p{{Lm}}\p{{Lo}}\p{{M}}]*{CONTRACTIONS}?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
}
# as Hugging Face publishes it
LLAMA3 = rf"{CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_start|>x"]
SAMPLES = [
    "The quick brown fox's jumps; they're over 12345 lazy dogs, aren't they? ",
    "def encode(text):\n    return [x for x in text if x > 0x7f]\r\n\t\t# done\n\n",
    "Привет, как дела? Это проверка токенизатора. ",
    "自然语言处理是人工智能的一个重要方向。分词器把文本变成数字，",
    "これはトークナイザーのテストです。コンピューター、",
    "안녕하세요 세계 한국어 형태소 ",
    "यह एक परीक्षण वाक्य है। नमस्ते दुनिया ",
    "مرحبا بالعالم هذا اختبار ",
    "👩‍👩‍👧‍👦🇫🇷 🏳️‍🌈 e\u0301 \u200d\u200b\ufeff ",
]


def text(draw: random.Random, size: int) -> str:
    """Words of the samples mixed with whatever Unicode has."""
    planes = [(0, 0x7F), (0x80, 0x7FF), (0x800, 0xD7FF), (0xE000, 0xFFFF), (0x10000, 0x10FFFF)]
    pieces: list[str] = []
    while sum(map(len, pieces)) < size:
        kind = draw.randrange(6)
        if kind < 3:
            sample = draw.choice(SAMPLES)
            start = draw.randrange(len(sample))
            pieces.append(sample[start : start + draw.randrange(1, 60)])
        elif kind == 3:
            pieces.append("".join(chr(draw.randint(*draw.choice(planes))) for _ in range(draw.randrange(1, 12))))
        elif kind == 4:
            pieces.append(draw.choice(" \n\r\t\u00a0\u3000a1中é-'") * draw.randrange(1, 80))
        else:
            pieces.append(draw.choice(["\r\n", "'s", "'LL", " 1234567", "<|endoftext|>", "\x00", "ſ", "K", "ｗｉｄｅ"]))
    return "".join(pieces)


def train(pattern: str, size: int) -> tokenizers.Tokenizer:
    tokenizer = tokenizers.Tokenizer(models.BPE())
    if pattern == "gpt2":
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    else:
        regex = tokenizers.Regex(LLAMA3)
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Split(regex, "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
        )
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=size, show_progress=False, initial_alphabet=alphabet)
    draw = random.Random(size)
    tokenizer.train_from_iterator(SAMPLES * 20 + [text(draw, 2000) for _ in range(100)], trainer)
    tokenizer.add_special_tokens(SPECIALS)
    return tokenizer


@pytest.fixture(scope="module", params=["gpt2", "llama3"])
def trained(request: pytest.FixtureRequest) -> tokenizers.Tokenizer:
    return train(request.param, 3000)


@pytest.fixture(scope="module")
def merges() -> list[tuple[int, int]]:
    return list(Bpe.from_tokenizer_json(train("gpt2", 2500).to_str().encode()).merges)


def tiktoken_of(bpe: Bpe, pattern: str) -> tiktoken.Encoding:
    ranks = {
        base64.b64decode(token): int(rank) for token, rank in (line.split() for line in bpe.to_ranks().splitlines())
    }
    return tiktoken.Encoding(
        "test", pat_str=TIKTOKEN[pattern], mergeable_ranks=ranks, special_tokens=dict(bpe.specials)
    )


def test_ids_are_those_of_tokenizers(trained: tokenizers.Tokenizer) -> None:
    bpe = Bpe.from_tokenizer_json(trained.to_str().encode())
    draw = random.Random(1)
    for size in [0, 1, 2, 5, 20, 100, 1000, 3000] * 10:
        sample = text(draw, size)
        expected = trained.encode(sample, add_special_tokens=False).ids
        assert bpe.encode(sample, "all").tolist() == expected, repr(sample)
        assert bpe.decode_bytes(expected) == sample.encode()


def test_a_written_tokenizer_json_gives_the_same_ids_elsewhere(merges: list[tuple[int, int]], tmp_path: Any) -> None:
    import transformers

    draw = random.Random(2)
    for pattern in ["gpt2", "cl100k", "llama3", "qwen2", "o200k", r"\p{L}+|\s"]:
        bpe = Bpe.from_merges(merges, pattern, SPECIALS)
        path = tmp_path / "tokenizer.json"
        path.write_text(bpe.to_tokenizer_json(), encoding="utf-8")
        theirs = tokenizers.Tokenizer.from_file(str(path))
        fast = transformers.PreTrainedTokenizerFast(tokenizer_file=str(path))
        for _ in range(20):
            sample = text(draw, 400)
            ids = bpe.encode(sample, "all").tolist()
            assert theirs.encode(sample, add_special_tokens=False).ids == ids, (pattern, sample)
            assert fast.encode(sample, add_special_tokens=False) == ids
        assert theirs.decode(bpe.encode("Grüße, 中文").tolist()) == "Grüße, 中文"
        again = Bpe.from_tokenizer_json(path.read_bytes())
        assert again.identity == bpe.identity
        assert json.loads(again.to_tokenizer_json()) == json.loads(bpe.to_tokenizer_json())


@pytest.mark.parametrize("pattern", TIKTOKEN)
def test_ids_are_those_of_tiktoken(merges: list[tuple[int, int]], pattern: str) -> None:
    bpe = Bpe.from_merges(merges, pattern, SPECIALS)
    theirs = tiktoken_of(bpe, pattern)
    read = Bpe.from_ranks(bpe.to_ranks(), pattern, bpe.specials)
    assert read.identity == bpe.identity
    draw = random.Random(3)
    samples = [text(draw, size) for size in [1, 3, 30, 300, 3000] * 10]
    samples += [unit * 3000 for unit in ["a", " ", "\n", "1", "^", "中", "é", "ab", "\r\n", " \n", "👍"]]
    samples += ["".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=5000)), "x" + " " * 999 + "y", ""]
    samples += ["".join(chr(draw.randrange(0x4E00, 0x9FA5)) for _ in range(3000))]
    for sample in samples:
        ids = bpe.encode(sample).tolist()
        assert ids == theirs.encode_ordinary(sample), repr(sample[:200])
        assert read.encode(sample).tolist() == ids
        assert bpe.decode_bytes(ids) == sample.encode()
        assert np.array_equal(bpe.encode(sample.encode()), ids)


def test_lone_surrogates_are_what_tiktoken_makes_of_them(merges: list[tuple[int, int]]) -> None:
    bpe = Bpe.from_merges(merges, "cl100k", [])
    theirs = tiktoken_of(bpe, "cl100k")
    for sample in ["\ud800", "a\udfffb", "\ud83d\ude00", "\ude00\ud83d", "x\ud83d", "\ud83d\ud83d\ude00é"]:
        assert bpe.encode(sample).tolist() == theirs.encode(sample), ascii(sample)


def test_ranks_with_tokens_that_merges_do_not_reach() -> None:
    """tiktoken takes a pre-token that is a token whole, and may pass through tokens of higher rank."""
    ranks = {bytes([byte]): byte for byte in range(256)}
    for token in [
        b"he",
        b"llo",
        b" wor",
        b"xyz",
        b"lo",
        b"abc",
        b"ab",
        "中文".encode(),
        "文中".encode(),
        b"    ",
        b"  ",
    ]:
        ranks[token] = len(ranks)
    theirs = tiktoken.Encoding("test", pat_str=TIKTOKEN["cl100k"], mergeable_ranks=ranks, special_tokens={})
    file = b"".join(base64.b64encode(token) + b" %d\n" % rank for token, rank in ranks.items())
    bpe = Bpe.from_ranks(file, "cl100k", [])
    for sample in [
        "hello",
        "llo",
        "xyz",
        "xyzz",
        " wor",
        " world",
        "abc abcd abcabc",
        "中文 中文中文 文中",
        "a       b",
        "helloxyz",
    ]:
        assert bpe.encode(sample).tolist() == theirs.encode_ordinary(sample), sample
    written = Bpe.from_tokenizer_json(bpe.to_tokenizer_json().encode())
    assert written.identity == bpe.identity
    assert written.encode("xyz").tolist() == [ranks[b"xyz"]]
    with pytest.raises(TokenizerError, match="cannot be written as ranks"):
        changed = json.loads(bpe.to_tokenizer_json())
        changed["model"]["ignore_merges"] = False
        Bpe.from_tokenizer_json(json.dumps(changed).encode()).to_ranks()


def test_any_bytes_come_back(merges: list[tuple[int, int]]) -> None:
    draw = random.Random(4)
    for pattern in ["gpt2", "llama3", "o200k"]:
        bpe = Bpe.from_merges(merges, pattern, SPECIALS)
        for size in [*range(1, 40), 1000, 30_000]:
            data = (
                draw.randbytes(size)
                if size % 2
                else bytes(draw.choices(b"\xe4\xb8\xad\xf0\x9f\x98 a\xff\xed\xa0", k=size))
            )
            assert bpe.decode_bytes(bpe.encode(data)) == data


def test_special_tokens_are_text_unless_allowed(merges: list[tuple[int, int]]) -> None:
    bpe = Bpe.from_merges(merges, "gpt2", SPECIALS)
    eot, start, longer = (id for _, id in bpe.specials)
    assert eot == 256 + len(merges)
    sample = "a<|endoftext|>b<|im_start|>xy"
    plain = bpe.encode(sample).tolist()
    assert not {eot, start, longer} & set(plain)
    assert bpe.encode(sample, "none").tolist() == plain
    a, b, y, x = (bpe.encode(letter).tolist() for letter in "abyx")
    assert bpe.encode(sample, "all").tolist() == [*a, eot, *b, longer, *y]
    assert bpe.encode(sample, {"<|im_start|>"}).tolist() == [*bpe.encode("a<|endoftext|>b"), start, *bpe.encode("xy")]
    assert bpe.encode(sample, set()).tolist() == plain
    assert bpe.encode("<|im_start|>" * 3, "all").tolist() == [start] * 3
    with pytest.raises(UsageError, match=r"<\|endoftext\|> at byte 1"):
        bpe.encode(sample, "none_raise")
    with pytest.raises(UsageError, match="not a special token"):
        bpe.encode(sample, {"<|nope|>"})
    with pytest.raises(UsageError, match="allowed_special"):
        bpe.encode(sample, "some")


@pytest.mark.parametrize("threads", [0, 1, 2, 7])
def test_batches_equal_single_texts(merges: list[tuple[int, int]], threads: int) -> None:
    bpe = Bpe.from_merges(merges, "llama3", SPECIALS)
    draw = random.Random(5)
    texts = [text(draw, draw.randrange(20_000)) for _ in range(60)] + ["", b"\xff bytes", "\ud800"]
    batch = bpe.encode_batch(texts, threads)
    assert len(batch) == len(texts)
    for ids, single in zip(batch, texts, strict=True):
        assert ids.dtype == np.uint16
        assert np.array_equal(ids, bpe.encode(single))
    assert bpe.encode_batch([]) == []
    with pytest.raises(UsageError, match="special token"):
        bpe.encode_batch(["fine", "<|endoftext|>"], threads, "none_raise")


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("specials", [[], [("<|far|>", 70_000)]], ids=["uint16", "uint32"])
def test_memory_serves_the_next_result_when_nothing_is_left_of_the_last(
    merges: list[tuple[int, int]], specials: list[tuple[str, int]], threads: int
) -> None:
    bpe = Bpe.from_ranks(Bpe.from_merges(merges, "gpt2", []).to_ranks(), "gpt2", specials)
    draw = random.Random(8)
    texts = ["".join(draw.choices("abcdefgh     \n", k=500_000)) * 8 for _ in range(2)]

    def encode(number: int) -> list[np.ndarray[Any, Any]]:
        return bpe.encode_batch([texts[number], "abc"], threads)

    first, second = encode(0), encode(1)
    held = first[0].copy()
    assert np.array_equal(bpe.encode(texts[1]), second[0])
    assert np.array_equal(held, first[0])
    first[0][:5] = 0  # it is the caller's own
    place = first[0].ctypes.data
    part = first[0][100:200]
    del first, second
    third = encode(1)
    assert third[0].ctypes.data != place
    assert np.array_equal(part, held[100:200])
    del part, third
    seen = [encode(0) for _ in range(3)]
    assert place in [ids[0].ctypes.data for ids in seen]
    assert all(np.array_equal(ids[0], held) for ids in seen)


def test_wide_vocabularies_come_as_uint32(merges: list[tuple[int, int]]) -> None:
    narrow = Bpe.from_merges(merges, "gpt2", [])
    file = narrow.to_ranks()
    wide = Bpe.from_ranks(file, "gpt2", [("<|far|>", 70_000)])
    sample = text(random.Random(6), 5000)
    assert wide.encode(sample).dtype == np.uint32
    assert wide.vocab_size == 70_001
    assert np.array_equal(wide.encode(sample), narrow.encode(sample))
    assert wide.encode("<|far|>", "all").tolist() == [70_000]
    assert wide.decode_bytes([70_000]) == b"<|far|>"
    with pytest.raises(DataError, match="69999 is not a token"):
        wide.decode_bytes([69_999])


def test_vocabulary_and_merges_apart(merges: list[tuple[int, int]]) -> None:
    bpe = Bpe.from_merges(merges, "gpt2", ["<|endoftext|>"])
    model = json.loads(bpe.to_tokenizer_json())["model"]
    vocab = json.dumps({**model["vocab"], "<|endoftext|>": bpe.vocab_size - 1}).encode()
    lines = "\n".join(["#version: 0.2", *(" ".join(pair) for pair in model["merges"])])
    read = Bpe.from_vocab_and_merges(vocab, lines.encode(), "gpt2", ["<|endoftext|>"])
    assert read.identity == bpe.identity
    with pytest.raises(TokenizerError, match="not in the vocabulary"):
        Bpe.from_vocab_and_merges(vocab, lines.encode(), "gpt2", ["<|other|>"])


def test_decoding_refuses_what_is_no_id(merges: list[tuple[int, int]]) -> None:
    bpe = Bpe.from_merges(merges, "gpt2", [])
    ids = bpe.encode("some text")
    assert (
        bpe.decode_bytes(ids)
        == bpe.decode_bytes(ids.astype(np.int64))
        == bpe.decode_bytes(ids.tolist())
        == b"some text"
    )
    assert bpe.decode_bytes(ids[::2]) == b"".join(bpe.token_bytes(int(token)) for token in ids[::2])
    for bad in [[-1], [1 << 40], ["a"], [1.5]]:
        with pytest.raises(DataError, match="is not an id"):
            bpe.decode_bytes(bad)
    with pytest.raises(DataError, match="of this vocabulary"):
        bpe.decode_bytes([bpe.vocab_size])
    with pytest.raises(UsageError, match="str or bytes, not int"):
        bpe.encode(5)  # type: ignore[arg-type]


def edit(bpe: Bpe, *path: str, value: Any) -> bytes:
    file = json.loads(bpe.to_tokenizer_json())
    part = file
    for key in path[:-1]:
        part = part[key]
    part[path[-1]] = value
    return json.dumps(file).encode()


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (["model", "type"], "Unigram", "its model is Unigram"),
        (["normalizer"], {"type": "NFC"}, r"normalizes text first \(NFC\)"),
        (["pre_tokenizer"], None, "no pre-tokenizer"),
        (["pre_tokenizer"], {"type": "Metaspace"}, "its pre-tokenizer is Metaspace"),
        (["pre_tokenizer"], {"type": "ByteLevel", "add_prefix_space": True}, "adds a space"),
        (["decoder"], {"type": "Metaspace"}, "its decoder is Metaspace"),
        (["model", "byte_fallback"], True, "falls back to bytes"),
        (["model", "dropout"], 0.1, "drop out"),
        (["model", "end_of_word_suffix"], "</w>", "</w>"),
        (["model", "vocab"], {"a": 0}, "which is not in the vocabulary"),
        (["model", "merges"], ["ab"], "not two tokens"),
        (["model", "merges"], [["Ġ", "t"], ["Ġ", "t"]], "given twice"),
        (["added_tokens"], [{"id": 9, "content": "x", "lstrip": True}], "takes the spaces"),
        (["added_tokens"], [{"id": 9, "content": "<|x|>"}], "share id 9"),
        (["added_tokens"], [{"id": 4_000_000_000, "content": "<|x|>"}], "is the highest"),
    ],
)
def test_files_that_are_refused(merges: list[tuple[int, int]], path: list[str], value: Any, words: str) -> None:
    bpe = Bpe.from_merges(merges, "gpt2", [])
    with pytest.raises(TokenizerError, match=words):
        Bpe.from_tokenizer_json(edit(bpe, *path, value=value))


def test_damaged_files_are_refused(merges: list[tuple[int, int]]) -> None:
    bpe = Bpe.from_merges(merges, "gpt2", [])
    whole = bpe.to_tokenizer_json().encode()
    for end in range(0, len(whole), len(whole) // 50):
        with pytest.raises(TokenizerError, match=r"not a tokenizer\.json"):
            Bpe.from_tokenizer_json(whole[:end])
    ranks = bpe.to_ranks()
    for bad, words in [
        (b"", "no token for byte 0x00"),
        (ranks[5:], "line 1 of the ranks"),
        (ranks + ranks.splitlines()[7], "a second time"),
        (ranks + b"IQ== 5000\n", "are the same token"),
        (ranks.replace(b" 300\n", b" x\n"), "line 301"),
        (b"\x80\x02}q\x00.", "line 1"),
    ]:
        with pytest.raises(TokenizerError, match=words):
            Bpe.from_ranks(bad, "gpt2", [])
    with pytest.raises(UsageError, match="not a regex"):
        Bpe.from_ranks(ranks, "(", [])
    with pytest.raises(TokenizerError, match="comes later"):
        Bpe.from_merges([(0, 256)], "gpt2", [])
    with pytest.raises(TokenizerError, match="given twice"):
        Bpe.from_merges([], "gpt2", ["<a>", "<a>"])
