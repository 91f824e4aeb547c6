"""State dicts of GPT-2's kin, as the classes of other training programs name them, become shapes and tensors of ours.

What stands in no tensor (heads, the base of RoPE, a context without a table) is in the file's own settings or in a
JSON file beside it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from pylm.config.schema import Model as Shape
from pylm.errors import CheckpointError
from pylm.model.layouts import fitting
from pylm.model.names import Stored
from pylm.model.parameters import parameters

__all__ = ["COMPILED", "NANOGPT", "Tool", "bare", "from_state_dict", "tool_of"]

COMPILED = "_orig_mod."  # what torch.compile puts before every name
# Buffers that lie among the weights: masks, and tables of cosines and sines
BUFFERS = re.compile(r".*\.attn\.(bias|mask|causal_mask)|.*\.rope\.positions_(sin|cos)|.*\.inv_freq")
_NANOGPT = {
    "embed": "transformer.wte", "position": "transformer.wpe", "norm": "transformer.ln_f", "head": "lm_head",
    "attention.norm": "transformer.h.{i}.ln_1", "attention.qkv": "transformer.h.{i}.attn.c_attn",
    "attention.out": "transformer.h.{i}.attn.c_proj", "mlp.norm": "transformer.h.{i}.ln_2",
    "mlp.up": "transformer.h.{i}.mlp.c_fc", "mlp.down": "transformer.h.{i}.mlp.c_proj",
}  # fmt: skip


class Tool(NamedTuple):
    """A program's class: pre-norm blocks with LayerNorm and GELU, queries, keys and values in one matrix."""

    name: str
    modules: Mapping[str, str]  # our module, without the number of its block → theirs
    settings: str  # where it keeps what no tensor says
    heads: str = "n_heads"
    norm_eps: float = 1e-5
    tied: bool = True


NANOGPT = Tool("nanoGPT", _NANOGPT, "model_args", heads="n_head")
MICROGPT = Tool("microgpt", _NANOGPT, "model.json", norm_eps=1e-6)
NASH = Tool(
    "nash-llm",
    {
        "embed": "token_emb", "position": "pos_emb", "norm": "ln_f", "head": "lm_head",
        "attention.norm": "blocks.{i}.ln1", "attention.qkv": "blocks.{i}.attn.qkv",
        "attention.out": "blocks.{i}.attn.out_proj", "mlp.norm": "blocks.{i}.ln2",
        "mlp.up": "blocks.{i}.ff.fc1", "mlp.down": "blocks.{i}.ff.fc2",
    },
    "config",
)  # fmt: skip
FROM_SCRATCH = Tool(
    "buildingLLMFromScratch",
    {
        "embed": "token_embedding.embedding", "position": "position_embedding.embedding", "norm": "ln_f",
        "head": "lm_head", "attention.norm": "blocks.{i}.ln_1", "attention.qkv": "blocks.{i}.attn.c_attn",
        "attention.out": "blocks.{i}.attn.c_proj", "mlp.norm": "blocks.{i}.ln_2", "mlp.up": "blocks.{i}.mlp.c_fc",
        "mlp.down": "blocks.{i}.mlp.c_proj",
    },
    "config",
    tied=False,
)  # fmt: skip
# Classes that compute what no model of ours does, by a tensor that only they have
_OTHERS = {
    "tok_emb.weight": "it is nue's, whose blocks replace the stream by its norm, where ours add to the stream itself",
    "token_embedding.weight": "it is of Self-Attention-Implementation's torch class, whose RoPE turns the two numbers "
    "of a pair by different angles",
}


def bare(tensors: Mapping[str, Stored]) -> dict[str, Stored]:
    """Return weights by the names of their class: without what compiling puts before them, without buffers."""
    return {name.removeprefix(COMPILED): tensor for name, tensor in tensors.items() if not BUFFERS.fullmatch(name)}


def tool_of(held: Mapping[str, Stored], arguments: bool) -> Tool | None:
    """Return the program whose class has these names; refuse one that computes what no model of ours does.

    Args:
        held: the weights.
        arguments: whether model_args stand beside them, as in nanoGPT's files.
    """
    for name, why in _OTHERS.items():
        if name in held:
            raise CheckpointError(why, "train it anew: pylm config import reads its configuration")
    if "transformer.wte.weight" in held:
        return NANOGPT if arguments else MICROGPT
    return next((tool for tool in (NASH, FROM_SCRATCH) if f"{tool.modules['embed']}.weight" in held), None)


def from_state_dict(
    tool: Tool, held: Mapping[str, Stored], settings: Mapping[str, Any]
) -> tuple[Shape, dict[str, Stored]]:
    """Return the shape and the tensors by our names.

    Args:
        tool: whose class it is.
        held: the weights, bare.
        settings: what stands in no tensor.
    """
    shape = _shape(tool, held, settings)
    made = {ours: _get(tool, held, _theirs(tool, ours)) for ours in parameters(shape)}
    known = {_theirs(tool, ours) for ours in made} | {_theirs(tool, "head.weight")}
    if strange := sorted(held.keys() - known):
        raise CheckpointError(f"it holds {strange[0]}, which {tool.name}'s class does not have")
    head = held.get(_theirs(tool, "head.weight"))
    if tool.tied and head is not None and bytes(head.data) != bytes(made["embed.weight"].data):
        raise CheckpointError(
            f"its lm_head is another matrix than its embedding, and {tool.name}'s class has one for both"
        )
    return shape, made


def _shape(tool: Tool, held: Mapping[str, Stored], settings: Mapping[str, Any]) -> Shape:
    heads, several = settings.get(tool.heads), "" if tool.settings.endswith("s") else "s"
    if type(heads) is not int or heads < 1:
        raise CheckpointError(
            f"its {tool.settings} name{several} no {tool.heads}",
            "the number of heads stands in no tensor: put it there",
        )
    vocabulary, width = _sizes(tool, held, "embed.weight")
    if width % heads:
        raise CheckpointError(
            f"its {tool.settings} say{several} {tool.heads} {heads}, and its width {width} is no multiple of that"
        )
    pattern = re.compile(re.escape(tool.modules["mlp.up"]).replace(r"\{i\}", r"(\d+)") + r"\.weight")
    layers = 1 + max((int(match[1]) for name in held if (match := pattern.fullmatch(name))), default=-1)
    return fitting(
        {
            "n_layers": layers, "n_heads": heads, "d_model": width, "norm": "layernorm", "norm_eps": tool.norm_eps,
            "mlp": "gelu", "bias": _theirs(tool, "norm.bias") in held, "tied": tool.tied,
            "d_ff": _sizes(tool, held, "blocks.0.mlp.up.weight")[0],
            **_positions(tool, held, settings),
        },
        vocabulary,
        f"its {tool.settings}",
    )  # fmt: skip


def _positions(tool: Tool, held: Mapping[str, Stored], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return how positions are told: by a table, or by RoPE where the settings say so."""
    if settings.get("use_rope") is not True:
        return {"position": "learned", "context_length": _sizes(tool, held, "position.weight")[0]}
    if "max_seq_len" not in settings or "rope_theta" not in settings:
        raise CheckpointError(f"its {tool.settings} has use_rope without max_seq_len and rope_theta")
    return {"position": "rope", "context_length": settings["max_seq_len"], "rope_theta": settings["rope_theta"]}


def _theirs(tool: Tool, ours: str) -> str:
    """Return their name of a tensor of ours."""
    block = re.match(r"blocks\.(\d+)\.", ours)
    module, _, kind = (ours[block.end() :] if block else ours).rpartition(".")
    return f"{tool.modules[module].replace('{i}', block[1] if block else '')}.{kind}"


def _sizes(tool: Tool, held: Mapping[str, Stored], ours: str) -> tuple[int, ...]:
    """Return the sizes of a matrix, by our name of it."""
    name = _theirs(tool, ours)
    if len(sizes := _get(tool, held, name).shape) != 2:
        raise CheckpointError(f"its {name} is of shape {list(sizes)}, and no matrix")
    return sizes


def _get(tool: Tool, held: Mapping[str, Stored], name: str) -> Stored:
    if name not in held:
        raise CheckpointError(f"it lacks {name}, which {tool.name}'s class has")
    return held[name]
