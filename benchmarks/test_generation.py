"""Writing text on a CPU: 124M random weights in GPT-2's shape, 512 tokens, against the other ways to do it."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from benchmarks.compare import Compare, Side

TOKENS = 512
START = 8  # tokens of the prompt
SHAPE = {"n_layer": 12, "n_head": 12, "n_embd": 768, "n_positions": 1024, "vocab_size": 50257}
BOTH: dict[str, Any] = {"threads": 2, "cores": 2}  # what the processes are pinned to, and what the sides are told
EVERY = 32  # nanoGPT's way is timed at each 32nd of the 512 tokens: all of them take minutes


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """GPT-2 small with random weights as transformers saves it, and the same as GGUF with Q8_0 weights."""
    pytest.importorskip("transformers")
    return material("write", tmp_path_factory.mktemp("gpt2"))


def material(what: str, place: Path) -> Path:
    """A folder that a function of generation_material has filled, in a process of its own."""
    made = subprocess.run(
        [sys.executable, "-c", "import sys; sys.path.insert(0, sys.argv[1]); "
         "from benchmarks import generation_material as material; getattr(material, sys.argv[2])(sys.argv[3])",
         str(Path(__file__).resolve().parent.parent), what, str(place)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    return place


def prompt() -> list[int]:
    return [(7919 * (place + 1)) % SHAPE["vocab_size"] for place in range(START)]


def long_prompt() -> list[int]:
    return [(104729 * (place + 1)) % SHAPE["vocab_size"] for place in range(TOKENS)]


def opened(folder: str, how: str, cores: int) -> Any:
    """Our engine: `torch`, or how the C++ engine keeps its weights."""
    from pylm.checkpoint import open_weights
    from pylm.model.names import read

    if how == "torch":
        import torch

        from pylm.generation.torch_engine import TorchEngine

        torch.set_num_threads(cores)
        return TorchEngine.load(open_weights(Path(folder)), "cpu", "fp32")
    from pylm.generation.native_engine import NativeEngine

    shape, weights = read(open_weights(Path(folder)))
    return NativeEngine(shape, weights, how, cores)


def written(engine: Any, tokens: int) -> tuple[list[int], float]:
    """The likeliest tokens after the prompt, and the seconds they took."""
    start = time.perf_counter()
    cache = engine.cache(1, engine.context_length)
    logits = engine.prefill(prompt(), cache, 0)
    ids = [int(logits.argmax())]
    while len(ids) < tokens:
        ids.append(int(engine.decode(ids[-1:], cache)[0].argmax()))
    return ids, time.perf_counter() - start


def ours(folder: str, cores: int, how: str = "fp32", tokens: int = TOKENS) -> dict[str, Any]:
    engine = opened(folder, how, cores)
    written(engine, 8)
    ids, seconds = written(engine, tokens)
    return {"seconds": seconds, "result": ids[:64]}


def ours_int8(folder: str, cores: int) -> dict[str, Any]:
    """Beside the time: the share of it that reading the weights and the cache takes at this memory's speed now."""
    import torch

    from pylm import _native

    engine = opened(folder, "int8", cores)
    written(engine, 8)
    ids, seconds = written(engine, TOKENS)
    data = torch.ones(1 << 28, dtype=torch.int8)
    cache = engine.cache(1, engine.context_length)
    logits, shares = engine.prefill(prompt(), cache, 0), []
    for _ in range(TOKENS // EVERY):
        held = len(cache.ids[0]) * 2 * SHAPE["n_layer"] * SHAPE["n_embd"] * 2  # keys and values in bf16
        start = time.perf_counter()
        for _ in range(EVERY):
            logits = engine.decode([int(logits.argmax())], cache)
        taken = (time.perf_counter() - start) / EVERY
        start = time.perf_counter()
        _native.read_all(data, cores)
        shares.append((engine.weight_bytes + held) * (time.perf_counter() - start) / data.nbytes / taken)
    return {"seconds": seconds, "result": ids[:64], "share_of_memory_speed": statistics.median(shares)}


def nanogpt(folder: str, cores: int) -> dict[str, Any]:
    """Everything read again for each token, as nanoGPT's `generate` does; torch's own attention and products."""
    import torch
    from torch.nn import functional as f
    from transformers import GPT2LMHeadModel

    torch.set_num_threads(cores)
    theirs = GPT2LMHeadModel.from_pretrained(folder).eval()
    w = theirs.transformer

    def forward(idx: torch.Tensor) -> torch.Tensor:
        x = w.wte(idx) + w.wpe(torch.arange(idx.shape[1]))
        for block in w.h:
            q, k, v = block.attn.c_attn(block.ln_1(x)).split(SHAPE["n_embd"], 2)
            q, k, v = (t.unflatten(2, (SHAPE["n_head"], -1)).transpose(1, 2) for t in (q, k, v))
            y = f.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2)
            x = x + block.attn.c_proj(y)
            x = x + block.mlp.c_proj(f.gelu(block.mlp.c_fc(block.ln_2(x)), approximate="tanh"))
        return theirs.lm_head(w.ln_f(x[:, -1:]))

    with torch.inference_mode():
        ids: list[int] = []
        for _ in range(64):
            ids.append(int(forward(torch.tensor([prompt() + ids]))[0, -1].argmax()))
        seconds = 0.0
        for length in range(EVERY // 2, TOKENS, EVERY):
            idx = torch.tensor([prompt() + long_prompt()[:length]])
            start = time.perf_counter()
            forward(idx)[0, -1].argmax().item()
            seconds += EVERY * (time.perf_counter() - start)
    return {"seconds": seconds, "result": ids}


def transformers_generate(folder: str, cores: int) -> dict[str, Any]:
    import torch
    from transformers import GPT2LMHeadModel

    torch.set_num_threads(cores)
    model = GPT2LMHeadModel.from_pretrained(folder).eval()
    start_ids = torch.tensor([prompt()])
    keywords: dict[str, Any] = {"do_sample": False, "eos_token_id": None, "pad_token_id": 0}
    with torch.inference_mode():
        model.generate(start_ids, max_new_tokens=8, **keywords)
        start = time.perf_counter()
        made = model.generate(start_ids, max_new_tokens=TOKENS, **keywords)
        seconds = time.perf_counter() - start
    return {"seconds": seconds, "result": made[0, START : START + 64].tolist()}


def llama_cpp(folder: str, cores: int) -> dict[str, Any]:
    import numpy as np
    from llama_cpp import Llama

    model = Llama(f"{folder}/q8_0.gguf", n_ctx=1024, n_threads=cores, n_threads_batch=cores, verbose=False, n_batch=512)
    vocabulary = SHAPE["vocab_size"]

    def write(tokens: int) -> tuple[list[int], float]:
        model.reset()
        start = time.perf_counter()
        model.eval(prompt())
        ids: list[int] = []
        while len(ids) < tokens:
            logits = np.ctypeslib.as_array(model._ctx.get_logits(), shape=(vocabulary,))
            ids.append(int(logits.argmax()))
            if len(ids) < tokens:
                model.eval(ids[-1:])
        return ids, time.perf_counter() - start

    write(8)
    ids, seconds = write(TOKENS)
    return {"seconds": seconds, "result": ids[:64]}


def prefill(folder: str, cores: int, how: str) -> dict[str, Any]:
    engine = opened(folder, how, cores)
    times, ids = [], long_prompt()
    for _ in range(4):
        cache = engine.cache(1, engine.context_length)
        start = time.perf_counter()
        logits = engine.prefill(ids, cache, 0)
        times.append(time.perf_counter() - start)
    return {"seconds": min(times), "result": int(logits.argmax())}


def prefill_native(folder: str, cores: int) -> dict[str, Any]:
    return prefill(folder, cores, "fp32")


def prefill_torch(folder: str, cores: int) -> dict[str, Any]:
    return prefill(folder, cores, "torch")


def first_token(folder: str, cores: int) -> dict[str, Any]:
    """A warm process: what `pylm.generate` adds to reading the prompt, in decode steps."""
    import pylm
    from pylm.generation.session import Session
    from pylm.tokenizer import Tokenizer

    engine = opened(folder, "fp32", cores)
    session = Session(engine, Tokenizer.load(Path(folder) / "tok"))
    text = long_prompt()[:64]
    shares = []
    for turn in range(5):
        ids = [(token + turn + 1) % 250 for token in text]  # no prefix that was read before
        pieces = pylm.generate(session, ids, max_tokens=9, temperature=0)
        start = time.perf_counter()
        next(pieces)
        first = time.perf_counter() - start
        start = time.perf_counter()
        steps = sum(1 for _ in pieces)
        step = (time.perf_counter() - start) / steps
        cache = engine.cache(1, engine.context_length)
        start = time.perf_counter()
        engine.prefill([(token + 1) % 250 for token in ids], cache, 0)
        shares.append((first - (time.perf_counter() - start)) / step)
    return {"seconds": 0.0, "decode_steps": max(statistics.median(shares), 0.0)}


def cold(folder: str, backend: str) -> dict[str, Any]:
    """From the start of `pylm sample` to the first byte of its text."""
    line = [sys.executable, "-m", "pylm", "sample", "--checkpoint", f"{folder}/llama-25m", "--prompt", "the", "--seed"]
    start = time.perf_counter()
    with subprocess.Popen(
        [*line, "1", "--max-tokens", "4", "--device", "cpu", "--backend", backend, "--return-prompt"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.read(1) == b"t"  # the prompt goes out with the first token
        seconds = time.perf_counter() - start
        text = process.stdout.read().decode()
    return {"seconds": seconds, "result": text}


def cold_native(folder: str, cores: int) -> dict[str, Any]:
    return cold(folder, "auto")


def cold_torch(folder: str, cores: int) -> dict[str, Any]:
    return cold(folder, "torch")


def test_fp32(compare: Compare, folder: Path) -> None:
    peers = [
        Side("torch", nanogpt, label="nanoGPT's way (each 32nd token timed)"),
        Side("transformers", transformers_generate, label="transformers' generate"),
    ]
    run = compare("124M, 512 tokens, fp32", Side("pylm", ours), peers, rounds=2, **BOTH, folder=str(folder))
    run.faster(10.0, than="nanoGPT's way (each 32nd token timed)")
    run.faster(3.0, than="transformers' generate")


def test_int8(compare: Compare, folder: Path) -> None:
    peers = [Side("llama-cpp-python", llama_cpp, label="llama.cpp Q8_0", agrees=False)]  # rounded in another way
    run = compare(
        "124M, 512 tokens, int8", Side("pylm", ours_int8), peers, rounds=3, threads=2, cores=2, folder=str(folder)
    )
    run.faster(1.0, than="llama.cpp Q8_0")
    run.at_least(0.8, "share_of_memory_speed", "of the memory's speed")


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model of small stories: rounding costs nothing where the weights are random."""
    return material("learn", tmp_path_factory.mktemp("learned"))


def validation_loss(folder: str, how: str) -> float:
    """The mean loss of a model's next tokens over its validation text."""
    import numpy as np

    engine = opened(f"{folder}/run/checkpoints/step_300", how, 2)
    ids = np.fromfile(f"{folder}/data/val_00000.bin", np.uint16)[: 1 << 14].tolist()
    losses = []
    for first in range(0, len(ids) - engine.context_length, engine.context_length):
        window = ids[first : first + engine.context_length + 1]
        logits = np.float64(engine.verify(window[:-1], engine.cache(1, engine.context_length)))
        top = logits.max(1, keepdims=True)
        normal = top[:, 0] + np.log(np.exp(logits - top).sum(1))
        losses.append(normal - logits[np.arange(len(logits)), window[1:]])
    return float(np.mean(losses))


def rounded(folder: str, how: str) -> dict[str, Any]:
    plain = validation_loss(folder, "fp32")
    start = time.perf_counter()
    loss = validation_loss(folder, how)
    return {"seconds": time.perf_counter() - start, "loss": plain, "change_in_loss": abs(loss - plain)}


@pytest.mark.parametrize(("how", "bar"), [("bf16", 0.001), ("int8", 0.001), ("int4", 0.03)])
def test_what_rounding_costs(compare: Compare, learned: Path, how: str, bar: float) -> None:
    run = compare(f"a trained model in {how}", Side("pylm", rounded), rounds=1, threads=2, folder=str(learned), how=how)
    assert run.median("pylm", "loss") < 3, "the model has learned nothing that rounding could cost"
    run.at_most(bar, "change_in_loss", "nats")


def test_prefill(compare: Compare, folder: Path) -> None:
    peers = [Side("torch", prefill_torch, label="our torch path")]
    run = compare(
        "124M, prefill of 512", Side("pylm", prefill_native), peers, rounds=3, threads=2, cores=2, folder=str(folder)
    )
    run.faster(1.0, than="our torch path")


def test_first_token(compare: Compare, folder: Path) -> None:
    run = compare("warm, first token", Side("pylm", first_token), rounds=3, **BOTH, folder=str(folder))
    run.at_most(2.0, "decode_steps", "decode steps after prefill")


def test_cold_start(compare: Compare, folder: Path) -> None:
    peers = [Side("torch", cold_torch, label="our torch path")]
    name = "llama-25m, pylm sample to the first token"
    run = compare(name, Side("pylm", cold_native), peers, rounds=3, **BOTH, folder=str(folder))
    run.faster(3.0, than="our torch path")
