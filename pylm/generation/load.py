"""From a checkpoint's name to a session: which weights, which tokenizer, which engine."""

from __future__ import annotations

import importlib.util
import json
import platform
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pylm.checkpoint import Adapted, Weights, find, open_weights, read
from pylm.errors import CheckpointError, TokenizerError, UsageError
from pylm.generation.checked import check_files
from pylm.model.which import need_mlx, prefers_mlx
from pylm.wording import param

if TYPE_CHECKING:
    from pylm.generation.engine import Engine
    from pylm.generation.session import Session
    from pylm.tokenizer import Tokenizer

__all__ = [
    "BACKENDS",
    "DTYPES",
    "QUANTIZE",
    "Opened",
    "carried_or_named",
    "folder_of",
    "json_of",
    "open_model",
    "open_session",
    "tokenizer_of",
    "was_tuned_by_template",
]

BACKENDS = ("auto", "torch", "native", "mlx")
DTYPES = ("auto", "fp32", "bf16")
QUANTIZE = ("none", "bf16", "int8", "int4")
DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d+)?")
ANYWHERE = f"pylm doctor says what there is; {param('device', 'cpu')} computes anywhere"
DEVICES = Path("/dev")
# the files by which a folder is known to hold a tokenizer
TOKENIZERS = ("tokenizer.json", "vocab.json", "vocab.bpe", "tokenizer.model")


class Opened(NamedTuple):
    """A checkpoint that computes: its folder, its engine, and its tokenizer where it has one."""

    folder: Path
    engine: Engine
    tokenizer: Tokenizer | None
    begin: list[int]  # ids before every text
    ends: list[int]  # ids that end one


def open_session(checkpoint: str | None = None, **options: Any) -> Session:
    """Return a session that writes with a model; the options are those of `open_model`."""
    from pylm.generation.session import Session

    opened = open_model(checkpoint, **options)
    assert opened.tokenizer is not None
    answers = was_tuned_by_template(opened.folder, opened.tokenizer.chat_template)
    return Session(
        opened.engine, opened.tokenizer, begin=opened.begin, ends=opened.ends, name=str(opened.folder), answers=answers
    )


def open_model(
    checkpoint: str | None = None,
    *,
    tokenizer: str | None = None,
    backend: str = "auto",
    device: str = "auto",
    dtype: str = "auto",
    quantize: str = "none",
    threads: int = 0,
    cache: bool = True,
    verify: bool = True,
    runs: Path = Path("runs"),
    say: Callable[[str], None] = lambda text: None,
    writes: bool = True,
) -> Opened:
    """Return a model that computes, its files checked, and its tokenizer.

    Args:
        checkpoint: a CHECKPOINT, ours, a folder of Hugging Face's layout or hub:ORG/NAME; None for the newest run's
            best.
        tokenizer: for a checkpoint that carries none.
        backend: auto, torch, native or mlx; auto is the C++ engine on CPUs, for the shapes that it serves, and MLX
            on a Mac that has it.
        device: auto, cpu, cuda, cuda:N or mps.
        dtype: auto, fp32 or bf16; auto is fp32 on a CPU, bf16 on a GPU.
        quantize: none, bf16, int8 or int4, for the C++ engine.
        threads: of the CPU; 0 for one a core.
        cache: whether keys and values are kept (torch only; without is slower and gives the same).
        verify: whether the files of a checkpoint of ours are checked against its manifest, once a file.
        runs: where the runs are kept.
        say: told what takes long.
        writes: whether it is an error that there is no tokenizer.
    """
    _refuse(backend, device, dtype, quantize, cache, threads)
    folder = folder_of(checkpoint, runs)
    _check(folder, verify, say)
    opened = open_weights(folder)
    carrier, part = folder, opened
    while isinstance(part, Adapted):  # what an adapter is for is read too, and has a tokenizer where it has none
        part = part.base
        _check(part.path, verify, say)
        carrier = carrier if _carries_one(carrier) else part.path
    words = _tokenizer(carrier, tokenizer) if writes or tokenizer is not None or _carries_one(carrier) else None
    engine = _engine(opened, backend, device, dtype, quantize, threads, cache)
    if words is None:
        return Opened(folder, engine, None, [], [])
    _same_vocabulary(words, engine.vocab_size, folder, tokenizer)
    return Opened(folder, engine, words, *_marks(carrier, words))


def _check(folder: Path, verify: bool, say: Callable[[str], None]) -> None:
    """Refuse a folder of files that are not as they were written, or of which nothing says what they are."""
    if (folder / "manifest.json").exists():
        read(folder)  # the sizes of its files agree with its manifest
        if verify:
            check_files(folder, say)
    elif not any((folder / name).exists() for name in ("config.json", "adapter_config.json")):
        raise CheckpointError(
            f"{folder} holds weights and neither manifest.json nor config.json, which say what they are",
            "name a checkpoint of a run, or a folder of Hugging Face's layout",
        )


def was_tuned_by_template(folder: Path, template: str | None) -> bool:
    """Say whether a checkpoint was tuned on examples that its template wrote; plain writes no prompts as they are."""
    from pylm.config.cascade import resolve
    from pylm.data.chat.templates import PLAIN

    config = folder / "config.yaml"
    if template is None or not config.is_file():
        return False
    name = resolve(files=[config], environ={}).config.finetune.template
    return name is not None and (name != "plain" or template == PLAIN)


def folder_of(checkpoint: str | None, runs: Path = Path("runs")) -> Path:
    """Return the folder that a CHECKPOINT means; `hub:ORG/NAME[@REV]` is fetched, and lies in pylm's cache."""
    if checkpoint is not None and checkpoint.startswith("hub:") and not Path(checkpoint).exists():
        from pylm.data.getting.models import model_folder

        return model_folder(checkpoint)
    return find(checkpoint, runs)


def _refuse(backend: str, device: str, dtype: str, quantize: str, cache: bool, threads: int) -> None:
    """Refuse, in one sentence, what cannot be, before anything is read."""
    for option, value, known in (("backend", backend, BACKENDS), ("dtype", dtype, DTYPES)):
        if value not in known:
            raise UsageError(f"{option} is {value!r}", f"choose {', '.join(known)}")
    if not DEVICE.fullmatch(device):
        raise UsageError(f"device is {device!r}", "choose auto, cpu, cuda, cuda:N or mps")
    if quantize not in QUANTIZE:
        raise UsageError(f"quantize is {quantize!r}", f"choose {', '.join(QUANTIZE)}")
    if backend == "mlx":
        need_mlx(device)
    if backend == "native" and device not in ("auto", "cpu"):
        raise UsageError(
            f"the C++ engine computes on the CPU, not on {device}",
            f"leave out {param('device')}, or {param('backend')}",
        )
    if quantize != "none":
        if backend in ("torch", "mlx") or device not in ("auto", "cpu"):
            raise UsageError(
                f"{param('quantize', quantize)} is for the C++ engine on a CPU",
                f"leave it out, or {param('backend', 'native')}",
            )
        if dtype != "auto":
            raise UsageError(
                f"{param('quantize')} and {param('dtype')} both say how weights are kept", "give one of them"
            )
    if not cache and (backend in ("native", "mlx") or quantize != "none"):
        what = "MLX" if backend == "mlx" else "the C++ engine"
        raise UsageError(f"{what} always keeps keys and values", f"without a cache: {param('backend', 'torch')}")
    if threads and backend == "mlx":
        raise UsageError(
            "MLX does not say how many threads it takes",
            f"leave out {param('threads')}, or {param('backend', 'torch')}",
        )


def _engine(opened: Weights, backend: str, device: str, dtype: str, quantize: str, threads: int, cache: bool) -> Engine:
    plain = cache and quantize == "none" and not threads
    if backend == "mlx" or (backend == "auto" and plain and prefers_mlx(device)):
        need_mlx(device)
        from pylm.generation.mlx_engine import MlxEngine

        return MlxEngine.load(opened, device, dtype)
    asked = backend == "native" or quantize != "none"
    if asked or (backend == "auto" and cache and (device == "cpu" or (device == "auto" and not _uses_gpu()))):
        from pylm.generation.native_engine import NativeEngine, why_not
        from pylm.model.names import read as read_weights

        shape, weights = read_weights(opened)
        reason = why_not(shape)
        if reason is None:
            return NativeEngine(shape, weights, quantize if quantize != "none" else dtype, threads)
        if asked:
            raise UsageError(
                f"the C++ engine does not serve {opened.path}: {reason}", f"{param('backend', 'torch')} does"
            )
    return _torch_engine(opened, device, dtype, threads, cache)


def _torch_engine(opened: Weights, device: str, dtype: str, threads: int, cache: bool) -> Engine:
    try:
        import torch
    except ModuleNotFoundError:
        raise UsageError(
            f"{opened.path} needs torch to write, and it is not installed", "pip install ./kernels '.[train]'"
        ) from None
    from pylm.generation.torch_engine import TorchEngine, UncachedEngine

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    kind, _, index = device.partition(":")
    if kind == "cuda" and (not torch.cuda.is_available() or int(index or 0) >= torch.cuda.device_count()):
        raise UsageError(f"there is no {device} here", ANYWHERE)
    if kind == "mps" and not torch.backends.mps.is_available():
        raise UsageError("there is no mps here", ANYWHERE)
    if dtype == "auto":
        dtype = "fp32" if kind == "cpu" else "bf16"
    if threads:
        torch.set_num_threads(threads)
    return (TorchEngine if cache else UncachedEngine).load(opened, device, dtype)


def _may_use_gpu() -> bool:
    """Say whether torch may find a GPU, without asking torch: it takes two seconds to import."""
    torch_package = importlib.util.find_spec("torch")
    if torch_package is None or not torch_package.submodule_search_locations:
        return False
    if sys.platform == "darwin":
        return platform.machine() == "arm64"
    libraries = Path(torch_package.submodule_search_locations[0], "lib")
    built = [kind for kind in ("cuda", "hip") if any(libraries.glob(f"libtorch_{kind}*"))]
    return bool(built) and any(any(DEVICES.glob(pattern)) for pattern in ("nvidia[0-9]*", "kfd", "dxg"))


def _uses_gpu() -> bool:
    """Say whether torch finds a GPU; it is asked only where one may be."""
    if not _may_use_gpu():
        return False
    import torch

    return torch.cuda.is_available() or torch.backends.mps.is_available()


def _carries_one(folder: Path) -> bool:
    return any((folder / name).exists() for name in TOKENIZERS)


def tokenizer_of(folder: Path, named: str | None = None) -> Tokenizer | None:
    """Return the tokenizer that a folder carries, or the one that was named; None where there is neither.

    Another than the one it carries is refused: its ids would mean other tokens than those that were trained.
    """
    from pylm.tokenizer import Tokenizer

    return carried_or_named(Tokenizer.load(folder) if _carries_one(folder) else None, named, folder)


def carried_or_named(own: Tokenizer | None, named: str | None, where: Path) -> Tokenizer | None:
    """Return the tokenizer that weights carry, or the one that was named, which may be no other than that."""
    from pylm.tokenizer import Tokenizer

    if named is None:
        return own
    asked_for = Tokenizer.load(named)
    if own is not None and own.identity != asked_for.identity:
        raise TokenizerError(
            f"{named} is not the tokenizer that {where} was trained with, which it carries",
            f"leave out {param('tokenizer')}",
        )
    return asked_for


def _tokenizer(folder: Path, named: str | None) -> Tokenizer:
    words = tokenizer_of(folder, named)
    if words is None:
        raise TokenizerError(f"{folder} carries no tokenizer", f"name it: {param('tokenizer', 'T')}")
    return words


def _same_vocabulary(words: Tokenizer, logits: int, folder: Path, named: str | None) -> None:
    """Raise where the tokenizer has ids without logits.

    Fewer ids than logits are others' way to pad; what was trained here never has them.
    """
    ours = (folder / "manifest.json").exists() and "imported" not in json_of(folder / "state.json")
    if words.vocab_size > logits or (ours and words.vocab_size != logits):
        raise TokenizerError(
            f"{named or 'the tokenizer'} has {words.vocab_size:,} ids, the model of {folder} has {logits:,}",
            f"name the tokenizer that it was trained with: {param('tokenizer', 'T')}",
        )


def _marks(folder: Path, words: Tokenizer) -> tuple[list[int], list[int]]:
    """Return the ids before every text and the ids that end one, as a Hugging Face folder says."""
    config = json_of(folder / "tokenizer_config.json")
    begin: list[int] = []
    if config.get("add_bos_token") is True:
        name = config.get("bos_token")
        name = name.get("content") if isinstance(name, dict) else name
        begin = [words.specials[name]] if name in words.specials else []
    ends = json_of(folder / "generation_config.json").get("eos_token_id")
    listed = ends if isinstance(ends, list) else [ends]
    return begin, [token for token in listed if type(token) is int and 0 <= token < words.vocab_size]


def json_of(path: Path) -> dict[str, Any]:
    """Return what a small file of a model says; nothing where it is absent or says nothing that can be read."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
