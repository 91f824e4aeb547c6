"""SentencePiece vocabularies in GGUF files: read as llama.cpp reads them they give the same ids, and they come back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("gguf")
pytest.importorskip("tokenizers")

import pylm
from pylm.errors import TokenizerError
from pylm.interchange.asked import texts_of
from pylm.interchange.gguf_vocabulary import tokenizer_of
from pylm.tokenizer.spm_convert import to_tokenizer_json
from pylm.tokenizer.spm_model import BYTE, CONTROL, NORMAL, UNIGRAM, UNKNOWN
from tests.generation.small import END, small_model, write_run
from tests.interchange.pieces import JOINED, spm, tokenizer
from tests.interchange.plain_gguf import Plain


def exported(words: pylm.Tokenizer, rows: int = 3) -> dict[str, Any]:
    write_run(Path("runs/a"), small_model(words.vocab_size + rows, n_layers=1), words)
    pylm.export("runs/a", to="gguf", out="out")
    return Plain("out/model.gguf").fields


def joined(fields: dict[str, Any], text: str) -> list[int]:
    """As llm_tokenizer_spm: always the two neighbours whose piece has the highest score, the first of those."""
    tokens = {token: number for number, token in enumerate(fields["tokenizer.ggml.tokens"])}
    scores = fields["tokenizer.ggml.scores"]
    parts = list((" " * fields["tokenizer.ggml.add_space_prefix"] * bool(text) + text).replace(" ", "▁"))
    while pairs := [
        (-scores[tokens[whole]], at) for at in range(len(parts) - 1) if (whole := parts[at] + parts[at + 1]) in tokens
    ]:
        at = min(pairs)[1]
        parts[at : at + 2] = [parts[at] + parts[at + 1]]
    return [
        number
        for part in parts
        for number in ([tokens[part]] if part in tokens else [tokens[f"<0x{byte:02X}>"] for byte in part.encode()])
    ]


@pytest.mark.parametrize("prefix", [False, True])
def test_pieces_are_joined_by_their_scores_and_come_back(prefix: bool) -> None:
    words = tokenizer(add_dummy_prefix=prefix)
    fields = exported(words)
    assert (fields["tokenizer.ggml.model"], fields["tokenizer.ggml.pre"]) == ("llama", "default")
    assert "tokenizer.ggml.merges" not in fields and "Text is cut as SentencePiece" in Path("out/README.md").read_text()
    texts = [*texts_of([], 3_000, 200), "that banana is in  the 12th", "anana 1212 жж'' ▁ <0x41> <unk>x", ""]
    differ = [text for text in texts if joined(fields, text) != words.encode(text)]
    assert not differ, differ[0]
    pylm.import_("out/model.gguf", out="back")
    back = pylm.Tokenizer.load("back")
    assert back.identity == words.identity and back.eot_token == END
    pylm.export("back", to="gguf", out="again")
    assert Plain("again/model.gguf").fields.items() >= {
        key: value for key, value in fields.items() if key != "general.name"
    }.items()  # fmt: skip


def test_the_kinds_of_its_tokens() -> None:
    fields = exported(tokenizer())
    kinds, tokens = fields["tokenizer.ggml.token_type"], fields["tokenizer.ggml.tokens"]
    assert kinds[:2] == [UNKNOWN, CONTROL] and set(kinds[2:258]) == {BYTE} and kinds[-4:] == [NORMAL, 5, 5, 5]
    assert fields["tokenizer.ggml.unknown_token_id"] == 0 and len(fields["tokenizer.ggml.scores"]) == len(tokens)
    ids = {fields[f"tokenizer.ggml.{name}_token_id"] for name in ("bos", "eos", "eot", "padding")}
    assert ids == {1} and fields["tokenizer.ggml.add_bos_token"] is False


def test_fields_that_others_leave_out() -> None:
    """As llama.cpp reads them: a space before a text, and bos in front of it."""
    fields = exported(tokenizer(add_dummy_prefix=True))
    left = {name: value for name, value in fields.items() if not name.endswith(("add_bos_token", "add_space_prefix"))}
    words = tokenizer_of(left, "x")
    assert words.identity == tokenizer(add_dummy_prefix=True).identity
    assert json.loads(words.files()["tokenizer_config.json"])["add_bos_token"] is True


def changed(change: Any) -> pylm.Tokenizer:
    value = to_tokenizer_json(spm(), "x")
    change(value)
    return pylm.Tokenizer.from_tokenizer_json(json.dumps(value), {"eos_token": END})


def test_merges_of_others_in_another_order_within_a_piece_are_the_same() -> None:
    """As transformers writes them for Llama 2: no pre-tokenizer, the longer left part first."""

    def otherwise(value: Any) -> None:
        value["pre_tokenizer"] = None
        merges = value["model"]["merges"]
        merges.sort(key=lambda pair: (JOINED.index("".join(pair)), -len(pair[0])))

    fields = exported(changed(otherwise))
    assert fields["tokenizer.ggml.scores"][258 : 258 + len(JOINED)] != [0.0] * len(JOINED)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (lambda: tokenizer(model_type=UNIGRAM), "a Unigram vocabulary"),
        (lambda: tokenizer(remove_extra_whitespaces=True), "SentencePiece that normalizes text"),
        (lambda: tokenizer(byte_fallback=False), "merges of characters without a piece for each byte"),
        (
            lambda: changed(lambda value: value["model"]["merges"].insert(0, value["model"]["merges"].pop())),
            "merges that are not those of pieces by their scores",
        ),
        (lambda: changed(lambda value: value["model"]["merges"].pop(3)), "merges that are not those of pieces"),
        (
            lambda: changed(lambda value: value["model"]["vocab"].update(z=value["model"]["vocab"]["z"] + 900)),
            "a vocabulary with gaps between its ids",
        ),
        (lambda: tokenizer(more=("é!",)), "a piece 'é!' whose characters are not all pieces"),
        (lambda: tokenizer(more=("<0x", "41>"), letters="<0x41>"), "plain pieces that join to <0x41>"),
    ],
)  # fmt: skip
def test_what_llama_cpp_would_read_otherwise_is_named(words: Any, sentence: str) -> None:
    with pytest.raises(TokenizerError, match=f"llama.cpp has no twin of .*{sentence}"):
        exported(words())
    assert not Path("out").exists()


def test_a_pre_tokenizer_is_for_byte_level_bpe() -> None:
    words = tokenizer()
    write_run(Path("runs/a"), small_model(words.vocab_size, n_layers=1), words)
    with pytest.raises(TokenizerError, match="force_pre=.gpt-2. is for byte-level BPE"):
        pylm.export("runs/a", to="gguf", out="out", force_pre="gpt-2")
