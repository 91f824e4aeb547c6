"""Loading: by name, file, folder; checksums, the cache, staying off the network, and every way to be wrong."""

import base64
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import tiktoken

from pylm import Tokenizer
from pylm.errors import PylmError, TokenizerError, UsageError
from pylm.tokenizer import published
from pylm.tokenizer.byte_alphabet import byte_to_char, spell

REGEX = {
    "gpt2": r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s""",
    "cl100k": r"""'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s""",  # noqa: E501
}
ORDER = list(byte_to_char())  # the bytes in the order of their ids


def small_vocab(text, count, holes=()):
    """Tokens by id: the bytes, then merges found in the plainest way, leaving out the ids in `holes`."""
    words = [[bytes([byte]) for byte in word] for word in text.encode().replace(b"\n", b" \n ").split(b" ") if word]
    ranks = {bytes([byte]): index for index, byte in enumerate(ORDER)}
    pairs = []
    free = (token_id for token_id in range(256, 10**6) if token_id not in holes)
    while len(ranks) < 256 + count:
        seen = {}
        for word in words:
            for pair in zip(word, word[1:], strict=False):
                seen[pair] = seen.get(pair, 0) + 1
        left, right = max(seen, key=lambda pair: (seen[pair], pair))
        pairs.append((left, right))
        ranks[left + right] = next(free)
        for word in words:
            at = 0
            while at + 1 < len(word):
                if (word[at], word[at + 1]) == (left, right):
                    word[at : at + 2] = [left + right]
                at += 1
    return ranks, pairs


@pytest.fixture(scope="module")
def vocab(corpus):
    return small_vocab(corpus.read_text()[:6000], 120)


def as_ranks(ranks):
    return b"".join(base64.b64encode(token) + b" %d\n" % token_id for token, token_id in ranks.items())


def as_pair(ranks, pairs, specials=()):
    merges = "#version: 0.2\n" + "".join(f"{spell(left)} {spell(right)}\n" for left, right in pairs)
    ids = {spell(token): token_id for token, token_id in ranks.items()}
    ids.update({name: len(ids) + index for index, name in enumerate(specials)})
    return merges.encode(), json.dumps(ids).encode()


@pytest.mark.parametrize("pattern", ["gpt2", "cl100k"])
def test_ranks_give_tiktokens_ids(vocab, pattern, hostile, tmp_path):
    ranks, _ = vocab
    path = tmp_path / "mine.tiktoken"
    path.write_bytes(as_ranks(ranks))
    end = len(ranks)
    theirs = tiktoken.Encoding(
        "mine", pat_str=REGEX[pattern], mergeable_ranks=ranks, special_tokens={"<|endoftext|>": end, "<|x|>": end + 1}
    )
    ours = Tokenizer.load(path, pattern=pattern, specials=["<|endoftext|>", "<|x|>"])
    assert ours.native and ours.vocab_size == theirs.n_vocab and ours.eot == end
    for text in hostile:
        assert ours.encode(text) == theirs.encode(text, disallowed_special=()), repr(text)
        assert ours.encode(text, "all") == theirs.encode(text, allowed_special="all"), repr(text)
    assert ours.decode(ours.encode("".join(hostile))) == "".join(hostile)


def test_ids_with_holes_stay_what_they_are_in_tokenizers(corpus, hostile, tmp_path):
    import tokenizers

    ranks, _ = small_vocab(corpus.read_text()[:6000], 60, holes={256, 300})
    (tmp_path / "holes.tiktoken").write_bytes(as_ranks(ranks))
    last = max(ranks.values())
    specials = {"<|endoftext|>": 300, "<|x|>": last + 2}
    ours = Tokenizer.load(tmp_path / "holes.tiktoken", pattern="cl100k", specials=specials)
    theirs = tokenizers.Tokenizer.from_str(ours.files()["tokenizer.json"].decode())
    again = Tokenizer.from_tokenizer_json(ours.files()["tokenizer.json"])
    assert again.identity == ours.identity and again.specials == specials
    for text in hostile:
        text += "<|x|>" if len(text) % 2 else ""
        assert ours.encode(text, "all") == theirs.encode(text, add_special_tokens=False).ids, repr(text)
    assert not {300, last + 2} & set(ours.encode("<|endoftext|><|x|>"))


def test_ranks_go_out_as_they_came_in(vocab, tmp_path):
    ranks, _ = vocab
    path = tmp_path / "mine.tiktoken"
    path.write_bytes(as_ranks(ranks))
    assert Tokenizer.load(path, pattern="gpt2").to_ranks() == path.read_bytes()


def test_both_pairs_of_files_are_the_same_tokenizer(vocab, hostile, tmp_path):
    ranks, pairs = vocab
    merges, ids = as_pair(ranks, pairs, ["<|endoftext|>"])
    names = [("vocab.bpe", "encoder.json"), ("merges.txt", "vocab.json")]
    loaded = []
    for index, (first, second) in enumerate(names):
        folder = tmp_path / str(index)
        folder.mkdir()
        (folder / first).write_bytes(merges)
        (folder / second).write_bytes(ids)
        loaded += [Tokenizer.load(folder), Tokenizer.load(folder / first), Tokenizer.load(folder / second)]
    (tmp_path / "r.tiktoken").write_bytes(as_ranks(ranks))
    loaded.append(Tokenizer.load(tmp_path / "r.tiktoken", pattern="gpt2", specials=["<|endoftext|>"]))
    wanted = [loaded[0].encode(text, "all") for text in hostile]
    for other in loaded:
        assert other.specials == {"<|endoftext|>": len(ranks)}
        assert [other.encode(text, "all") for text in hostile] == wanted
    assert len({other.identity for other in loaded[:-1]}) == 1


def test_a_folder_is_read_in_the_stated_order(vocab, tmp_path):
    ranks, pairs = vocab
    folder = tmp_path / "mixed"
    folder.mkdir()
    (folder / "r.tiktoken").write_bytes(as_ranks(ranks))
    assert Tokenizer.load(folder, pattern="gpt2").vocab_size == len(ranks)
    merges, ids = as_pair(ranks, pairs, ["<a>"])
    (folder / "merges.txt").write_bytes(merges)
    (folder / "vocab.json").write_bytes(ids)
    assert list(Tokenizer.load(folder).specials) == ["<a>"]
    merges, ids = as_pair(ranks, pairs, ["<b>"])
    (folder / "vocab.bpe").write_bytes(merges)
    (folder / "encoder.json").write_bytes(ids)
    assert list(Tokenizer.load(folder).specials) == ["<b>"]
    merges, ids = as_pair(ranks, pairs, ["<c>"])
    (tmp_path / "vocab.bpe").write_bytes(merges)
    (tmp_path / "encoder.json").write_bytes(ids)
    (folder / "tokenizer.json").write_bytes(Tokenizer.load(tmp_path / "vocab.bpe").files()["tokenizer.json"])
    assert list(Tokenizer.load(folder).specials) == ["<c>"]


@pytest.fixture
def publisher(vocab, tmp_path, monkeypatch):
    """Serves small vocabularies under the published names, with their checksums in place of the real ones."""
    ranks, pairs = vocab
    merges, ids = as_pair(ranks, pairs, ["<|endoftext|>"])
    files = {"/gpt2/vocab.bpe": merges, "/gpt2/encoder.json": ids, "/cl100k_base.tiktoken": as_ranks(ranks)}
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(200 if self.path in files else 404)
            self.end_headers()
            self.wfile.write(files.get(self.path, b""))

        def log_message(self, *args):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    home = f"http://127.0.0.1:{server.server_port}"
    end = {"<|endoftext|>": len(ranks)}
    known = {
        "gpt2": published.Published(
            {
                path.split("/")[-1]: (home + path, hashlib.sha256(files[path]).hexdigest())
                for path in ("/gpt2/vocab.bpe", "/gpt2/encoder.json")
            },
            "gpt2",
            end,
        ),
        "cl100k_base": published.Published(
            {
                "cl100k_base.tiktoken": (
                    home + "/cl100k_base.tiktoken",
                    hashlib.sha256(files["/cl100k_base.tiktoken"]).hexdigest(),
                )
            },
            "cl100k",
            end,
        ),
        "o200k_base": published.Published({"o200k_base.tiktoken": (home + "/no", "0" * 64)}, "o200k", end),
    }
    monkeypatch.setattr(published, "PUBLISHED", known)
    monkeypatch.setenv("PYLM_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("PYLM_OFFLINE", raising=False)
    yield files, asked, tmp_path / "cache" / "tokenizers"
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_name_is_fetched_once_and_kept(publisher, hostile):
    _, asked, cache = publisher
    first = Tokenizer.load("cl100k_base")
    assert (first.pattern, first.eot) == ("cl100k", first.vocab_size - 1)
    assert Tokenizer.load("gpt2").pattern == "gpt2"
    assert asked == ["/cl100k_base.tiktoken", "/gpt2/vocab.bpe", "/gpt2/encoder.json"]
    again = Tokenizer.load("cl100k_base", offline=True)
    assert again.identity == first.identity and len(asked) == 3
    assert sorted(path.name for path in cache.rglob("*") if path.is_file()) == [
        "cl100k_base.tiktoken",
        "encoder.json",
        "vocab.bpe",
    ]


def test_offline_says_what_to_put_where(publisher, monkeypatch, tmp_path):
    files, asked, cache = publisher
    place = cache / "cl100k_base" / "cl100k_base.tiktoken"
    monkeypatch.setenv("PYLM_OFFLINE", "1")
    with pytest.raises(TokenizerError, match="not in the cache, and the network is not to be used") as caught:
        Tokenizer.load("cl100k_base")
    assert f"/cl100k_base.tiktoken at {place}" in caught.value.hint
    assert asked == []
    place.parent.mkdir(parents=True)
    place.write_bytes(files["/cl100k_base.tiktoken"])
    assert Tokenizer.load("cl100k_base").native
    place.write_bytes(b"other")
    with pytest.raises(TokenizerError, match="is not the published file"):
        Tokenizer.load("cl100k_base")


def test_a_file_with_another_checksum_is_not_kept(publisher):
    files, _, cache = publisher
    files["/cl100k_base.tiktoken"] += b"\n"
    with pytest.raises(TokenizerError, match="whose SHA-256 is [0-9a-f]{12}…, not"):
        Tokenizer.load("cl100k_base")
    assert not [path for path in cache.rglob("*") if path.is_file()]
    with pytest.raises(TokenizerError, match="cannot fetch o200k_base"):
        Tokenizer.load("o200k_base")


def test_a_damaged_cache_is_fetched_again(publisher):
    _, asked, cache = publisher
    wanted = Tokenizer.load("cl100k_base").identity
    (cache / "cl100k_base" / "cl100k_base.tiktoken").write_bytes(b"torn")
    assert Tokenizer.load("cl100k_base").identity == wanted
    assert len(asked) == 2


def test_published_ranks_are_known_by_their_checksum(publisher, tmp_path):
    files, asked, _ = publisher
    path = tmp_path / "renamed.bin"
    path.write_bytes(files["/cl100k_base.tiktoken"])
    loaded = Tokenizer.load(path)
    assert (loaded.pattern, list(loaded.specials)) == ("cl100k", ["<|endoftext|>"])
    assert asked == []


def test_the_pinned_checksums_are_tiktokens():
    import inspect
    import re

    import tiktoken_ext.openai_public as theirs

    source = inspect.getsource(theirs)
    for name, known in published.PUBLISHED.items():
        body = inspect.getsource(getattr(theirs, name))
        for address, checksum in known.files.values():
            assert address in source and checksum in body
        for special, token_id in known.specials.items():
            written = {"<|endoftext|>": "ENDOFTEXT", "<|endofprompt|>": "ENDOFPROMPT"}.get(special, special)
            written = {
                "<|fim_prefix|>": "FIM_PREFIX",
                "<|fim_middle|>": "FIM_MIDDLE",
                "<|fim_suffix|>": "FIM_SUFFIX",
            }.get(special, written)
            assert re.search(rf"{written}: {token_id}", body)


BAD = {
    "nothing.json": (b"", "no tokenizer that is known"),
    "broken.json": (b"{", "is no JSON"),
    "other.json": (b'{"a": 1}', "no model with a vocabulary"),
    "list.json": (b"[1]", "no tokenizer that is known"),
    "kind.json": (b'{"model": {"type": "Nope", "vocab": {}}}', "is no sound tokenizer.json"),
    "text.txt": (b"hello\n", "no tokenizer that is known"),
    "short.model": (b"\x0a\xff\xff", "no sound SentencePiece model"),
    "empty.model": (b"\x12\x00", "it holds no pieces"),
    "r.tiktoken": (b"IQ== 0\nIg== 1\n", "ranks do not say how text is cut"),
}


@pytest.mark.parametrize("name", BAD)
def test_files_that_are_no_tokenizer_are_one_sentence(name, tmp_path):
    data, said = BAD[name]
    (tmp_path / name).write_bytes(data)
    with pytest.raises(PylmError, match=said) as caught:
        Tokenizer.load(tmp_path / name)
    assert "\n" not in caught.value.message and caught.value.hint


def test_names_and_folders_that_hold_nothing(tmp_path, vocab):
    with pytest.raises(TokenizerError, match="there is no tokenizer gtp2") as caught:
        Tokenizer.load("gtp2")
    assert "gpt2" in caught.value.hint
    with pytest.raises(TokenizerError, match="there is no tokenizer in"):
        Tokenizer.load(tmp_path)
    (tmp_path / "a.tiktoken").write_bytes(as_ranks(vocab[0]))
    (tmp_path / "b.model").write_bytes(b"x")
    with pytest.raises(TokenizerError, match=r"holds a.tiktoken and b.model"):
        Tokenizer.load(tmp_path)
    (tmp_path / "alone").mkdir()
    (tmp_path / "alone" / "vocab.bpe").write_bytes(b"")
    with pytest.raises(TokenizerError, match="comes with encoder.json"):
        Tokenizer.load(tmp_path / "alone" / "vocab.bpe")


def test_pairs_that_do_not_fit_are_refused(vocab, tmp_path):
    ranks, pairs = vocab
    merges, ids = as_pair(ranks, pairs)
    lacking = {token: token_id for token, token_id in json.loads(ids).items() if token != "a"}
    cases = [
        (merges + b"one two three\n", ids, r"line \d+ of the merges is no pair"),
        (merges + b"q zqz\n", ids, "is not in the vocabulary"),
        (merges, b"[]", "does not map tokens to ids"),
        (merges, b"{", "cannot be read"),
        (merges, json.dumps({**json.loads(ids), "a": 10**6}).encode(), "do not run from 0"),
        (b"", json.dumps({token: i for i, token in enumerate(lacking)}).encode(), "lacks the byte b'a'"),
    ]
    for first, second, said in cases:
        (tmp_path / "vocab.bpe").write_bytes(first)
        (tmp_path / "encoder.json").write_bytes(second)
        with pytest.raises(TokenizerError, match=said):
            Tokenizer.load(tmp_path)


def test_a_pattern_is_for_ranks_only(vocab, tmp_path):
    merges, ids = as_pair(*vocab)
    (tmp_path / "vocab.bpe").write_bytes(merges)
    (tmp_path / "encoder.json").write_bytes(ids)
    with pytest.raises(UsageError, match="says its own pattern"):
        Tokenizer.load(tmp_path, pattern="gpt2")
    with pytest.raises(UsageError, match="says its own pattern"):
        Tokenizer.load("gpt2", specials=["<x>"])


def test_the_hub_needs_its_package_or_its_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    with pytest.raises(TokenizerError, match="nobody/nothing") as caught:
        Tokenizer.load("nobody/nothing", offline=True)
    assert "tokenizer.json" in caught.value.hint


def test_a_hub_id_loads_from_the_hubs_cache(vocab, tmp_path):
    import os
    import subprocess
    import sys

    ranks, pairs = vocab
    merges, ids = as_pair(ranks, pairs, ["<|endoftext|>"])
    (tmp_path / "vocab.bpe").write_bytes(merges)
    (tmp_path / "encoder.json").write_bytes(ids)
    wanted = Tokenizer.load(tmp_path / "vocab.bpe")
    repository = tmp_path / "hub" / "models--org--name"
    wanted.save(repository / "snapshots" / "abc123")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc123")
    code = "import pylm; print(pylm.Tokenizer.load('org/name').identity, pylm.Tokenizer.load('org/name@main').eot)"
    environment = {**os.environ, "HF_HOME": str(tmp_path), "PYLM_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.stdout.split() == [wanted.identity, str(wanted.eot)], done.stderr
