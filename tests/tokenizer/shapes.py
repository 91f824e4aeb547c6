"""Small tokenizer.json files with the parts that well-known models' have, and the text they are trained on."""

import json

import tokenizers
from tokenizers import Regex, models, normalizers, pre_tokenizers, trainers

LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|"
    r"\s+(?!\S)|\s+"
)
QWEN = LLAMA3.replace("{1,3}", "")
DEEPSEEK = (
    r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|"""
    r"""\s*[\r\n]+|\s+(?!\S)|\s+"""
)
BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
SENTENCEPIECE = [
    {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
    {"type": "ByteFallback"},
    {"type": "Fuse"},
]


def split(*regexes):
    steps = [pre_tokenizers.Split(Regex(regex), "isolated") for regex in regexes]
    return pre_tokenizers.Sequence([*steps, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def added(*tokens):
    """Added tokens of (content, special, normalized)."""
    return [
        {
            "content": content,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": normalized,
            "special": special,
        }
        for content, special, normalized in tokens
    ]


def byte_level(lines, pre_tokenizer, extra, normalizer=None, **model):
    """A byte-level BPE whose added tokens follow the vocabulary, as a tokenizer.json."""
    made = tokenizers.Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizer
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=600, initial_alphabet=alphabet, show_progress=False)
    made.train_from_iterator(lines, trainer)
    value = json.loads(made.to_str())
    value["normalizer"] = normalizer
    value["decoder"] = BYTE_LEVEL
    value["model"] |= model
    size = len(value["model"]["vocab"])
    value["added_tokens"] = [{"id": size + index, **token} for index, token in enumerate(extra)]
    return value


def sentencepiece(lines, extra, decoder, in_vocabulary):
    """A character BPE that falls back to bytes, as converted from SentencePiece: added tokens come first."""
    made = tokenizers.Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    made.normalizer = normalizers.Replace(" ", "▁")
    first = [token["content"] for token in extra] if in_vocabulary else ["<unk>"]
    first += [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=900, special_tokens=first, max_token_length=8, show_progress=False)
    made.train_from_iterator([" ".join(lines)[:30_000]], trainer)
    value = json.loads(made.to_str())
    ids = value["model"]["vocab"]
    value["decoder"] = {"type": "Sequence", "decoders": decoder}
    size = len(ids)
    value["added_tokens"] = []
    for token in extra:
        token_id = ids.get(token["content"])
        size, token_id = (size, token_id) if token_id is not None else (size + 1, size)
        value["added_tokens"].append({"id": token_id, **token})
    return value


def qwen2_5(lines):
    extra = added(
        ("<|endoftext|>", True, False), ("<|im_start|>", True, False), ("<|im_end|>", True, False),
        ("<tool_call>", False, False), ("</tool_call>", False, False), ("<|fim_prefix|>", False, False),
    )  # fmt: skip
    return byte_level(lines, split(QWEN), extra, {"type": "NFC"})


def qwen3(lines):
    extra = added(
        ("<|endoftext|>", True, False), ("<|im_start|>", True, False), ("<|im_end|>", True, False),
        ("<|vision_start|>", True, False), ("<tool_call>", False, False), ("<think>", False, False),
        ("</think>", False, False),
    )  # fmt: skip
    return byte_level(lines, split(QWEN), extra, {"type": "NFC"})


def deepseek_v3(lines):
    extra = added(
        ("<｜begin▁of▁sentence｜>", True, False), ("<｜end▁of▁sentence｜>", True, False),
        ("<｜▁pad▁｜>", True, False), ("<｜place▁holder▁no▁0｜>", True, False), ("<｜fim▁hole｜>", False, True),
        ("<｜User｜>", False, True), ("<｜Assistant｜>", False, True), ("<|EOT|>", True, False),
    )  # fmt: skip
    pre = split(r"\p{N}{1,3}", "[一-龥぀-ゟ゠-ヿ]+", DEEPSEEK)
    return byte_level(lines, pre, extra, {"type": "Sequence", "normalizers": []})


def gemma3(lines):
    extra = added(
        ("<pad>", True, False), ("<eos>", True, False), ("<bos>", True, False), ("<unk>", True, False),
        ("<mask>", False, False), ("[multimodal]", False, False), ("<unused0>", False, False),
        ("▁▁", False, False), ("▁▁▁▁", False, False), ("\n\n", False, False), ("<start_of_turn>", True, False),
        ("<end_of_turn>", True, False),
    )  # fmt: skip
    value = sentencepiece(lines, extra, SENTENCEPIECE, True)
    value["pre_tokenizer"] = {
        "type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": False,
    }  # fmt: skip
    value["added_tokens"] += [{"id": len(value["model"]["vocab"]), **added(("<image_soft_token>", True, False))[0]}]
    return value


def command_r(lines):
    extra = added(
        ("<PAD>", True, False), ("<UNK>", True, False), ("<BOS_TOKEN>", True, False), ("<EOS_TOKEN>", True, False),
        ("<|START_OF_TURN_TOKEN|>", False, False), ("<|END_OF_TURN_TOKEN|>", False, False),
        ("<|USER_TOKEN|>", False, False),
    )  # fmt: skip
    pre = pre_tokenizers.Sequence([pre_tokenizers.Digits(True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    return byte_level(lines, pre, extra, {"type": "NFC"})


def phi2(lines):
    blanks = [(" " * count, False, True) for count in range(31, 1, -1)]
    tabs = [("\t" * count, False, True) for count in range(9, 1, -1)]
    extra = added(("<|endoftext|>", True, False), *blanks, *tabs)
    return byte_level(lines, pre_tokenizers.ByteLevel(add_prefix_space=False), extra)


def llama3(lines):
    extra = added(("<|begin_of_text|>", True, False), ("<|end_of_text|>", True, False), ("<|eot_id|>", True, False))
    return byte_level(lines, split(LLAMA3), extra, ignore_merges=True)


def mistral(lines):
    extra = added(("<unk>", True, False), ("<s>", True, False), ("</s>", True, False))
    strip = {"type": "Strip", "content": " ", "start": 1, "stop": 0}
    value = sentencepiece(lines, extra, [*SENTENCEPIECE, strip], True)
    replace = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    value["normalizer"] = {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, replace]}
    return value


SHAPES = {make.__name__: make for make in (qwen2_5, qwen3, deepseek_v3, gemma3, command_r, phi2, llama3, mistral)}
