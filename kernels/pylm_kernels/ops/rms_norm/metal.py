"""rms_norm on Apple GPUs: one launch forward, one backward and a sum of lines for the weight.

A row belongs to a team of simdgroups: one for short rows (several teams in a threadgroup, no barrier), up to 32 for
wide ones. Backward, each team takes rows that lie far apart and keeps its share of the weight's gradient in registers
as it goes (in its line of memory where a thread has more than 8 columns); the lines are added in their order, so the
same bits come out every time. Values that a pass needs twice are read twice, the second time out of the cache.
"""

from __future__ import annotations

from typing import Any

import mlx.core as mx

from pylm_kernels.mlx.launch import SIMD, UNROLL, Kernel, launch, with_gradient

COLUMNS = 4  # that a thread takes at once, side by side
IN_REGISTERS = 8  # columns of the weight's gradient that a thread holds
SIMDGROUPS = 4096  # at most, backward: they fill the largest chip twice over, and more lines are more to add

_TEAM = """
    const uint lane = thread_index_in_simdgroup;
    const uint simdgroup = simdgroup_index_in_threadgroup;
    const uint team = threadgroup_position_in_grid.x * TEAMS + simdgroup / SIMDS;
    const uint mine = (simdgroup % SIMDS) * 32 + lane;
    const uint rows = uint(x_shape[0]);
"""

FORWARD = Kernel(
    name="rms_norm",
    inputs=("x", "residual", "weight", "numbers"),
    outputs=("y", "h"),
    optional=("residual", "weight", "h"),
    source=_TEAM
    + """
    threadgroup float partial[32];
    if (team >= rows) return;  // a whole team, and teams with barriers are alone in their threadgroup
    const size_t row = size_t(team) * N;
    float sum = 0.0f;
    for (uint c = mine * COLUMNS; c < N; c += SIMDS * 32 * COLUMNS)
        for (uint i = c; i < min(c + COLUMNS, uint(N)); i++) {
            float value = float(x[row + i]);
#if HAS_RESIDUAL
            value += float(residual[row + i]);
            h[row + i] = static_cast<T>(value);
#endif
            sum += value * value;
        }
    sum = simd_sum(sum);
    if (SIMDS > 1) {
        if (lane == 0) partial[simdgroup] = sum;
        threadgroup_barrier(mem_flags::mem_threadgroup);
        sum = simd_sum(lane < uint(SIMDS) ? partial[lane] : 0.0f);
    }
    const float rstd = metal::precise::rsqrt(sum / N + numbers[0]);
    for (uint c = mine * COLUMNS; c < N; c += SIMDS * 32 * COLUMNS)
        for (uint i = c; i < min(c + COLUMNS, uint(N)); i++) {
            float value = float(x[row + i]);
#if HAS_RESIDUAL
            value += float(residual[row + i]);
#endif
            value *= rstd;
#if HAS_WEIGHT
            value *= float(weight[i]) + numbers[1];
#endif
            y[row + i] = static_cast<T>(value);
        }
""",
)

BACKWARD = Kernel(
    name="rms_norm_backward",
    header=UNROLL,
    inputs=("x", "dy", "dh", "weight", "numbers"),
    outputs=("dx", "lines"),
    optional=("dh", "weight", "lines"),
    source=_TEAM
    + """
    threadgroup float squares[32];
    threadgroup float products[32];
    const uint all_teams = threadgroups_per_grid.x * TEAMS;
#if HAS_WEIGHT
    float share[KEEP ? PER : 1];
    for (int i = 0; i < (KEEP ? PER : 1); i++) share[i] = 0.0f;
#endif
    for (uint r = team; r < rows; r += all_teams) {
        const size_t row = size_t(r) * N;
        float square = 0.0f;
        float product = 0.0f;
        for (uint c = mine * COLUMNS; c < N; c += SIMDS * 32 * COLUMNS)
            for (uint i = c; i < min(c + COLUMNS, uint(N)); i++) {
                const float value = float(x[row + i]);
                float g = float(dy[row + i]);
#if HAS_WEIGHT
                g *= float(weight[i]) + numbers[1];
#endif
                square += value * value;
                product += g * value;
            }
        square = simd_sum(square);
        product = simd_sum(product);
        if (SIMDS > 1) {
            threadgroup_barrier(mem_flags::mem_threadgroup);  // some may still read the sums of the row before
            if (lane == 0) {
                squares[simdgroup] = square;
                products[simdgroup] = product;
            }
            threadgroup_barrier(mem_flags::mem_threadgroup);
            square = simd_sum(lane < uint(SIMDS) ? squares[lane] : 0.0f);
            product = simd_sum(lane < uint(SIMDS) ? products[lane] : 0.0f);
        }
        const float rstd = metal::precise::rsqrt(square / N + numbers[0]);
        const float mean = product / N * rstd * rstd;
        UNROLL
        for (int n = 0; n < PER; n++) {
            const uint i = (mine + n / COLUMNS * SIMDS * 32) * COLUMNS + n % COLUMNS;
            if (i >= N) continue;
            const float value = float(x[row + i]);
            float g = float(dy[row + i]);
#if HAS_WEIGHT
            const float part = g * value * rstd;
            if (KEEP) share[KEEP ? n : 0] += part;
            else lines[size_t(team) * N + i] = r == team ? part : lines[size_t(team) * N + i] + part;
            g *= float(weight[i]) + numbers[1];
#endif
            float gradient = rstd * (g - value * mean);
#if HAS_DH
            gradient += float(dh[row + i]);
#endif
            dx[row + i] = static_cast<T>(gradient);
        }
    }
#if HAS_WEIGHT
    if (KEEP && team < all_teams) {
        UNROLL
        for (int n = 0; n < PER; n++) {
            const uint i = (mine + n / COLUMNS * SIMDS * 32) * COLUMNS + n % COLUMNS;
            if (i < N) lines[size_t(team) * N + i] = share[KEEP ? n : 0];
        }
    }
#endif
""",
)


def _team(width: int) -> tuple[int, int]:
    """Return how many simdgroups a row's team has, and how many teams a threadgroup."""
    simds = min(32, -(-width // (SIMD * COLUMNS)))
    return simds, 4 if simds == 1 else 1


def forward(x: Any, weight: Any, residual: Any, eps: float, offset: float) -> tuple[Any, Any]:
    """Return the normalised rows, and x + residual (None without a residual); x may have any shape."""
    width = x.shape[-1]
    rows = x.size // width
    simds, teams = _team(width)
    shape = (rows, width)
    found = launch(
        FORWARD,
        {"x": x.reshape(shape), "residual": None if residual is None else residual.reshape(shape), "weight": weight,
         "numbers": mx.array([eps, offset])},
        {"y": (shape, x.dtype), "h": None if residual is None else (shape, x.dtype)},
        template={"T": x.dtype, "N": width, "SIMDS": simds, "TEAMS": teams, "COLUMNS": COLUMNS},
        threadgroups=(-(-rows // teams), 1, 1),
        threads=SIMD * simds * teams,
    )  # fmt: skip
    h = found["h"]
    return found["y"].reshape(x.shape), None if h is None else h.reshape(x.shape)


def backward(dy: Any, dh: Any, h: Any, weight: Any, eps: float, offset: float) -> tuple[Any, Any]:
    """Return the gradient of what was normalised, with dh added, and that of the weight (None without one)."""
    width = h.shape[-1]
    rows = h.size // width
    simds, teams = _team(width)
    per = -(-width // (SIMD * simds * COLUMNS)) * COLUMNS
    groups = min(-(-rows // teams), max(1, SIMDGROUPS // (simds * teams)))
    shape = (rows, width)
    found = launch(
        BACKWARD,
        {"x": h.reshape(shape), "dy": dy.reshape(shape), "dh": None if dh is None else dh.reshape(shape),
         "weight": weight, "numbers": mx.array([eps, offset])},
        {"dx": (shape, h.dtype), "lines": None if weight is None else ((groups * teams, width), mx.float32)},
        template={"T": h.dtype, "N": width, "SIMDS": simds, "TEAMS": teams, "COLUMNS": COLUMNS, "PER": per,
                  "KEEP": per <= IN_REGISTERS},
        threadgroups=(groups, 1, 1),
        threads=SIMD * simds * teams,
    )  # fmt: skip
    dweight = None if weight is None else found["lines"].sum(0).astype(weight.dtype)
    return found["dx"].reshape(h.shape), dweight


def rms_norm(x: Any, weight: Any, residual: Any, eps: float, offset: float) -> Any:
    """Return y, or (y, h) with a residual; the gradients come from this file's kernel."""

    def run(given: dict[str, Any]) -> Any:
        x, weight, more = given["x"], given["weight"], given["residual"]
        if more is None and offset == 0 and (weight is None or weight.dtype == x.dtype):
            return mx.fast.rms_norm(x, weight, eps)  # one launch already, and nothing to add to it
        y, h = forward(x, weight, more, eps, offset)
        return y if more is None else (y, h)

    def back(given: dict[str, Any], cotangents: Any, outputs: Any) -> dict[str, Any]:
        dy, dh = (cotangents, None) if given["residual"] is None else cotangents
        h = given["x"] if given["residual"] is None else outputs[1]
        dx, dweight = backward(dy, dh, h, given["weight"], eps, offset)
        return {"x": dx, "weight": dweight, "residual": dx}

    return with_gradient(run, back, {"x": x, "weight": weight, "residual": residual})
