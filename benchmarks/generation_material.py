"""Random weights for the generation benchmarks: GPT-2 small, as transformers and llama.cpp read it, and llama-25m."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.test_generation import SHAPE


def write(place: str) -> None:
    """Write all of it into a folder."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    folder = Path(place)
    torch.manual_seed(1)
    model = GPT2LMHeadModel(GPT2Config(**SHAPE, tie_word_embeddings=True))
    model.save_pretrained(folder)
    write_gguf(folder / "q8_0.gguf", {name: tensor.numpy() for name, tensor in model.state_dict().items()})
    from pylm._rust import Bpe

    words = Bpe.from_merges([], "gpt2", ["<|endoftext|>"]).to_tokenizer_json()
    for name in ("tok", "llama-25m"):
        (folder / name).mkdir()
        (folder / name / "tokenizer.json").write_text(words)
    write_llama(folder / "llama-25m")


def write_llama(folder: Path) -> None:
    """llama-25m at its own vocabulary of 257 bytes and words, in Hugging Face's layout."""
    import json

    import torch

    from pylm.checkpoint import Tensor, write_tensors
    from pylm.config.cascade import resolve
    from pylm.config.shape import complete
    from pylm.model.names import to_hugging_face
    from pylm.model.torch import Model

    model = Model(complete(resolve(preset="llama-25m", environ={}).config.model, 257))
    with torch.no_grad():
        weights = {
            name: Tensor.of("F32", tuple(tensor.shape), tensor.contiguous().numpy())
            for name, tensor in model.weights().items()
        }
    found, config = to_hugging_face(weights, model.shape)
    tensors = {name: Tensor.of(tensor.dtype, tuple(tensor.shape), tensor.data) for name, tensor in found.items()}
    write_tensors(folder / "model.safetensors", tensors)
    (folder / "config.json").write_text(json.dumps(config))


def learn(place: str) -> None:
    """Write stories, and train a small model of them for a minute."""
    from pylm.cli import run
    from pylm.data.stories import stories

    folder = Path(place)
    (folder / "stories.txt").write_text("<|endoftext|>".join(stories(2_000_000)))
    tokenize = ["tokenize", str(folder / "stories.txt"), "--vocab-size", "1024", "--val", "0.05"]
    assert run([*tokenize, "--out", str(folder / "data")]) == 0
    length = ["--max-steps", "300", "--batch-tokens", "4096", "--eval-every", "null", "--context-length", "128"]
    shape = ["--n-layers", "4", "--d-model", "192", "--n-heads", "3"]
    train = ["train", "--data", str(folder / "data"), "--out", str(folder / "run")]
    assert run([*train, *shape, *length]) == 0


def write_gguf(path: Path, weights: dict[str, Any]) -> None:
    """GPT-2 as llama.cpp reads it, matrices in Q8_0."""
    try:
        import gguf
    except ModuleNotFoundError:
        return  # llama.cpp is then reported as not installed
    import numpy as np

    kind = gguf.GGMLQuantizationType.Q8_0
    writer = gguf.GGUFWriter(str(path), "gpt2")
    writer.add_context_length(SHAPE["n_positions"])
    writer.add_embedding_length(SHAPE["n_embd"])
    writer.add_block_count(SHAPE["n_layer"])
    writer.add_feed_forward_length(4 * SHAPE["n_embd"])
    writer.add_head_count(SHAPE["n_head"])
    writer.add_layer_norm_eps(1e-5)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([f"t{token}" for token in range(SHAPE["vocab_size"])])
    writer.add_token_types([1] * SHAPE["vocab_size"])
    writer.add_token_merges(["t 0"])
    writer.add_eos_token_id(SHAPE["vocab_size"] - 1)
    writer.add_bos_token_id(SHAPE["vocab_size"] - 1)
    names = {"wte": "token_embd", "wpe": "position_embd", "ln_f": "output_norm"}
    parts = {
        "ln_1": "attn_norm", "attn.c_attn": "attn_qkv", "attn.c_proj": "attn_output",
        "ln_2": "ffn_norm", "mlp.c_fc": "ffn_up", "mlp.c_proj": "ffn_down",
    }  # fmt: skip
    for layer in range(SHAPE["n_layer"]):
        names |= {f"h.{layer}.{theirs}": f"blk.{layer}.{ours}" for theirs, ours in parts.items()}
    for theirs, ours in names.items():
        for end in ("weight", "bias"):
            key = f"transformer.{theirs}.{end}"
            if key not in weights:
                continue
            tensor = weights[key].astype(np.float32)
            if end == "weight" and ".c_" in theirs:
                tensor = np.ascontiguousarray(tensor.T)
            if tensor.ndim == 2 and theirs != "wpe":
                writer.add_tensor(f"{ours}.{end}", gguf.quants.quantize(tensor, kind), raw_dtype=kind)
                if theirs == "wte":
                    writer.add_tensor("output.weight", gguf.quants.quantize(tensor, kind), raw_dtype=kind)
            else:
                writer.add_tensor(f"{ours}.{end}", tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
