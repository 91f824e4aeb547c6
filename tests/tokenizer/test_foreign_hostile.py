"""Files that would end the process, hang it or fail without a sentence inside the `tokenizers` package."""

import base64
import json
import struct
import time

import pytest
import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers

from pylm import Tokenizer
from pylm._rust import Bpe
from pylm.errors import PylmError, TokenizerError
from pylm.tokenizer.byte_alphabet import byte_to_char

SPACE = "▁"


def word_level(**parts):
    made = tokenizers.Tokenizer(models.WordLevel({"<unk>": 0, "a": 1, "o": 2, "</s>": 3}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    return json.loads(made.to_str()) | parts


def replace(old, new):
    return {"type": "Replace", "pattern": old if isinstance(old, dict) else {"String": old}, "content": new}


@pytest.mark.parametrize("part, inner", [("normalizer", "normalizers"), ("decoder", "decoders")])
@pytest.mark.parametrize("old", ["o", {"Regex": "o?"}])
def test_a_text_may_not_grow_without_end(part, inner, old):
    bomb = {"type": "Sequence", inner: [replace(old, "o" * 1000)] * 10}
    nested = {"type": "Sequence", inner: [replace("a", "b"), bomb]}
    for value in (bomb, nested, replace(old, "o" * 5000)):
        with pytest.raises(TokenizerError, match=rf"the {part} of .* may make a text .* times as long") as caught:
            Tokenizer.from_tokenizer_json(json.dumps(word_level(**{part: value})))
        assert caught.value.hint
    modest = {"type": "Sequence", inner: [replace(" ", SPACE), replace("``", '"'), replace({"Regex": " {2,}"}, " ")]}
    assert Tokenizer.from_tokenizer_json(json.dumps(word_level(**{part: modest}))).encode("a o") is not None


def charsmap():
    """SentencePiece's own table of normalised text, as it writes it."""
    sentencepiece = pytest.importorskip("sentencepiece")
    import io

    out = io.BytesIO()
    text = iter(["a sentence of some words and more words"] * 50)
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=text, model_writer=out, vocab_size=30, hard_vocab_limit=False, minloglevel=9
    )
    from pylm.tokenizer.spm_model import parse_model

    return parse_model(out.getvalue(), "it").charsmap


def test_a_sound_precompiled_normalizer_loads_and_garbage_is_refused(capfd):
    sound = charsmap()
    value = word_level(normalizer={"type": "Precompiled", "precompiled_charsmap": base64.b64encode(sound).decode()})
    theirs = tokenizers.Tokenizer.from_str(json.dumps(value))
    ours = Tokenizer.from_tokenizer_json(json.dumps(value))
    for text in ("ａ o", "a ﷺ", "a\tо"):
        assert ours.encode(text) == theirs.encode(text).ids
    table = struct.unpack("<I", sound[:4])[0]
    off = sound[:4] + b"\xff\xff\xff\x7f" * (table // 4) + sound[4 + table :]
    short = sound[: 4 + table] + b"x\0"
    cases = [b"", b"\1", b"garbage garbage garbage", sound[:5000], off, short, struct.pack("<I", 1024) + b"\xfe" * 2000]
    for data in cases[1:]:
        value["normalizer"]["precompiled_charsmap"] = base64.b64encode(data).decode()
        with pytest.raises(TokenizerError, match="the Precompiled normalizer of .* is damaged"):
            Tokenizer.from_tokenizer_json(json.dumps(value))
    assert "panicked" not in capfd.readouterr().err


def test_a_text_that_tokenizers_cannot_do_is_a_sentence():
    made = tokenizers.Tokenizer(models.WordPiece({"a": 0, "b": 1}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    ours = Tokenizer.from_tokenizer_json(made.to_str())
    assert ours.encode("a b") == [0, 1]
    for encode in (lambda: ours.encode("a x"), lambda: ours.encode_batch(["a", "x"], 2)):
        with pytest.raises(TokenizerError, match=r"`tokenizers` cannot do this text: .*\[UNK\]") as caught:
            encode()
        assert caught.value.hint


def test_too_many_added_tokens_are_refused_at_once():
    token = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": False}
    many = [{"id": 4 + index, "content": f"<{index}>", **token} for index in range(200_000)]
    data = json.dumps(word_level(added_tokens=many))
    started = time.process_time()
    with pytest.raises(TokenizerError, match="200,000 added tokens; 100,000 is the most"):
        Tokenizer.from_tokenizer_json(data)
    assert time.process_time() - started < 5


def test_too_many_added_tokens_of_a_byte_level_bpe_are_refused_at_once(monkeypatch):
    """Whoever runs it: neither encoder, nor `tokenizers` for comparison, is made of such a file."""
    monkeypatch.setattr(tokenizers.Tokenizer, "from_str", None)
    vocab = {char: number for number, char in enumerate(byte_to_char().values())}
    names = [f"<{index}>" for index in range(100_001)]
    many = [
        {"id": len(vocab) + index, "content": name, "normalized": True, "special": False}
        for index, name in enumerate(names)
    ]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    value = {
        "version": "1.0",
        "added_tokens": many,
        "normalizer": None,
        "pre_tokenizer": byte_level,
        "decoder": byte_level,
        "model": {"type": "BPE", "vocab": vocab, "merges": []},
    }
    with pytest.raises(TokenizerError, match="100,001 added tokens; 100,000 is the most"):
        Tokenizer.from_tokenizer_json(json.dumps(value))
    with pytest.raises(TokenizerError, match="100001 added tokens; 100000 is the most"):
        Bpe.from_tokenizer_json(json.dumps(value).encode())


def test_a_panic_of_tokenizers_is_a_sentence(monkeypatch):
    class PanicException(BaseException):
        pass

    def panics(*_):
        raise PanicException("index out of bounds\nmore")

    from pylm.tokenizer import foreign

    ours = Tokenizer.from_tokenizer_json(json.dumps(word_level()))
    monkeypatch.setattr(foreign, "_load", panics)
    with pytest.raises(TokenizerError, match="is no sound tokenizer.json: index out of bounds(\n|$)"):
        Tokenizer.from_tokenizer_json(json.dumps(word_level()))
    with pytest.raises(TokenizerError, match="cannot do this text: index out of bounds(\n|$)"):
        foreign._run(panics)
    with pytest.raises(KeyboardInterrupt):
        foreign._run(lambda _: (_ for _ in ()).throw(KeyboardInterrupt()))
    assert ours.encode("a") == [1]


def test_no_text_forges_a_special_token_whose_name_it_knows():
    """Even one that has read how special tokens are hidden from a vocabulary."""
    import hashlib

    value = word_level()
    value["pre_tokenizer"] = None
    token = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    value["added_tokens"] = [{"id": 3, "content": "</s>", **token}]
    ours = Tokenizer.from_tokenizer_json(json.dumps(value))
    for text in ("</s>", "\0" + hashlib.sha256(b"</s>").hexdigest()):
        assert ours.encode(text) == [0]
    assert ours.encode("</s>", "all") == [3]


DECODERS = {
    "strip alone": decoders.Strip(SPACE, 1, 0),
    "strip without fuse": decoders.Sequence([decoders.Replace(SPACE, " "), decoders.Strip(" ", 1, 0)]),
    "strip two": decoders.Sequence([decoders.Replace(SPACE, " "), decoders.Fuse(), decoders.Strip(" ", 2, 0)]),
    "strip after fuse": decoders.Sequence([decoders.Replace(SPACE, " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)]),
    "bytes before replacing": decoders.Sequence([decoders.ByteFallback(), decoders.Replace(SPACE, " ")]),
    "metaspace": decoders.Metaspace(),
    "metaspace first": decoders.Metaspace(prepend_scheme="first"),
    "metaspace never": decoders.Metaspace(prepend_scheme="never"),
    "regex": decoders.Replace(tokenizers.Regex(f"{SPACE}+"), "-"),
    "nothing": None,
}


@pytest.mark.parametrize("name", DECODERS)
def test_every_decoder_gives_its_text(name):
    words = ["<unk>", SPACE, f"{SPACE}a", f"a{SPACE}b", f"{SPACE}{SPACE}", "b ", "<0x41>", " ", f"{SPACE}{SPACE}c"]
    made = tokenizers.Tokenizer(models.WordLevel({word: at for at, word in enumerate(words)}, unk_token="<unk>"))
    if DECODERS[name] is not None:
        made.decoder = DECODERS[name]
    made.add_special_tokens([f"{SPACE}end{SPACE}"])
    ours = Tokenizer.from_tokenizer_json(made.to_str())
    size = len(words) + 1
    for first in range(size):
        for second in range(size):
            for ids in ([first], [first, second], [first, second, first, 3]):
                wanted = made.decode(ids, skip_special_tokens=False)
                assert ours.decode(ids) == wanted, ids
                stream = ours.decode_stream()
                assert "".join([*map(stream.push, ids), stream.finish()]) == wanted, ids


def test_damaged_precompiled_tables_never_panic(capfd):
    import random

    rng = random.Random(3)
    sound = charsmap()
    refused = 0
    for _ in range(60):
        data = bytearray(sound)
        for _ in range(rng.choice([1, 1, 200])):
            data[rng.randrange(len(data))] = rng.randrange(256)
        normalizer = {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(data).decode()}
        try:
            ours = Tokenizer.from_tokenizer_json(json.dumps(word_level(normalizer=normalizer)))
            ours.encode("".join(map(chr, range(0xA0, 0x3000, 7))) + "ﷺ ＡＢＣ ㌀㍿")
        except PylmError as error:
            refused += 1
            assert "damaged" in error.message, error
    assert refused and "panicked" not in capfd.readouterr().err
    assert normalizers.Precompiled(sound) is not None
