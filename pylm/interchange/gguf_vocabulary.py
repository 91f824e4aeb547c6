"""A tokenizer as GGUF holds it: tokens, kinds and merges, under the name of the pre-tokenizer that cuts exactly so."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pylm.errors import TokenizerError
from pylm.interchange import gguf_spm
from pylm.wording import param

if TYPE_CHECKING:
    from pylm.interchange.portable import Portable
    from pylm.tokenizer import Tokenizer

__all__ = ["EXACT", "FORCED", "SENTENCEPIECE", "pre_tokenizer_of", "tokenizer_of", "vocabulary_of"]

# Our patterns → llama.cpp's pre-tokenizer of the same cuts. dbrx has Llama 3's regex and honours merges.
EXACT = {"gpt2": "gpt-2", "qwen2": "qwen2", "cl100k": "dbrx", "llama3": "dbrx"}
READ = {"gpt-2": "gpt2", "qwen2": "qwen2", "dbrx": "llama3", "smaug-bpe": "llama3", "llama-bpe": "llama3"}
# What may be forced: names that llama.cpp knows for byte-level BPE
FORCED = ("gpt-2", "qwen2", "dbrx", "llama-bpe", "gpt-4o", "tekken", "smollm", "qwen35", "default")
SENTENCEPIECE = "default"  # what its converter calls those that have no pre-tokenizer
PATTERN = "pylm.pattern"  # which of ours it was: two of them are cut by one of llama.cpp's
NORMAL, CONTROL, USER_DEFINED, UNUSED = 1, 3, 4, 5
# Texts that llama.cpp takes for the end of what is generated, whatever the kind of the token
ENDING = frozenset(
    ("<|eot_id|>", "<|im_end|>", "<|end|>", "<|return|>", "<|call|>", "<|endoftext|>", "<|end_of_text|>",
     "<end_of_turn>", "<|eom_id|>", "<EOT>", "_<EOT>", "[EOT]", "[EOS]", "</s>", "<eos>", "<end_of_utterance>")
)  # fmt: skip


def pre_tokenizer_of(tokenizer: Tokenizer, forced: str | None) -> str:
    """Return llama.cpp's name of the pre-tokenizer; a refusal says what llama.cpp has no twin of."""
    if not tokenizer.native:
        gguf_spm.pieces_of(tokenizer)
        if forced is not None:
            raise TokenizerError(
                f"{param('force_pre', forced)} is for byte-level BPE, and this is SentencePiece", "leave it out"
            )
        return SENTENCEPIECE
    if forced is not None:
        return forced
    pattern = tokenizer.pattern or ""
    if pattern not in EXACT:
        what = "approximates the pattern o200k" if pattern == "o200k" else "has no pre-tokenizer that cuts as this one"
        raise TokenizerError(
            f"llama.cpp {what}{'' if pattern == 'o200k' else f', {pattern[:60]!r}'}: its ids would be others",
            f"patterns that it has exactly: {', '.join(EXACT)}; {param('force_pre', 'NAME')} takes one of its own",
        )
    merged = json.loads(tokenizer.backend.to_tokenizer_json())["model"].get("ignore_merges", False)
    if merged and pattern not in ("llama3", "cl100k"):
        raise TokenizerError(
            f"llama.cpp has {pattern} only with all merges honoured, and this vocabulary takes whole words first",
            f"{param('force_pre', 'NAME')} takes one of its own names",
        )
    return "llama-bpe" if merged else EXACT[pattern]


def vocabulary_of(model: Portable, pre: str, say: Callable[[str], None]) -> dict[str, Any]:
    """Return the fields of the tokenizer by their names behind `tokenizer.`; tokens number as many as the logits."""
    tokenizer, rows = model.tokenizer, model.shape.vocab_size
    assert tokenizer is not None and rows is not None
    value = json.loads(tokenizer.backend.to_tokenizer_json())
    if tokenizer.eot is None:
        raise TokenizerError(
            "the tokenizer has no end of text, for which llama.cpp would take the id 11",
            "train it with a special token such as <|endoftext|>",
        )
    pieces = None if tokenizer.native else gguf_spm.pieces_of(tokenizer)
    tokens, kinds = _tokens(value, rows)
    if pieces is not None:
        kinds[: len(pieces.pieces)] = [piece.kind for piece in pieces.pieces]
    _refuse_twins(tokens)
    for token in sorted(ENDING & {token for token, kind in zip(tokens, kinds, strict=True) if kind == NORMAL}):
        say(f"{token} is a token of plain text here, and llama.cpp ends what it generates there")
    turn = model.ends[1] if len(model.ends) > 1 else tokenizer.eot
    fields = {
        **(_bpe_fields(value, pre, tokenizer.pattern) if pieces is None else gguf_spm.spm_fields(pieces, pre, rows)),
        "ggml.tokens": tokens,
        "ggml.token_type": kinds,
        "ggml.bos_token_id": tokenizer.eot,
        "ggml.eos_token_id": tokenizer.eot,
        "ggml.eot_token_id": turn,
        "ggml.padding_token_id": tokenizer.eot,
        # llama-bpe's own default is true
        "ggml.add_bos_token": False,
        "ggml.add_eos_token": False,
    }
    return {**fields, **({"chat_template": tokenizer.chat_template} if tokenizer.chat_template else {})}


def _tokens(value: dict[str, Any], rows: int) -> tuple[list[str], list[int]]:
    """Return a text and a kind for each row; rows that are no token get names that nothing else has."""
    tokens: list[str | None] = [None] * rows
    kinds = [UNUSED] * rows
    for token, number in value["model"]["vocab"].items():
        tokens[number], kinds[number] = token, NORMAL
    for added in value.get("added_tokens") or []:
        tokens[added["id"]] = added["content"]
        kinds[added["id"]] = CONTROL if added["special"] else USER_DEFINED
    known = {token for token in tokens if token is not None}
    return [_padding(number, known) if token is None else token for number, token in enumerate(tokens)], kinds


def _padding(number: int, known: set[str]) -> str:
    name = f"[PAD{number}]"
    while name in known:
        name = f"[{name}]"
    return name


def _refuse_twins(tokens: list[str]) -> None:
    seen: dict[str, int] = {}
    for number, token in enumerate(tokens):
        if (first := seen.setdefault(token, number)) != number:
            raise TokenizerError(
                f"the ids {first} and {number} are both written {token!r}, and llama.cpp loads no file with such",
                f"export {param('to', 'hf')}",
            )


def _bpe_fields(value: dict[str, Any], pre: str, pattern: str | None) -> dict[str, Any]:
    """Return the fields that byte-level BPE has beside texts and kinds of its tokens."""
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in value["model"]["merges"]]
    return {"ggml.model": "gpt2", "ggml.pre": pre, "ggml.merges": merges, PATTERN: pattern}


def tokenizer_of(fields: Mapping[str, Any], where: str) -> Tokenizer:
    """Return the tokenizer of a GGUF file's fields; a refusal names what of it is not served."""
    from pylm.tokenizer import Tokenizer
    from pylm.tokenizer.native import blank_json

    told = {key.removeprefix("tokenizer."): value for key, value in fields.items() if key.startswith("tokenizer.")}
    pre, model = told.get("ggml.pre"), told.get("ggml.model")
    if model == gguf_spm.MODEL:
        made = gguf_spm.json_of(told, where)
        return Tokenizer.from_tokenizer_json(
            json.dumps(made, ensure_ascii=False), _config(told, told["ggml.tokens"], pre)
        )
    pattern = told.get(PATTERN) or READ.get(str(pre))
    if model != "gpt2" or pattern is None:
        raise TokenizerError(
            f"{where} has a vocabulary of the kind {model} that is cut by {pre}, which is not served",
            f"name its tokenizer as it was published: {param('tokenizer', 'T')}",
        )
    value = json.loads(blank_json(pattern))
    tokens, kinds = told["ggml.tokens"], told["ggml.token_type"]
    kept = [(token, number, kind) for number, (token, kind) in enumerate(zip(tokens, kinds, strict=True))]
    value["model"] |= {
        "vocab": {token: number for token, number, kind in kept if kind == NORMAL},
        "merges": [merge.split(" ", 1) for merge in told.get("ggml.merges", [])],
        "ignore_merges": pre == "llama-bpe",
    }
    value["added_tokens"] = [
        {"id": number, "content": token, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
         "special": kind == CONTROL}
        for token, number, kind in kept if kind in (CONTROL, USER_DEFINED)
    ]  # fmt: skip
    return Tokenizer.from_tokenizer_json(json.dumps(value, ensure_ascii=False), _config(told, tokens, pre))


def _config(told: Mapping[str, Any], tokens: Sequence[str], pre: str | None) -> dict[str, Any]:
    offices = {"eos_token": "eos", "bos_token": "bos", "pad_token": "padding"}
    config: dict[str, Any] = {
        office: tokens[told[f"ggml.{name}_token_id"]]
        for office, name in offices.items()
        if f"ggml.{name}_token_id" in told
    }
    by_default = pre == "llama-bpe" or told["ggml.model"] == gguf_spm.MODEL
    config["add_bos_token"] = told.get("ggml.add_bos_token", by_default)
    return {**config, **({"chat_template": told["chat_template"]} if "chat_template" in told else {})}
