"""Out and in: what other programs compute of what we write, what it costs, and that it comes back as it was.

The engines are asked as `pylm export --certify` asks them. A model of each layout with random weights says how logits
differ; what fewer bits cost is measured on a small model that is trained here, whose likeliest token means something.
`make peers-engines` builds llama.cpp with its converter and fetches mlx-lm: `PYTHONPATH=.venv/peers-engines`. The rows
of llama.cpp's converter need `--vocabs DIR` with GPT-2's `vocab.bpe` and `encoder.json`.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.compare import Compare, Side
from benchmarks.corpora import Texts
from benchmarks.report import Row
from benchmarks.test_soup import LARGEST, shape_of_all, weights

PACKAGES = {"hf": "transformers", "mlx": "mlx_lm", "gguf": "llama_cpp"}
ROPE: dict[str, Any] = {"n_layers": 4, "n_heads": 8, "n_kv_heads": 4, "d_model": 256, "context_length": 256}
LAYOUTS: dict[str, dict[str, Any]] = {
    "gpt2": {**ROPE, "n_kv_heads": 8, "norm": "layernorm", "mlp": "gelu", "position": "learned", "bias": True},
    "llama": ROPE,
    "qwen3": {**ROPE, "qk_norm": True},
    "qwen2": {**ROPE, "attention_bias": "qkv", "tied": False},
}
KILLS = 50
STEPS = 1_000  # of the model whose matrices are kept in 8 bits
SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


@dataclasses.dataclass(frozen=True)
class Copying(Side):
    """Copying a file, which comes with Python."""

    def version(self) -> str | None:
        return platform.python_version()


# the sides


def ours(folder: str, to: str = "hf", quantize: str = "none") -> dict[str, Any]:
    import pylm

    begun = time.perf_counter()
    pylm.export(f"{folder}/run", to=to, out=f"{folder}/out", quantize=quantize, certify=False)
    seconds = time.perf_counter() - begun
    shutil.rmtree(f"{folder}/out")
    return {"seconds": seconds}


def copied(folder: str) -> dict[str, Any]:
    begun = time.perf_counter()
    with open(f"{folder}/run/model.safetensors", "rb") as source, open(f"{folder}/copy", "wb") as made:
        shutil.copyfileobj(source, made, 1 << 22)
        made.flush()
        os.fsync(made.fileno())
    seconds = time.perf_counter() - begun
    os.unlink(f"{folder}/copy")
    return {"seconds": seconds}


def command(folder: str, kind: str) -> dict[str, Any]:
    quantize = "none" if kind == "f32" else kind
    words = [str(Path(sys.executable).parent / "pylm"), "export", f"{folder}/run", "--to", "gguf", "--no-certify"]
    seconds, peak = ended([*words, "--quantize", quantize, "--out", f"{folder}/ours"])
    result = described(f"{folder}/ours/model.gguf")
    shutil.rmtree(f"{folder}/ours")
    return {"seconds": seconds, "peak_mb": peak, "result": result}


def converter(folder: str, kind: str) -> dict[str, Any]:
    import llama_cpp

    script = Path(llama_cpp.__file__).parent.parent / "sdist" / "llama.cpp" / "convert_hf_to_gguf.py"
    seconds, peak = ended([sys.executable, str(script), f"{folder}/hf", "--outtype", kind, "--outfile",
                           f"{folder}/theirs.gguf"])  # fmt: skip
    result = described(f"{folder}/theirs.gguf")
    Path(f"{folder}/theirs.gguf").unlink()
    return {"seconds": seconds, "peak_mb": peak, "result": result}


def quantized(folder: str, kind: str) -> dict[str, Any]:
    import ctypes

    import llama_cpp

    asked = llama_cpp.llama_model_quantize_default_params()
    asked.ftype = {"q4_0": llama_cpp.LLAMA_FTYPE_MOSTLY_Q4_0, "q8_0": llama_cpp.LLAMA_FTYPE_MOSTLY_Q8_0}[kind]
    asked.pure, asked.nthread = True, 1  # all matrices in this type
    names = (f"{folder}/f32/model.gguf".encode(), f"{folder}/theirs.gguf".encode())
    if failed := llama_cpp.llama_model_quantize(*names, ctypes.byref(asked)):
        raise RuntimeError(f"llama.cpp's quantizer ended with {failed}")
    return {"seconds": 0.0, "result": described(f"{folder}/theirs.gguf")}


def ended(words: list[str]) -> tuple[float, float]:
    """Seconds and the most memory, in MB, of a command."""
    begun = time.perf_counter()
    subprocess.run(words, check=True, capture_output=True)
    return time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e6


def described(path: str) -> dict[str, Any]:
    """What a GGUF file holds: type and checksum of each tensor, and the vocabulary."""
    import gguf

    reader = gguf.GGUFReader(path)
    held: dict[str, Any] = {each.name: [each.tensor_type.name, zlib.crc32(each.data)] for each in reader.tensors}
    for field in ("tokens", "merges", "token_type", "pre"):
        held[field] = zlib.crc32(repr(reader.fields[f"tokenizer.ggml.{field}"].contents()).encode())
    return held


# the material


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A folder with a checkpoint of GPT-2's smallest shape, 124M numbers in fp32."""
    from pylm.checkpoint import write
    from pylm.config.cascade import dump
    from pylm.config.schema import Config, Model

    folder = tmp_path_factory.mktemp("interchange")
    config = dump(Config(model=shape_of_all()), [f"model.{key}" for key in Model.model_fields])
    write(folder / "run", weights=weights(1), optimizer={}, state={"step": 1}, config=config, texts={})
    yield str(folder)
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def published(gpt2: str, request: pytest.FixtureRequest) -> str:
    """The same folder, the checkpoint with GPT-2's own vocabulary, and beside it what the converter reads."""
    import pylm

    folder = request.config.getoption("--vocabs")
    if folder is None or not (folder / "vocab.bpe").exists():
        pytest.skip("--vocabs names no folder with GPT-2's vocabulary")
    words = pylm.Tokenizer.load(folder)
    words.save(Path(gpt2) / "tok")
    for path in (Path(gpt2) / "tok").iterdir():
        shutil.copy(path, Path(gpt2) / "run")
    pylm.export(f"{gpt2}/run", to="hf", out=f"{gpt2}/hf", certify=False)
    return gpt2


@pytest.fixture(scope="module")
def trained() -> str:
    """A model of 1.4 million parameters that has learned to tell the stories which are made here.

    After 300 steps many tokens were nearly as likely as the likeliest, and any rounding exchanged them. It takes
    minutes and comes out the same each time, so it is kept, as the texts of other comparisons are.
    """
    import pylm
    from pylm.data.stories import stories

    folder = Path(tempfile.gettempdir()) / "pylm-benchmark-models" / f"stories-{STEPS}"
    if not folder.exists():
        partial = folder.with_suffix(f".{os.getpid()}")
        partial.mkdir(parents=True)
        with (partial / "stories.txt").open("w", encoding="utf-8") as file:
            file.writelines(stories(20_000_000))
        pylm.prepare([partial / "stories.txt"], partial / "data")
        pylm.train(data=partial / "data", preset="tiny", out=partial / "run", max_steps=STEPS, device="cpu")
        partial.replace(folder)
    return str(folder / "run")


def random_run(folder: Path, layout: str) -> str:
    """A run of a layout, with a vocabulary trained on text of many scripts and weights large enough to be its own."""
    from pylm import Tokenizer
    from pylm.interchange.asked import texts_of
    from tests.generation.small import small_model, write_run

    words = Tokenizer.train(iter(texts_of([], 300_000, 0)), 2_000, pattern="gpt2", specials=["<|endoftext|>"])
    write_run(folder / layout, small_model(words.vocab_size, **LAYOUTS[layout]), words)
    return str(folder / layout)


def need(compare: Compare, name: str, to: str, bar: str) -> None:
    """End with a row that says so where the engine of a format is not here."""
    if any(importlib.util.find_spec(package) is None for package in (PACKAGES[to], *["gguf"] * (to == "gguf"))):
        compare.unmeasured(name, f"{PACKAGES[to]} is not installed", bar)


def row(compare: Compare, name: str, value: float, bar: float | None, unit: str, version: str | None = None) -> None:
    verdict = "" if bar is None else "met" if value <= bar else "short"
    told = "" if bar is None else f"≤ {bar:g} {unit}"
    compare.report.add(compare.subject, Row(name, value, None, version, None, None, told, verdict, unit))


# the rows


def test_cost_of_hugging_faces_folder(compare: Compare, gpt2: str) -> None:
    agree = lambda mine, theirs: True  # noqa: E731 - they make other things
    peer = Copying("python", copied, "copying its file")
    # of three rounds one flush of 500 MB that took twice as long decided
    run = compare("124M fp32 to hf", Side("pylm", ours), [peer], rounds=7, agree=agree, folder=gpt2)
    run.leaner(1.5, than=peer.name, figure="seconds", unit="s")
    run.at_most(round(3 * LARGEST + 64))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("to", "bar"), [("hf", 1e-5), ("mlx", 1e-4), ("gguf", 1e-4)])
def test_logits_and_greedy(
    compare: Compare, layout: str, to: str, bar: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pylm
    from pylm.interchange import certificate

    name = f"{layout} in {PACKAGES[to]}: largest difference of a logit, fp32"
    need(compare, name, to, f"≤ {bar:g}")
    monkeypatch.setattr(certificate, "_judge", lambda *asked: None)  # a bar that is missed is a row, and no failure

    def measured() -> Any:
        run = random_run(tmp_path, layout)
        return pylm.export(run, to=to, out=tmp_path / "out", certify=True).compared[0]

    found = compare.benchmark.pedantic(measured, rounds=1, iterations=1)
    is_table = (layout, to) == ("gpt2", "gguf")  # of GELU, in fp16
    row(compare, name, found.error, None if is_table else bar, "deviations", found.version)
    row(
        compare,
        f"{layout} in {PACKAGES[to]}: other greedy tokens of {found.greedy:,}",
        found.greedy_unlike,
        0,
        "tokens",
    )
    row(compare, f"{layout} in {PACKAGES[to]}: other tokens within the error", found.greedy_near, None, "tokens")
    row(compare, f"{layout} in {PACKAGES[to]}: texts with other ids of {found.texts:,}", found.texts_unlike, 0, "texts")


def test_eight_bits(compare: Compare, trained: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pylm
    from pylm.data.stories import SEPARATOR, stories
    from pylm.interchange import asked

    name = "Q8_0 of a trained tiny model in llama.cpp: share of prompts with another likeliest token"
    need(compare, name, "gguf", "≤ 0.01")
    # of prompts such as it was trained on: after random letters its likeliest token means nothing, nor after the mark
    # of an end spelled out in letters, which stories() puts behind each
    told = [story.removesuffix(SEPARATOR) for story in stories(20_000, seed=7)]
    monkeypatch.setattr(asked, "_prose", lambda draw, size: told)

    def measured() -> Any:
        return pylm.export(trained, to="gguf", quantize="q8_0", out=tmp_path / "out", certify=True).compared[0]

    found = compare.benchmark.pedantic(measured, rounds=1, iterations=1)
    row(compare, name, 1 - found.first_alike, 0.01, "share", found.version)
    row(
        compare,
        "Q8_0 of a trained tiny model in llama.cpp: KL",
        max(found.divergence, 0.0),
        1e-3,
        "nats",
        found.version,
    )
    clear = "whose two likeliest lie further apart than the errors deviate"
    row(compare, f"{name}, of those {clear}", found.clear_unlike / found.clear, None, "share", found.version)
    other = (found.greedy_near + found.greedy_unlike) / found.greedy
    row(compare, f"{name}: the same of its {found.greedy:,} greedy tokens", other, None, "share", found.version)


def test_eight_bits_in_every_place(compare: Compare, trained: str, tmp_path: Path) -> None:
    """Of 200 prompts a share of 0.005 is one, and by chance four in one draw of fifty."""
    from pylm.data.stories import SEPARATOR, stories
    from pylm.interchange.asked import _judged
    from pylm.interchange.portable import opened

    name = "Q8_0 of a trained tiny model in llama.cpp: share of places with another likeliest token"
    need(compare, name, "gguf", "≤ 0.01")
    model = opened(trained)
    assert model.tokenizer is not None
    told = [story.removesuffix(SEPARATOR) for story in stories(200_000, seed=7)]
    sequences = [ids[:128].tolist() for ids in model.tokenizer.encode_batch(told) if len(ids) > 1][:200]
    theirs = compare.benchmark.pedantic(
        lambda: answered(trained, "gguf", tmp_path, [""], sequences, "q8_0"), rounds=1, iterations=1
    )
    ours = _judged(model, sequences, [1] * len(sequences), lambda phase, done, total: None)
    other = ours.likeliest != theirs["likeliest"]
    named = f"{name}, of {len(other):,} in {len(sequences)} held-out stories"
    row(compare, named, float(other.mean()), 0.01, "share", str(theirs["version"]))


@pytest.mark.parametrize("kind", ["q8_0", "q4_0"])
def test_fewer_bits_are_llama_cpps_own(compare: Compare, kind: str, tmp_path: Path) -> None:
    import pylm

    name = f"{kind}: tensors that differ from those of llama.cpp's own quantizer"
    need(compare, name, "gguf", "≤ 0 tensors")
    run = random_run(tmp_path, "llama")
    pylm.export(run, to="gguf", out=tmp_path / "f32", certify=False)
    pylm.export(run, to="gguf", quantize=kind, out=tmp_path / "ours", certify=False)
    peer = Side("llama-cpp-python", quantized, label="llama.cpp's quantizer")
    theirs = compare.benchmark.pedantic(
        lambda: compare.once(peer, folder=str(tmp_path), kind=kind)["result"], rounds=1, iterations=1
    )
    held = described(str(tmp_path / "ours" / "model.gguf"))
    assert held.keys() == theirs.keys()
    count = sum(each != theirs[tensor] for tensor, each in held.items())
    row(compare, f"{name}, of {len(held):,}", count, 0, "tensors", peer.version())


@pytest.mark.parametrize("to", ["hf", "gguf", "import"])
def test_fifty_kills(compare: Compare, to: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.interchange.test_kills import wrong_after_kills

    monkeypatch.chdir(tmp_path)
    source = random_run(tmp_path / "runs", "llama")
    if to == "import":
        import pylm

        source = str(pylm.export(source, to="hf", out="source", certify=False).path)
    wrong = compare.benchmark.pedantic(lambda: wrong_after_kills(to, source, KILLS), rounds=1, iterations=1)
    what = to if to == "import" else f"export to {to}"
    row(compare, f"{KILLS} kills of an {what}: folders that are wrong", len(wrong), 0, "folders")


@pytest.mark.parametrize("to", ["hf", "gguf"])
@pytest.mark.parametrize("pattern", ["gpt2", "qwen2", "cl100k", "llama3", "sp-bpe"])
def test_ids(compare: Compare, text: Texts, pattern: str, to: str, tmp_path: Path) -> None:
    from pylm.interchange.asked import texts_of

    name = f"{pattern} in {PACKAGES[to]}: texts with other ids"
    need(compare, name, to, "≤ 0 texts")
    run = run_of_tokenizer(tmp_path, pattern)
    named = {"10 MB of 22 scripts and 100,000 hostile strings": texts_of(SPECIALS, 10_000_000, 100_000)}
    if text.folder is not None:
        halves = [beginning(path) for path in (text.prose, text.multilingual)]
        named["prose and multilingual text"] = [one for half in halves for one in half.split("\n") if one]

    def measured() -> dict[str, tuple[int, int, str]]:
        return {what: unlike(run, to, tmp_path, texts) for what, texts in named.items()}

    for what, (count, of, version) in compare.benchmark.pedantic(measured, rounds=1, iterations=1).items():
        row(compare, f"{name} of {of:,}, {what}", count, 0, "texts", version)


def beginning(path: Path) -> str:
    with path.open(encoding="utf-8") as file:
        return file.read(4_000_000)


def run_of_tokenizer(folder: Path, pattern: str) -> str:
    """A run of a small model whose vocabulary is trained with a pattern, or as SentencePiece's byte-pair merges."""
    from pylm import Tokenizer
    from pylm.interchange.asked import texts_of
    from tests.generation.small import small_model, write_run

    texts, of = texts_of([], 300_000, 0), {"pattern": pattern}
    if pattern == "sp-bpe":  # whose letters are pieces, and Han and Hangul have more than there is room for
        texts, of = [one for one in texts if max(map(ord, one)) < 0x3000], {"model": "sp-bpe"}
    words = Tokenizer.train(iter(texts), 8_000, specials=SPECIALS, **of)
    words = Tokenizer.from_tokenizer_json(words.backend.to_tokenizer_json())  # without SentencePiece's own files
    write_run(folder / "run", small_model(words.vocab_size, n_layers=1), words)
    return str(folder / "run")


def unlike(run: str, to: str, folder: Path, texts: list[str]) -> tuple[int, int, str]:
    """How many of how many texts an engine, and which version of it, gives other ids than we do."""
    from pylm.interchange.portable import opened

    answer = answered(run, to, folder, texts, [[0]])
    words = opened(run).tokenizer
    assert words is not None
    mine = words.encode_batch(texts, allowed_special="all")
    theirs = np.split(answer["ids"], np.cumsum(answer["counts"])[:-1])
    count = sum(not np.array_equal(one, other) for one, other in zip(mine, theirs, strict=True))
    return count, len(texts), str(answer["version"])


def answered(
    run: str, to: str, folder: Path, texts: list[str], sequences: list[list[int]], quantize: str = "none"
) -> Any:
    """What an engine says of texts, and of every place of sequences, for a run that goes out to it."""
    import pylm
    from pylm.interchange import certificate
    from pylm.interchange.engines.job import ask

    with tempfile.TemporaryDirectory(dir=folder) as place:
        made = pylm.export(run, to=to, out=f"{place}/out", quantize=quantize, certify=False)
        ask(Path(place), texts, sequences, [1] * len(sequences))
        return certificate._answered(certificate.ENGINES[to], made.path, Path(place))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_round_trips(compare: Compare, layout: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pylm
    from pylm.checkpoint import open_weights

    def measured() -> tuple[int, int]:
        run = random_run(tmp_path, layout)
        pylm.export(run, to="hf", out="one", certify=False)
        pylm.export(pylm.import_("one", out="in").path, to="hf", out="two", certify=False)
        files = [path.name for path in Path("one").iterdir() if path.name != "README.md"]
        pylm.export(run, to="gguf", out="gguf", certify=False)
        back, held = pylm.import_("gguf", out="back").weights(), open_weights(run).weights()
        assert back.keys() == held.keys()
        return (
            sum(Path("one", name).read_bytes() != Path("two", name).read_bytes() for name in files),
            sum(bytes(back[name].data) != bytes(held[name].data) for name in held),
        )

    monkeypatch.chdir(tmp_path)
    files, tensors = compare.benchmark.pedantic(measured, rounds=1, iterations=1)
    row(compare, f"{layout}: hf → pylm → hf, files that differ", files, 0, "files")
    row(compare, f"{layout}: pylm → gguf F32 → pylm, tensors that differ", tensors, 0, "tensors")


@pytest.mark.parametrize("kind", ["f32", "q8_0"])
def test_gguf_beside_llama_cpps_converter(compare: Compare, published: str, kind: str) -> None:
    peer = Side("llama-cpp-python", converter, label="llama.cpp's converter")
    run = compare(f"124M to gguf, {kind}, whole commands", Side("pylm", command), [peer], rounds=3, folder=published,
                  kind=kind)  # fmt: skip
    run.leaner(1 / 3, than=peer.name, figure="seconds", unit="s")
    run.at_most(round(3 * LARGEST + 64))
