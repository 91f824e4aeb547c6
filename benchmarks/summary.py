"""The figures that README shows, one row a claim, picked from the committed results: as a table and as a picture.

Rows that we lose stand among them on purpose; the tests ask for them.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import NamedTuple
from xml.sax.saxutils import escape

from benchmarks.report import Row, figure


class Claim(NamedTuple):
    """A row of the results, in the words of README."""

    subject: str  # the file in results/<machine>/
    name: str  # of the row there
    task: str
    peer: str  # with {} for its version


CLAIMS = (
    Claim("tokenize", "prose → uint16 shards, 2 threads vs nanoGPT's prepare.py (datasets.map, tiktoken)",
          "62 MB of text → shards", "nanoGPT's prepare.py (datasets {})"),
    Claim("tokenize", "prose → uint16 shards, 2 threads vs gigatoken + numpy.tofile",
          "62 MB of text → shards", "gigatoken {} + numpy"),
    Claim("tokenizer_training", "prose, gpt2, 2 threads vs gigatoken",
          "train BPE, 32,000 tokens, English", "gigatoken {}"),
    Claim("tokenizer_training", "multilingual, cl100k, 2 threads vs rustbpe",
          "train BPE, 32,000 tokens, many scripts", "rustbpe {}"),
    Claim("encoding", "prose, gpt2, 2 threads, cold vs gigatoken, file",
          "encode text not seen before", "gigatoken {}"),
    Claim("encoding", "prose, gpt2, 2 threads, warm vs gigatoken, list",
          "encode text seen before", "gigatoken {}"),
    Claim("encoding", "code, gpt2, 1 thread, warm vs gigatoken, file",
          "encode source code seen before", "gigatoken {}"),
    Claim("encoding", "hostile, cl100k, one word vs gigatoken",
          "encode one word of 5 MB", "gigatoken {}"),
    Claim("loader", "batch of 32 × 1024, 2 threads vs nanoGPT's get_batch",
          "a batch of 32 × 1,024", "nanoGPT's get_batch (torch {})"),
    Claim("loader", "batch of 32 × 1024, 2 threads vs DataLoader, 2 workers",
          "a batch of 32 × 1,024", "torch {} DataLoader"),
    Claim("training", "GPT-2 shape, V 4,096, a step vs eager fp32",
          "a training step, 6 layers", "torch {} eager, fp32"),
    Claim("training", "GPT-2 shape, V 4,096, memory kept, a step vs eager bf16",
          "a training step, 6 layers", "torch {} eager, bf16"),
    Claim("cpu_kernels", "causal attention bf16, 2 threads, backward B4 H12 T1024 D64 vs torch SDPA",
          "causal attention of 1,024, backward", "torch {} SDPA"),
    Claim("cpu_kernels", "bf16 8192 × 768, 2 threads, residual + norm vs torch.compile",
          "residual + RMSNorm", "torch.compile {}"),
    Claim("cpu_kernels", "fp32 512 × 50304, 2 threads, cross-entropy vs torch.compile",
          "cross-entropy, 50,304 classes", "torch.compile {}"),
    Claim("cpu_kernels", "bf16 4096 × 384 × 50304, 2 threads, linear cross-entropy vs torch.compile",
          "linear cross-entropy, 50,304 classes", "torch.compile {}"),
    Claim("cpu_kernels", "AdamW + clip, 30 M parameters, 2 threads, bf16 vs torch fused + clip_grad_norm_",
          "AdamW with clip, bf16", "torch {} fused"),
    Claim("cpu_kernels", "decode attention H12 D64 S4096, 2 threads vs torch SDPA bf16",
          "attention of one token over 4,096", "torch {} SDPA, bf16"),
    Claim("generation", "124M, 512 tokens, int8 vs llama.cpp Q8_0",
          "write 512 tokens, 124M, int8", "llama-cpp-python {}, Q8_0"),
    Claim("sampler", "8 × 50,304 logits, top-p and penalties, 2 threads vs torch's usual operations",
          "draw 8 tokens, top-p, penalties", "torch {}"),
    Claim("runs", "every figure of 100,000 lines, loaded vs tensorboard",
          "read 100,000 lines of figures", "TensorBoard {}"),
    Claim("soup", "3 × 124M fp32, mean, of Hugging Face's folders, commands vs mergekit",
          "average three models of 124M", "mergekit {}"),
)  # fmt: skip


def found(machine: Path) -> tuple[str, list[tuple[Claim, Row]]]:
    """A machine in words, and every claim with its row; one that no file holds is a KeyError."""
    files = {subject: json.loads((machine / f"{subject}.json").read_text()) for subject in {c.subject for c in CLAIMS}}
    rows = {(subject, row["name"]): Row(**row) for subject, content in files.items() for row in content["rows"]}
    about = files[CLAIMS[0].subject]["machine"]
    words = f"{about['cpu']} (family {about['family']}), {about['cores']} cores, {', '.join(about['features'])}"
    return words, [(claim, rows[claim.subject, claim.name]) for claim in CLAIMS]


def verdict(row: Row) -> str:
    """Whether we lose to the peer, or miss the ratio that we wanted."""
    if row.ratio is not None and row.ratio < 1:
        return "**slower**"
    return "**short**" if row.verdict == "short" else row.verdict


def markdown(machine: Path) -> str:
    """The claims as a table."""
    words, claims = found(machine)
    lines = [f"{words}; medians, both sides in one run.", ""]
    lines += ["| | against | theirs | ours | ratio | wanted | |", "|---|---|--:|--:|--:|--:|---|"]
    for claim, row in claims:
        assert row.ours is not None and row.peer is not None and row.ratio is not None
        peer = claim.peer.format(row.peer_version)
        times = (figure(row.peer, row.unit), figure(row.ours, row.unit), f"{row.ratio:.2f}×", row.bar, verdict(row))
        lines.append(f"| {' | '.join((claim.task, peer, *times))} |")
    return "\n".join(lines) + "\n"


WIDTH, ROW, TOP, BOTTOM = 920, 23, 56, 30
LEFT, RIGHT = 470, 60  # of the bars: what stands beside them
LEAST, MOST = 0.5, 200.0  # of the axis, which is logarithmic


def svg(machine: Path) -> str:
    """The claims as bars from 1×, as fast as the peer: to the right we are faster, to the left slower."""
    words, claims = found(machine)
    height = TOP + ROW * len(claims) + BOTTOM

    def across(ratio: float) -> float:
        share = math.log(ratio / LEAST) / math.log(MOST / LEAST)
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" font-family="sans-serif">',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
        '<text x="12" y="22" font-size="15">How many times as fast as each peer</text>',
        f'<text x="12" y="40" font-size="11" fill="#666">{escape(words)}; logarithmic</text>',
    ]
    for tick in (0.5, 1, 2, 4, 8, 16, 32, 64, 128):
        x = across(tick)
        parts.append(f'<path d="M{x:.1f} {TOP}V{height - BOTTOM}" stroke="{"#444" if tick == 1 else "#ddd"}"/>')
        parts.append(f'<text x="{x:.1f}" y="{height - 12}" font-size="11" text-anchor="middle">{tick:g}×</text>')
    for number, (claim, row) in enumerate(claims):
        assert row.ratio is not None
        y, one, end = TOP + ROW * number, across(1), across(row.ratio)
        colour = "#c0392b" if row.ratio < 1 else "#3b7ea1"
        label = f"{claim.task} <tspan fill='#666'>vs {escape(claim.peer.format(row.peer_version))}</tspan>"
        parts.append(f'<text x="{LEFT - 8}" y="{y + 15}" font-size="12" text-anchor="end">{label}</text>')
        parts.append(
            f'<rect x="{min(one, end):.1f}" y="{y + 4}" width="{abs(end - one):.1f}" height="14" fill="{colour}"/>'
        )
        x, anchor = (end + 5, "start") if row.ratio >= 1 else (end - 5, "end")
        parts.append(f'<text x="{x:.1f}" y="{y + 15}" font-size="11" text-anchor="{anchor}">{row.ratio:.2f}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"
