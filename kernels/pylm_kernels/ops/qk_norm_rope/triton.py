"""qk_norm_rope on GPUs: one launch forward, the cache included; one backward and, for the weights, a small sum."""
# pyright: reportAttributeAccessIssue=false, reportIndexIssue=false, reportCallIssue=false, reportOptionalMemberAccess=false
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator, union-attr, arg-type, type-arg"

from __future__ import annotations

import torch
import triton
import triton.language as tl

from pylm_kernels.operands.caches import Cache
from pylm_kernels.operands.heads import Heads
from pylm_kernels.operands.rope import Rotated, Rotation
from pylm_kernels.triton_runtime import launch

if launch.interpreting():
    from pylm_kernels.triton_runtime.interpreter import mend

    mend()


@triton.jit
def _angles(
    COS, SIN, POS, LENGTHS, row, there, T, P, stride_pos, offset, HALF, at,
    HAS_POS: tl.constexpr, CACHE: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Return cosines and sines of these rows' positions; a position outside the table loads zeros, not memory."""
    position = row % T
    if HAS_POS:
        position = tl.load(POS + (row // T) * stride_pos + position, mask=there, other=0).to(tl.int64)
    elif CACHE:
        position += tl.load(LENGTHS + row // T, mask=there, other=0)
    position += offset
    keep = (there & (position >= 0) & (position < P))[:, None] & (at < HALF)[None, :]
    c = tl.load(COS + position[:, None] * HALF + at[None, :], mask=keep, other=0.0).to(ACC)
    s = tl.load(SIN + position[:, None] * HALF + at[None, :], mask=keep, other=0.0).to(ACC)
    return c, s


@triton.jit
def _pair(at, HALF, INTERLEAVED: tl.constexpr):
    """Return where the two dimensions of each rotating pair stand."""
    if INTERLEAVED:
        first = 2 * at
        second = first + 1
    else:
        first = at
        second = at + HALF
    return first, second


@triton.jit
def forward_kernel(
    Q, K, QO, KO, QW, KW, QR, KR, COS, SIN, POS, V, KC, VC, LENGTHS, ROWS_ALL, T, P, S, offset, stride_pos,
    q_s, k_s, v_s, kc_s, vc_s, N_Q, N_K, D, HALF, eps,
    ROWS: tl.constexpr, BLOCK: tl.constexpr, REST: tl.constexpr, NORM: tl.constexpr, INTERLEAVED: tl.constexpr,
    HAS_POS: tl.constexpr, CACHE: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Normalise and rotate ROWS positions of one head.

    Heads of q come first in the grid, then those of k. Both outputs are contiguous.

    With a cache the programs of k store there too, behind the filled positions, and bring v along.
    """
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    head = tl.program_id(1)
    there = row < ROWS_ALL
    at = tl.arange(0, BLOCK)
    c, s = _angles(COS, SIN, POS, LENGTHS, row, there, T, P, stride_pos, offset, HALF, at, HAS_POS, CACHE, ACC)
    if head < N_Q:
        x = Q + (row // T) * q_s.b + (row % T) * q_s.t + head.to(tl.int64) * q_s.h
        y = QO + (row * N_Q + head) * D
        w = QW
        r = QR + row * N_Q + head
    else:
        x = K + (row // T) * k_s.b + (row % T) * k_s.t + (head - N_Q).to(tl.int64) * k_s.h
        y = KO + (row * N_K + head - N_Q) * D
        w = KW
        r = KR + row * N_K + head - N_Q
    first, second = _pair(at, HALF, INTERLEAVED)
    keep = there[:, None] & (at < HALF)[None, :]
    a = tl.load(x[:, None] + first[None, :], mask=keep, other=0.0).to(ACC)
    b = tl.load(x[:, None] + second[None, :], mask=keep, other=0.0).to(ACC)
    tail = 2 * HALF + tl.arange(0, REST)
    keep_tail = there[:, None] & (tail < D)[None, :]
    if REST > 1:
        z = tl.load(x[:, None] + tail[None, :], mask=keep_tail, other=0.0).to(ACC)
    if NORM:
        square = tl.sum(a * a + b * b, 1)
        if REST > 1:
            square += tl.sum(z * z, 1)
        rstd = 1 / tl.sqrt(square / D + eps)
        tl.store(r, rstd, mask=there)
        a = a * rstd[:, None] * tl.load(w + first, mask=at < HALF, other=0.0).to(ACC)[None, :]
        b = b * rstd[:, None] * tl.load(w + second, mask=at < HALF, other=0.0).to(ACC)[None, :]
        if REST > 1:
            z = z * rstd[:, None] * tl.load(w + tail, mask=tail < D, other=0.0).to(ACC)[None, :]
    tl.store(y[:, None] + first[None, :], (a * c - b * s).to(QO.dtype.element_ty), mask=keep)
    tl.store(y[:, None] + second[None, :], (b * c + a * s).to(QO.dtype.element_ty), mask=keep)
    if REST > 1:
        tl.store(y[:, None] + tail[None, :], z.to(QO.dtype.element_ty), mask=keep_tail)
    if CACHE:
        if head >= N_Q:
            g = (head - N_Q).to(tl.int64)
            to = row % T + tl.load(LENGTHS + row // T, mask=there, other=0)
            fits = there & (to >= 0) & (to < S)  # a graph that is replayed past the end must not write elsewhere
            kc = (KC + (row // T) * kc_s.b + to * kc_s.t + g * kc_s.h)[:, None]
            vc = (VC + (row // T) * vc_s.b + to * vc_s.t + g * vc_s.h)[:, None]
            v = (V + (row // T) * v_s.b + (row % T) * v_s.t + g * v_s.h)[:, None]
            room = keep & fits[:, None]
            tl.store(kc + first[None, :], (a * c - b * s).to(QO.dtype.element_ty), mask=room)
            tl.store(kc + second[None, :], (b * c + a * s).to(QO.dtype.element_ty), mask=room)
            tl.store(vc + first[None, :], tl.load(v + first[None, :], mask=room, other=0.0), mask=room)
            tl.store(vc + second[None, :], tl.load(v + second[None, :], mask=room, other=0.0), mask=room)
            if REST > 1:
                room = keep_tail & fits[:, None]
                tl.store(kc + tail[None, :], z.to(QO.dtype.element_ty), mask=room)
                tl.store(vc + tail[None, :], tl.load(v + tail[None, :], mask=room, other=0.0), mask=room)


@triton.jit
def backward_kernel(
    DQO, DKO, Q, K, DQ, DK, QW, KW, QR, KR, DW, COS, SIN, POS, ROWS_ALL, T, P, offset, stride_pos,
    q_s, k_s, dq_s, dk_s, N_Q, N_K, D, HALF,
    ROWS: tl.constexpr, BLOCK: tl.constexpr, REST: tl.constexpr, NORM: tl.constexpr, INTERLEAVED: tl.constexpr,
    HAS_POS: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Undo the rotation by its conjugate, then compute the norm's gradient.

    DQ and DK may be views of one packed gradient.
    """
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    head = tl.program_id(1)
    there = row < ROWS_ALL
    at = tl.arange(0, BLOCK)
    c, s = _angles(COS, SIN, POS, None, row, there, T, P, stride_pos, offset, HALF, at, HAS_POS, False, ACC)
    if head < N_Q:
        g = DQO + (row * N_Q + head) * D
        x = Q + (row // T) * q_s.b + (row % T) * q_s.t + head.to(tl.int64) * q_s.h
        dx = DQ + (row // T) * dq_s.b + (row % T) * dq_s.t + head.to(tl.int64) * dq_s.h
        w = QW
        r = QR + row * N_Q + head
    else:
        g = DKO + (row * N_K + head - N_Q) * D
        x = K + (row // T) * k_s.b + (row % T) * k_s.t + (head - N_Q).to(tl.int64) * k_s.h
        dx = DK + (row // T) * dk_s.b + (row % T) * dk_s.t + (head - N_Q).to(tl.int64) * dk_s.h
        w = KW
        r = KR + row * N_K + head - N_Q
    first, second = _pair(at, HALF, INTERLEAVED)
    keep = there[:, None] & (at < HALF)[None, :]
    ga = tl.load(g[:, None] + first[None, :], mask=keep, other=0.0).to(ACC)
    gb = tl.load(g[:, None] + second[None, :], mask=keep, other=0.0).to(ACC)
    da = ga * c + gb * s
    db = gb * c - ga * s
    tail = 2 * HALF + tl.arange(0, REST)
    keep_tail = there[:, None] & (tail < D)[None, :]
    if REST > 1:
        dz = tl.load(g[:, None] + tail[None, :], mask=keep_tail, other=0.0).to(ACC)
    if NORM:
        rstd = tl.load(r, mask=there, other=0.0)[:, None]
        a = tl.load(x[:, None] + first[None, :], mask=keep, other=0.0).to(ACC) * rstd
        b = tl.load(x[:, None] + second[None, :], mask=keep, other=0.0).to(ACC) * rstd
        line = DW + (tl.program_id(0).to(tl.int64) * (N_Q + N_K) + head) * D
        tl.store(line + first, tl.sum(da * a, 0), mask=at < HALF)
        tl.store(line + second, tl.sum(db * b, 0), mask=at < HALF)
        da = da * tl.load(w + first, mask=at < HALF, other=0.0).to(ACC)[None, :]
        db = db * tl.load(w + second, mask=at < HALF, other=0.0).to(ACC)[None, :]
        dot = tl.sum(da * a + db * b, 1)
        if REST > 1:
            z = tl.load(x[:, None] + tail[None, :], mask=keep_tail, other=0.0).to(ACC) * rstd
            tl.store(line + tail, tl.sum(dz * z, 0), mask=tail < D)
            dz = dz * tl.load(w + tail, mask=tail < D, other=0.0).to(ACC)[None, :]
            dot += tl.sum(dz * z, 1)
        dot = dot[:, None] / D
        da = (da - a * dot) * rstd
        db = (db - b * dot) * rstd
        if REST > 1:
            dz = (dz - z * dot) * rstd
    tl.store(dx[:, None] + first[None, :], da.to(DQ.dtype.element_ty), mask=keep)
    tl.store(dx[:, None] + second[None, :], db.to(DQ.dtype.element_ty), mask=keep)
    if REST > 1:
        tl.store(dx[:, None] + tail[None, :], dz.to(DQ.dtype.element_ty), mask=keep_tail)


def _settings(q: torch.Tensor, rotation: Rotation):
    d, half = q.shape[-1], rotation.cos.shape[1]
    options = launch.configuration("qk_norm_rope", launch.architecture(q.device), d)
    rows = options.pop("ROWS")
    wide = q.dtype == torch.float64
    return rows, {
        "ROWS": rows, "BLOCK": launch.power_of_2(half), "REST": launch.power_of_2(d - 2 * half) if d > 2 * half else 1,
        "NORM": rotation.q_weight is not None, "INTERLEAVED": rotation.interleaved,
        "HAS_POS": rotation.positions is not None, "ACC": tl.float64 if wide else tl.float32, **options,
    }  # fmt: skip


def _stride(positions: torch.Tensor | None) -> int:
    return 0 if positions is None or positions.shape[0] == 1 else positions.stride(0)


def rotate(
    q: torch.Tensor,
    k: torch.Tensor,
    rotation: Rotation,
    v: torch.Tensor | None = None,
    cache: Cache | None = None,
) -> Rotated:
    """Return q and k rotated, and contiguous. With a cache, k and v are written there too."""
    b, t, n_q, d = q.shape
    n_k = k.shape[2]
    norm = rotation.q_weight is not None
    wide = torch.float64 if q.dtype == torch.float64 else torch.float32
    q, k = launch.last_contiguous(q), launch.last_contiguous(k)
    out = Rotated(
        torch.empty((b, t, n_q, d), dtype=q.dtype, device=q.device),
        torch.empty((b, t, n_k, d), dtype=q.dtype, device=q.device),
        torch.empty((b, t, n_q) if norm else (0,), dtype=wide, device=q.device),
        torch.empty((b, t, n_k) if norm else (0,), dtype=wide, device=q.device),
    )
    if b * t == 0:
        return out
    rows, settings = _settings(q, rotation)
    # unread without a norm, but one of them is chosen by head
    weights = (rotation.q_weight, rotation.k_weight) if norm else (q, k)
    held = (None, None, None, None) if cache is None else (launch.last_contiguous(v), *cache)
    into = [None if x is None else launch.strides(x) for x in held[:3]]
    capacity = None if cache is None else cache.k.shape[1]
    cos, sin, positions = rotation[:3]
    with launch.on(q):
        forward_kernel[(triton.cdiv(b * t, rows), n_q + n_k)](
            q, k, out.q, out.k, *weights, out.q_rstd, out.k_rstd, cos, sin, positions, *held, b * t, t, cos.shape[0],
            capacity, rotation.offset, _stride(positions), launch.strides(q), launch.strides(k), *into, n_q, n_k, d,
            cos.shape[1], rotation.eps, CACHE=cache is not None, **settings,
        )  # fmt: skip
    return out


def unrotate(
    dq_out: torch.Tensor,
    dk_out: torch.Tensor,
    q: torch.Tensor,
    k: torch.Tensor,
    dq: torch.Tensor,
    dk: torch.Tensor,
    rotation: Rotation,
    q_rstd: torch.Tensor,
    k_rstd: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Write the gradients into dq and dk, and return those of the weights (empty without weights)."""
    b, t, n_q, d = q.shape
    n_k = k.shape[2]
    q_weight, k_weight = rotation.q_weight, rotation.k_weight
    norm = q_weight is not None
    q, k, dq_out, dk_out = (
        launch.last_contiguous(q),
        launch.last_contiguous(k),
        dq_out.contiguous(),
        dk_out.contiguous(),
    )
    if b * t == 0:
        return (torch.zeros_like(q_weight), torch.zeros_like(k_weight)) if norm else (q.new_empty(0), q.new_empty(0))
    rows, settings = _settings(q, rotation)
    weights = (q_weight, k_weight) if norm else (q, k)  # unread without a norm, but one of them is chosen by head
    blocks = triton.cdiv(b * t, rows)
    lines = torch.empty((blocks, n_q + n_k, d) if norm else (0,), dtype=q_rstd.dtype, device=q.device)
    cos, sin, positions = rotation[:3]
    with launch.on(q):
        backward_kernel[(blocks, n_q + n_k)](
            dq_out, dk_out, q, k, dq, dk, *weights, q_rstd, k_rstd, lines, cos, sin, positions, b * t, t,
            cos.shape[0], rotation.offset, _stride(positions), *(launch.strides(x) for x in (q, k, dq, dk)), n_q, n_k,
            d, cos.shape[1], **settings,
        )  # fmt: skip
    if not norm:
        return q.new_empty(0), q.new_empty(0)
    return lines[:, :n_q].sum((0, 1)).to(q_weight.dtype), lines[:, n_q:].sum((0, 1)).to(k_weight.dtype)


def forward(heads: Heads, rotation: Rotation) -> Rotated:
    """Compute the raw form, which public.py describes."""
    q, k, _ = heads.parts()
    return rotate(q, k, rotation)


def forward_cached(heads: Heads, cache: Cache, rotation: Rotation) -> Rotated:
    """Compute the raw form that writes a cache, which cached.py describes."""
    q, k, v = heads.parts()
    return rotate(q, k, rotation, v, cache)


def backward(dq_out, dk_out, heads: Heads, rotation: Rotation, q_rstd, k_rstd):
    """Compute the gradient's raw form, which public.py describes."""
    q, k = heads.q, heads.k
    dq = torch.empty(q.shape, dtype=q.dtype, device=q.device)
    dk = torch.empty(k.shape if k is not None else (0,), dtype=q.dtype, device=q.device)
    q_part, k_part, _ = heads.parts()
    dq_part, dk_part, dv_part = heads._replace(q=dq, k=None if k is None else dk, v=None).parts()
    if k is None:
        dv_part.zero_()
    weights = unrotate(dq_out, dk_out, q_part, k_part, dq_part, dk_part, rotation, q_rstd, k_rstd)
    return dq, dk, *weights
