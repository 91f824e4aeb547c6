"""Files with the shapes of well-known models' tokenizers: ids, decoding and reloading are those of `tokenizers`."""

import json
import pickle
import random
import re

import pytest
import tokenizers

from pylm import Tokenizer
from pylm.errors import PylmWarning, TokenizerError
from tests.tokenizer.shapes import SHAPES, added, byte_level, pre_tokenizers

NATIVE = {"phi2", "llama3"}


@pytest.fixture(scope="module")
def lines(text_of):
    return [text_of(seed, 1500) for seed in range(12)]


@pytest.fixture(scope="module", params=SHAPES)
def shape(request, lines):
    value = SHAPES[request.param](lines)
    return request.param, value, Tokenizer.from_tokenizer_json(json.dumps(value)), theirs_of(value)


def theirs_of(value, plain=False):
    made = tokenizers.Tokenizer.from_str(json.dumps(value))
    made.encode_special_tokens = plain
    return made


def texts_of(value, hostile):
    """Hostile texts, and each added token alone, in words, between spaces, torn and twice."""
    names = [token["content"] for token in value["added_tokens"]]
    woven = [f"{name}|a{name} {name}{name[1:]} {name[:-1]}|{name}{name}" for name in names]
    code = ["def f():\n    return 1\n\n\n\tx  = 2", "\t\t\t\ta", "   " * 20, "'S 'll don'ſt 12345 ²"]
    return [*hostile[:250], *names, *woven, *code, " ".join(names)]


def test_ids_are_those_of_tokenizers_whatever_is_allowed(shape, hostile):
    name, value, ours, theirs = shape
    assert ours.native == (name in NATIVE)
    plain = theirs_of(value, plain=True)
    special = re.compile("|".join(map(re.escape, ours.specials)))
    every = {token["content"]: token["id"] for token in value["added_tokens"]}
    assert ours.added == every
    for text in texts_of(value, hostile):
        assert ours.encode(text, "all") == theirs.encode(text, add_special_tokens=False).ids, repr(text)
        found = ours.encode(text)
        assert not set(found) & set(ours.specials.values()) or name in {"gemma3", "mistral"}, repr(text)
        if not special.search(text):
            assert found == plain.encode(text, add_special_tokens=False).ids, repr(text)


def test_a_token_that_is_not_special_is_its_own_under_every_setting(shape):
    _, value, ours, _ = shape
    for token in value["added_tokens"]:
        text, token_id = token["content"], token["id"]
        if token["special"]:
            assert ours.encode(text, {text}) == [token_id]
            if text != "<unk>":
                assert token_id not in ours.encode(f"a{text}")
            continue
        one_allowed = {next(iter(ours.specials))}
        for allowed in ("all", "none", "none_raise", one_allowed):
            assert ours.encode(text, allowed) == [token_id], (text, allowed)
        assert ours.encode_batch([text, "x"], 2)[0].tolist() == [token_id]


def test_text_comes_back_as_tokenizers_gives_it(shape, hostile):
    _, value, ours, theirs = shape
    for text in texts_of(value, hostile):
        ids = ours.encode(text, "all")
        wanted = theirs.decode(ids, skip_special_tokens=False)
        if "\ufffd" in wanted:  # of bytes that are no character each reader makes its own
            continue
        assert ours.decode(ids) == wanted, repr(text)
        stream = ours.decode_stream()
        assert "".join([*map(stream.push, ids), stream.finish()]) == wanted, repr(text)
        skipped = theirs.decode(ids, skip_special_tokens=True)
        assert "\ufffd" in skipped or ours.decode(ids, skip_special=True) == skipped, repr(text)


def test_saved_and_pickled_it_is_the_same(shape, hostile, tmp_path):
    _, value, ours, _ = shape
    wanted = [(ours.encode(text), ours.encode(text, "all")) for text in texts_of(value, hostile)]
    ours.save(tmp_path / "tok")
    again = tokenizers.Tokenizer.from_file(str(tmp_path / "tok" / "tokenizer.json"))
    for other in (pickle.loads(pickle.dumps(ours)), Tokenizer.load(tmp_path / "tok")):
        assert (other.identity, other.added, other.specials) == (ours.identity, ours.added, ours.specials)
        assert [(other.encode(text), other.encode(text, "all")) for text in texts_of(value, hostile)] == wanted
    for text, (_, ids) in zip(texts_of(value, hostile), wanted, strict=True):
        assert again.encode(text, add_special_tokens=False).ids == ids, repr(text)


def test_the_end_of_a_text_is_what_the_configuration_says_or_is_well_known(lines):
    value = SHAPES["command_r"](lines)
    ends = "<|END_OF_TURN_TOKEN|>"
    named = Tokenizer.from_tokenizer_json(json.dumps(value), {"eos_token": ends})
    assert named.eot_token == ends and named.eot == named.added[ends] and ends not in named.specials
    config = json.loads(named.files()["tokenizer_config.json"])
    assert (config["eos_token"], config["pad_token"]) == (ends, ends)
    assert Tokenizer.from_tokenizer_json(json.dumps(SHAPES["deepseek_v3"](lines))).eot_token == "<｜end▁of▁sentence｜>"
    odd = byte_level(lines, pre_tokenizers.ByteLevel(add_prefix_space=False), added(("<first>", True, False)))
    nameless = Tokenizer.from_tokenizer_json(json.dumps(odd))
    assert (nameless.eot, nameless.eot_token, list(nameless.specials)) == (None, None, ["<first>"])


def test_an_end_of_text_that_is_no_token_is_none_and_said(lines, tmp_path):
    value = SHAPES["command_r"](lines)
    assert Tokenizer.from_tokenizer_json(json.dumps(value), {"eos_token": None}).eot_token == "<|END_OF_TURN_TOKEN|>"
    for named in ("nope", {"content": "nope", "special": True}):
        with pytest.warns(PylmWarning, match="names 'nope' as its eos_token.* it has no end of text"):
            made = Tokenizer.from_tokenizer_json(json.dumps(value), {"eos_token": named})
        assert (made.eot, made.eot_token) == (None, None)
        made.save(tmp_path / "tok")
        with pytest.warns(PylmWarning, match="'nope'"):
            assert Tokenizer.load(tmp_path / "tok").eot is None


@pytest.mark.parametrize("where", ["native", "foreign"])
def test_merges_that_spell_a_special_token_load(where, lines, hostile):
    text = "<s> one </s> <s> two </s> </s></s>x "
    pre = pre_tokenizers.Split(tokenizers.Regex(r"\s+"), "isolated")
    if where == "native":
        pre = pre_tokenizers.Sequence([pre, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    value = byte_level([text * 50, *lines], pre, [])
    ids = value["model"]["vocab"]
    assert any(left + right == "</s>" for left, right in value["model"]["merges"])
    value["added_tokens"] = [{"id": ids[name], **added((name, True, False))[0]} for name in ("<s>", "</s>")]
    ours, theirs = Tokenizer.from_tokenizer_json(json.dumps(value)), theirs_of(value)
    assert ours.native == (where == "native")
    for one in [text, "a</s>b", "</s></s>", *hostile[:150]]:
        assert ours.encode(one, "all") == theirs.encode(one, add_special_tokens=False).ids, repr(one)
        assert not {ids["<s>"], ids["</s>"]} & set(ours.encode(one)), repr(one)
        assert where == "foreign" or ours.decode(ours.encode(one)) == one


def test_tokens_that_are_looked_for_last_are_found_last(lines, hostile):
    """`ab` hides in `xab`, but is looked for in what the tokens that are not normalized leave."""
    extra = added(("xab", False, True), ("ab", False, False), ("  ", False, True), (" <s>", True, False))
    value = byte_level(lines, pre_tokenizers.ByteLevel(add_prefix_space=False), extra)
    ours, theirs = Tokenizer.from_tokenizer_json(json.dumps(value)), theirs_of(value)
    assert ours.native
    for text in ["xab", "xxab  ab", "   <s>  xab <s>", *hostile[:100]]:
        assert ours.encode(text, "all") == theirs.encode(text, add_special_tokens=False).ids, repr(text)
    long = "word xab  <s> " * 40_000
    assert ours.encode_batch([long], 4)[0].tolist() == theirs_of(value, True).encode(long).ids


def test_any_set_of_special_tokens_may_be_allowed(lines):
    """Against taking the longest token at each place, in the two turns that tokens are looked for in."""
    draw = random.Random(3)
    names = list({"".join(draw.choices("<|>", k=draw.randint(2, 5))) for _ in range(60)})
    flags = {name: (draw.random() < 0.7, draw.random() < 0.4) for name in names}  # special, normalized
    extra = added(*((name, *flags[name]) for name in names))
    plain = [re.sub("[<|>]", "", line) for line in lines]
    parts = (plain, pre_tokenizers.ByteLevel(add_prefix_space=False))
    ours = Tokenizer.from_tokenizer_json(json.dumps(byte_level(*parts, extra)))
    without = Tokenizer.from_tokenizer_json(json.dumps(byte_level(*parts, [])))
    assert ours.native and without.native

    def ids(text, *turns):
        if not turns:
            return without.encode(text)
        found, start, at = [], 0, 0
        while at < len(text):
            name = max((name for name in turns[0] if text.startswith(name, at)), key=len, default=None)
            if name is None:
                at += 1
                continue
            found += [*ids(text[start:at], *turns[1:]), ours.added[name]]
            start = at = at + len(name)
        return found + ids(text[start:], *turns[1:])

    sets = [frozenset(draw.sample(sorted(ours.specials), size)) for size in (0, 1, 1, 2, 5, 9, 20, len(ours.specials))]
    for _ in range(100):
        allowed = draw.choice(sets)
        texts = ["".join(draw.choices(["<", "|", ">", "the ", *names[:9]], k=draw.randrange(30))) for _ in range(3)]
        known = [name for name in names if name in allowed or not flags[name][0]]
        turns = [[name for name in known if flags[name][1] == late] for late in (False, True)]
        wanted = [ids(text, *turns) for text in texts]
        assert [ours.encode(text, allowed) for text in texts] == wanted, (allowed, texts)
        assert [one.tolist() for one in ours.encode_batch(texts, 1, allowed)] == wanted


@pytest.mark.parametrize("special", [False, True])
def test_the_comparison_prepares_as_often_for_many_added_tokens_as_for_few(special, lines, monkeypatch, tmp_path):
    """What is looked for is made ready by each call of the encoder, which took a call for each token."""
    from pylm.tokenizer import agreement
    from pylm.tokenizer.native import NativeBackend

    monkeypatch.setenv("PYLM_CACHE", str(tmp_path))
    calls = []
    for name in ("encode", "encode_batch"):
        real = getattr(NativeBackend, name)
        monkeypatch.setattr(NativeBackend, name, lambda *given, real=real: (calls.append(given), real(*given))[1])
    counts = []
    for count in (200, 3200):
        agreement._seen.clear()
        calls.clear()
        extra = added(*((f"<extra {number}>", special, True) for number in range(count)))
        value = byte_level(lines[:3], pre_tokenizers.ByteLevel(add_prefix_space=False), extra)
        assert len(Tokenizer.from_tokenizer_json(json.dumps(value)).added) == count
        counts.append(len(calls))
    assert 2 <= counts[0] == counts[1] < 10, counts


def test_a_file_whose_ids_depend_on_its_reader_is_refused_by_name(lines):
    value = SHAPES["phi2"](lines)
    value["added_tokens"][1]["id"] += 100
    with pytest.raises(TokenizerError, match=r"says that  +has id \d+, and `tokenizers` gives it \d+"):
        Tokenizer.from_tokenizer_json(json.dumps(value))


def test_ids_that_differ_from_those_of_tokenizers_are_noticed_at_loading(lines, monkeypatch, tmp_path):
    from pylm.tokenizer import agreement
    from pylm.tokenizer.native import NativeBackend

    monkeypatch.setenv("PYLM_CACHE", str(tmp_path))
    value = json.dumps(SHAPES["llama3"](lines[:3]))
    monkeypatch.setattr(agreement, "_seen", set())
    compared = []
    real = agreement._compare
    monkeypatch.setattr(agreement, "_compare", lambda *args: (compared.append(args), real(*args)))
    Tokenizer.from_tokenizer_json(value)
    agreement._seen.clear()
    Tokenizer.from_tokenizer_json(value)
    assert len(compared) == 1 and len(list((tmp_path / "agreement").iterdir())) == 1
    encode = NativeBackend.encode_batch

    def wrong(self, texts, allowed, threads):
        batch = encode(self, texts, allowed, threads)
        return [ids[1:] if "or" in text and len(text) > 20 else ids for text, ids in zip(texts, batch, strict=True)]

    monkeypatch.setattr(NativeBackend, "encode_batch", wrong)
    with pytest.raises(TokenizerError, match="cannot be served exactly: .* has other ids here than in `tokenizers`"):
        Tokenizer.from_tokenizer_json(value + " ")
