from collections.abc import Sequence
from typing import Any, TypedDict

import numpy as np
import numpy.typing as npt

class _CpuInfo(TypedDict):
    variant: str
    variants: list[str]
    features: list[str]
    cores: int
    pool: str

INTERFACE: int

def build_info() -> dict[str, str]: ...
def cpu_info() -> _CpuInfo: ...
def force_variant(name: str) -> None: ...
def share_openmp() -> bool: ...

class Batches:
    def __init__(
        self,
        datasets: Sequence[tuple[str, float, int, Sequence[tuple[str, int, int, str, str]]]],
        *,
        context_length: int,
        batch_size: int,
        stride: int,
        packed: bool,
        seed: int,
        rank: int,
        world: int,
        together: int = 1,
    ) -> None: ...
    @property
    def rows(self) -> int: ...
    @property
    def windows(self) -> list[int]: ...
    @property
    def tokens(self) -> list[int]: ...
    def places(self, step: int) -> list[tuple[int, int, int]]: ...
    def fill(
        self,
        step: int,
        inputs: npt.NDArray[Any],
        targets: npt.NDArray[Any],
        starts: npt.NDArray[np.int32] | None = None,
        threads: int = 1,
    ) -> int: ...
    def excerpts(self, step: int) -> list[tuple[int, int, int, int, int, int]]: ...
    def read(self, dataset: int, shard: int, start: int, length: int) -> npt.NDArray[np.int64]: ...
    def mask(self, dataset: int, shard: int, start: int, length: int) -> npt.NDArray[np.bool_] | None: ...

class Ring:
    def __init__(
        self,
        batches: Batches,
        slots: list[tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[np.int32] | None]],
        threads: int,
        step: int,
    ) -> None: ...
    def take(self) -> tuple[int, int]: ...
    def close(self) -> None: ...

class SampleSettings:
    def __init__(
        self,
        *,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        min_p: float = 0.0,
        repetition_penalty: float = 1.0,
        presence_penalty: float = 0.0,
        frequency_penalty: float = 0.0,
        logit_bias: Sequence[tuple[int, float]] = ...,
    ) -> None: ...

def sample(
    logits: npt.NDArray[Any],
    dtype: str,
    settings: SampleSettings,
    history: Sequence[npt.NDArray[np.int64]] | None,
    seed: int,
    sequence: Sequence[int],
    position: Sequence[int],
    *,
    vocab_size: int = 0,
    logprobs: bool = True,
    alternatives: int = 0,
    threads: int = 0,
) -> tuple[
    npt.NDArray[np.int64], npt.NDArray[np.float32] | None, npt.NDArray[np.int64] | None, npt.NDArray[np.float32] | None
]: ...
def sample_probabilities(
    logits: npt.NDArray[Any],
    dtype: str,
    settings: SampleSettings,
    history: Sequence[npt.NDArray[np.int64]] | None = None,
    *,
    vocab_size: int = 0,
) -> npt.NDArray[np.float64]: ...
def norm_forward(
    x: Any,
    residual: Any,
    weight: Any,
    bias: Any,
    y: Any,
    h: Any,
    mean: Any,
    rstd: Any,
    eps: float,
    offset: float,
    threads: int = 0,
) -> None: ...
def norm_backward(
    dy: Any,
    dh: Any,
    h: Any,
    weight: Any,
    mean: Any,
    rstd: Any,
    dx: Any,
    dweight: Any,
    dbias: Any,
    offset: float,
    threads: int = 0,
) -> None: ...
def cross_entropy_forward(
    logits: Any,
    targets: Any,
    losses: Any,
    lse: Any,
    ignore_index: int = -100,
    z_loss: float = 0.0,
    softcap: float = 0.0,
    threads: int = 0,
    dlogits: Any = None,
    ahead: float = 1.0,
) -> None: ...
def cross_entropy_backward(
    logits: Any,
    targets: Any,
    lse: Any,
    grads: Any,
    dlogits: Any,
    ignore_index: int = -100,
    z_loss: float = 0.0,
    softcap: float = 0.0,
    threads: int = 0,
) -> None: ...
def activation_forward(name: str, x: Any, gate: Any, y: Any, threads: int = 0) -> None: ...
def activation_backward(name: str, dy: Any, x: Any, gate: Any, dx: Any, dgate: Any, threads: int = 0) -> None: ...
def adamw(
    tensors: Sequence[tuple[Any, ...]],
    *,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    clip: float,
    step: int,
    grad_scale: float = 1.0,
    threads: int = 0,
) -> float: ...
def has_muon() -> bool: ...
def muon(
    tensors: Sequence[tuple[Any, Any, Any, Any, Sequence[tuple[int, float]]]],
    *,
    quintics: Sequence[tuple[float, float, float]],
    scale: float,
    beta: float,
    keep: float,
    threads: int = 0,
) -> None: ...
def norm_of(tensors: Sequence[Any], threads: int = 0) -> float: ...
def attention_forward(
    q: Any,
    k: Any,
    v: Any,
    out: Any,
    lse: Any,
    starts: Any,
    window: int,
    scale: float,
    threads: int = 0,
    softcap: float = 0.0,
) -> None: ...
def attention_backward(
    dout: Any,
    q: Any,
    k: Any,
    v: Any,
    out: Any,
    lse: Any,
    dq: Any,
    dk: Any,
    dv: Any,
    starts: Any,
    window: int,
    scale: float,
    threads: int = 0,
    softcap: float = 0.0,
) -> None: ...
def rotate_forward(
    x: Any,
    cos: Any,
    sin: Any,
    positions: Any,
    weight: Any,
    out: Any,
    rstd: Any,
    eps: float,
    interleaved: bool,
    offset: int,
    threads: int = 0,
) -> None: ...
def rotate_backward(
    dy: Any,
    x: Any,
    cos: Any,
    sin: Any,
    positions: Any,
    weight: Any,
    rstd: Any,
    dx: Any,
    dweight: Any,
    interleaved: bool,
    offset: int,
    threads: int = 0,
) -> None: ...
def decode_attention(
    q: Any,
    k: Any,
    v: Any,
    lengths: Sequence[int],
    out: Any,
    scale: float,
    threads: int = 0,
    softcap: float = 0.0,
) -> None: ...
def has_head_products() -> bool: ...
def head_gradients(dlogits: Any, x: Any, weight: Any, dx: Any, dweight: Any, threads: int = 0) -> None: ...
def gemv_int8(weights: Any, scales: Any, x: Any, y: Any, threads: int = 0) -> None: ...
def read_all(data: Any, threads: int = 0) -> int: ...

class EngineCache:
    @property
    def length(self) -> int: ...
    @property
    def capacity(self) -> int: ...
    def truncate(self, length: int) -> None: ...
    def copy(self, other: EngineCache) -> None: ...

class Engine:
    def __init__(
        self,
        tensors: dict[str, Any],
        *,
        n_layers: int,
        n_heads: int,
        n_kv_heads: int,
        d_model: int,
        d_ff: int,
        vocab_size: int,
        context_length: int,
        norm: str = "rmsnorm",
        norm_eps: float = 1e-5,
        mlp: str = "swiglu",
        position: str = "rope",
        rope_theta: float = 10000.0,
        qk_norm: bool = False,
        bias: bool = False,
        tied: bool = True,
        window: int = 0,
        attention_softcap: float = 0.0,
        logit_softcap: float = 0.0,
        quantize: str = "none",
        threads: int = 0,
        head_dim: int = 0,
        rope_frequencies: Sequence[float] = (),
        rope_magnitude: float = 1.0,
        qkv_bias: bool | None = None,
        out_bias: bool | None = None,
        norm_gain: bool = True,
        embed_norm: bool = False,
    ) -> None: ...
    @property
    def weight_bytes(self) -> int: ...
    def cache(self, capacity: int = 0) -> EngineCache: ...
    def read(self, ids: Sequence[int], cache: EngineCache, every: bool = False) -> npt.NDArray[np.float32]: ...
    def decode(self, ids: Sequence[int], caches: Sequence[EngineCache]) -> npt.NDArray[np.float32]: ...
    def score(
        self,
        ids: Sequence[int],
        parents: Sequence[int],
        root: EngineCache | None,
        after: Sequence[int],
        targets: Sequence[int],
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]: ...
