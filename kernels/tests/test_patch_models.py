"""`patch` and models: what undoes it, what copies and saves a patched model, and what is refused."""

from __future__ import annotations

import copy
import pickle
import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

transformers = pytest.importorskip("transformers")
from patched import DECODER, FAMILIES, NEAR, assert_near, random_ids, random_model, step, twin  # noqa: E402

from pylm_kernels import dispatch, patch, unpatch  # noqa: E402 (once transformers is known to be there)


@pytest.fixture(autouse=True)
def reference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYLM_KERNELS", "reference")


def anatomy(model: nn.Module) -> list[Any]:
    """The class of every module and all that stands in it, by identity."""
    return [(name, type(one), {key: id(value) for key, value in vars(one).items()}) for name, one in
            model.named_modules()]  # fmt: skip


def classes(model: nn.Module) -> set[str]:
    return {f"{type(one).__module__}.{type(one).__qualname__}" for one in model.modules()}


def is_patched(model: nn.Module) -> bool:
    return any(name.startswith("pylm_kernels") for name in classes(model))


@pytest.mark.parametrize("family", FAMILIES)
def test_unpatch_gives_everything_back(family: str) -> None:
    model, ids = random_model(family), random_ids()
    before, config, wanted = anatomy(model), model.config.to_dict(), step(model, input_ids=ids, labels=ids)
    attention = model.config._attn_implementation
    patch(model)
    assert is_patched(model) and model.config._attn_implementation == "pylm_kernels"
    step(model, input_ids=ids, labels=ids)
    unpatch(model)
    assert anatomy(model) == before and model.config.to_dict() == config
    assert model.config._attn_implementation == attention == "sdpa"
    found = step(model, input_ids=ids, labels=ids)
    assert torch.equal(found[0], wanted[0]) and all(torch.equal(found[1][name], wanted[1][name]) for name in wanted[1])
    unpatch(model)
    assert anatomy(model) == before


def test_patching_again_follows_what_is_told_then() -> None:
    model = random_model("llama")
    whole = patch(model)
    once = anatomy(model)
    assert patch(model) == whole and anatomy(model) == once
    assert [row.operation for row in patch(model, norms=False, attention=False)] == ["swiglu", "linear_cross_entropy"]
    assert model.config._attn_implementation == "sdpa" and type(model.model.norm).__module__.startswith("transformers")
    assert [row.operation for row in patch(model, activations=False, loss=False)] == ["rms_norm", "rope_attention"]
    assert type(model) is transformers.LlamaForCausalLM and type(model.model.layers[0].mlp).__name__ == "LlamaMLP"


def test_the_table_says_what_runs_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYLM_KERNELS", "auto")
    monkeypatch.setattr(dispatch, "_registered", {op: dict(have) for op, have in dispatch._registered.items()})
    mine = dispatch.Backend(lambda: 0, lambda: 0, lambda *_: None)
    dispatch._registered["rms_norm"] = {"mine": mine}  # whatever else this process has registered
    dispatch.candidates.cache_clear()
    try:
        table = {row.operation: row for row in patch(random_model("qwen3"))}
    finally:
        dispatch.candidates.cache_clear()
    assert table["rms_norm"][1:] == ("cpu", "float32", "mine", "9 × Qwen3RMSNorm")
    assert table["rope_attention"].why == "2 × attention"


def test_without_kernels_transformers_runs_its_own_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYLM_KERNELS", "auto")
    monkeypatch.setattr(dispatch, "_registered", {op: {} for op in dispatch.OPERATIONS})
    dispatch.candidates.cache_clear()
    model, ids = random_model("llama"), random_ids()
    wanted = step(model, input_ids=ids, labels=ids)
    try:
        table = patch(model, attention=False)
        found = step(model, input_ids=ids, labels=ids)
        assert model(ids, labels=ids).logits is None
    finally:
        dispatch.candidates.cache_clear()
    assert {row.backend for row in table} == {"reference"} and all(
        "transformers' own code runs" in row.why for row in table
    )
    assert torch.equal(found[0], wanted[0]) and all(torch.equal(found[1][name], wanted[1][name]) for name in wanted[1])


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    "way", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))], ids=["copy", "pickle"]
)
def test_a_copy_is_patched_and_lives_by_itself(family: str, way: Any) -> None:
    model, ids = random_model(family), random_ids()
    patch(model)
    other = way(model)
    assert classes(other) == classes(model)
    unpatch(model)
    wanted, found = step(model, input_ids=ids, labels=ids), step(other, input_ids=ids, labels=ids)
    assert_near(found, wanted, NEAR)
    assert is_patched(other) and other.config._attn_implementation == "pylm_kernels"
    with torch.no_grad():
        other.get_input_embeddings().weight.mul_(2)
    assert torch.equal(step(model, input_ids=ids, labels=ids)[0], wanted[0])


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_saved_is_what_an_unpatched_model_saves(family: str, tmp_path: Path) -> None:
    model, ids = random_model(family), random_ids()
    model.save_pretrained(tmp_path / "plain")
    patch(model)
    model.save_pretrained(tmp_path / "patched")
    for name in ("config.json", "model.safetensors", "generation_config.json"):
        assert (tmp_path / "plain" / name).read_bytes() == (tmp_path / "patched" / name).read_bytes()
    loaded = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "patched")
    assert not is_patched(loaded)
    torch.testing.assert_close(loaded(ids).logits, model.eval()(ids).logits)


def test_a_replica_computes_what_its_model_does() -> None:
    model, ids = random_model("llama"), random_ids()
    patch(model)
    replica = model._replicate_for_data_parallel()  # as DataParallel makes one for each device
    assert torch.equal(replica(ids, labels=ids).loss, model(ids, labels=ids).loss)


def test_a_model_on_the_meta_device() -> None:
    with torch.device("meta"):
        model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**DECODER))
    assert {row.device for row in patch(model)} == {"meta"}
    assert model.train()(torch.zeros(1, 4, dtype=torch.long, device="meta"), labels=None).logits.shape == (1, 4, 61)
    model, real = model.to_empty(device="cpu"), random_model("llama")
    model.load_state_dict(real.state_dict())
    model.model.rotary_emb.load_state_dict(real.model.rotary_emb.state_dict())
    for name in ("inv_freq", "original_inv_freq"):
        setattr(model.model.rotary_emb, name, getattr(real.model.rotary_emb, name))
    ids = random_ids()
    torch.testing.assert_close(model.train()(ids, labels=ids).loss, real(ids, labels=ids).loss)


HEADS = [
    ("Llama", "SequenceClassification"), ("Llama", "TokenClassification"), ("Llama", "QuestionAnswering"),
    ("Qwen3", "SequenceClassification"), ("Qwen3", "TokenClassification"), ("Qwen3", "QuestionAnswering"),
    ("GPT2", "SequenceClassification"), ("GPT2", "TokenClassification"), ("GPT2", "QuestionAnswering"),
]  # fmt: skip


@pytest.mark.parametrize("family, head", HEADS)
def test_other_heads_keep_their_loss(family: str, head: str) -> None:
    settings = random_model(family.lower()).config
    settings.num_labels = 3
    model = getattr(transformers, f"{family}For{head}")(settings)
    model.eval()  # their heads have dropout of their own
    labels = {
        "SequenceClassification": {"labels": torch.tensor([0, 2])},
        "TokenClassification": {"labels": random_ids() % 3},
        "QuestionAnswering": {"start_positions": torch.tensor([1, 2]), "end_positions": torch.tensor([3, 4])},
    }[head]
    inputs = {"input_ids": random_ids(), "attention_mask": torch.ones(2, 12, dtype=torch.long), **labels}
    ours = twin(model)
    rows = [row.operation for row in patch(ours)]
    assert "linear_cross_entropy" not in rows and "rope_attention" in rows and is_patched(ours)
    assert_near(step(ours, **inputs), step(model, **inputs), NEAR)


def test_the_body_alone() -> None:
    model, ids = random_model("llama").model, random_ids()
    ours = twin(model)
    assert [row.operation for row in patch(ours)] == ["swiglu", "rms_norm", "rope_attention"]
    torch.testing.assert_close(ours(ids).last_hidden_state, model(ids).last_hidden_state)


def test_wrappers_of_other_libraries_may_come_later() -> None:
    model, ids = random_model("llama"), random_ids()
    wanted = step(model, input_ids=ids, labels=ids)
    patch(model)

    class Adapter(nn.Module):
        def __init__(self, base: nn.Module) -> None:
            super().__init__()
            self.base = base

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.base(x) + 1

    query = model.model.layers[0].self_attn.q_proj
    model.model.layers[0].self_attn.q_proj = Adapter(query)
    model.lm_head = Adapter(model.lm_head)
    outputs = model(ids, labels=ids)
    assert outputs.logits is not None and outputs.loss != wanted[0]
    wrapped = nn.Sequential(model)
    unpatch(wrapped)
    assert not is_patched(model)


# refusals


def refusal(model: Any, **options: bool) -> str:
    """The sentence, after which nothing has changed."""
    before = classes(model)
    with pytest.raises(ValueError) as error:
        patch(model, **options)
    assert classes(model) == before
    return str(error.value)


def test_wrappers_are_told_what_to_hand_over() -> None:
    model = random_model("llama")

    class PeftModel(nn.Module):
        def get_base_model(self) -> nn.Module:
            return model

    compiled = torch.compile(model, backend="eager")
    assert refusal(compiled) == "patch: OptimizedModule wraps the model; patch(model._orig_mod) takes what is inside"
    parallel = nn.DataParallel(model)
    assert refusal(parallel) == "patch: DataParallel wraps the model; patch(model.module) takes what is inside"
    assert (
        refusal(PeftModel()) == "patch: PeftModel wraps the model; patch(model.get_base_model()) takes what is inside"
    )
    assert len(patch(PeftModel().get_base_model())) == len(patch(parallel.module)) == 4


def test_classes_that_are_not_known() -> None:
    assert refusal(nn.Linear(2, 2)).startswith("patch: Linear is not known; these classes of transformers are: GPT2D")

    class Mine(transformers.LlamaForCausalLM):
        def forward(self, *args: Any, **kwargs: Any) -> Any:
            return super().forward(*args, **kwargs)

    class Body(transformers.LlamaModel):
        pass

    config = transformers.LlamaConfig(**DECODER)
    hint = "is a class of its own, whose forward is not known here"
    assert refusal(Mine(config)) == f"patch: Mine {hint}; patch(model.model) takes the body alone"
    assert refusal(Body(config)) == f"patch: Body {hint}"
    assert len(patch(Mine(config).model)) == 3


@pytest.mark.parametrize("implementation", ["eager", "flex_attention"])
def test_attention_of_another_kind(implementation: str) -> None:
    model = random_model("llama", attn_implementation=implementation)
    assert refusal(model) == (
        f"patch: attention is {implementation!r}, and only 'sdpa' is replaced; load the model with"
        " attn_implementation='sdpa', or leave its attention as it is with patch(model, attention=False)"
    )


def test_eager_attention_is_left_with_its_weights() -> None:
    model, ids = random_model("llama", attn_implementation="eager"), random_ids()
    ours = twin(model)
    patch(ours, attention=False)
    found, wanted = (one(ids, labels=ids, output_attentions=True) for one in (ours, model))
    torch.testing.assert_close(found.attentions, wanted.attentions)
    torch.testing.assert_close(found.loss, wanted.loss)
    assert len(found.attentions) == 2


def test_heads_that_are_more_than_their_weight() -> None:
    sentence = (
        "patch: lm_head has a bias, an adapter or a hook, and the loss would pass it by;"
        " leave the loss as it is with patch(model, loss=False)"
    )
    model = random_model("llama")
    model.lm_head.register_forward_pre_hook(lambda module, args: None)
    assert refusal(model) == sentence
    model = random_model("gpt2")
    model.lm_head = nn.Linear(32, 61)
    assert refusal(model) == sentence
    assert len(patch(model, loss=False)) == 3


def test_modules_with_a_forward_of_their_own() -> None:
    model = random_model("llama")
    norm = model.model.layers[1].input_layernorm
    norm.forward = norm.forward  # as accelerate's hooks and other patches set one
    assert refusal(model) == (
        "patch: a LlamaRMSNorm has a forward of its own, set by another patch or a hook; patch before that"
    )
    assert len(patch(model, norms=False)) == 3


def test_classes_that_were_wrapped_since() -> None:
    model = random_model("llama")
    patch(model)
    norm, original = model.model.norm, type(model.model.norm)
    norm.__class__ = type("FSDPNorm", (original,), {})  # as fully_shard makes them
    with pytest.raises(ValueError, match="^unpatch: model.norm has become a FSDPNorm since; undo that first$"):
        unpatch(model)
    assert is_patched(model)
    norm.__class__ = original
    unpatch(model)
    assert not is_patched(model)


def test_versions_that_are_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    model = random_model("llama")
    # transformers puts another module in its place when it is first used
    monkeypatch.setattr(sys.modules["transformers"], "__version__", "4.57.1")
    assert refusal(model) == ("patch: knows transformers 5.24, and this is 4.57.1: pip install 'transformers==5.24.*'")


def test_without_transformers_there_is_one_sentence() -> None:
    program = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "transformers":
            raise ModuleNotFoundError("No module named 'transformers'", name="transformers")
sys.meta_path.insert(0, Absent())
import torch, pylm_kernels
try: pylm_kernels.patch(torch.nn.Linear(2, 2))
except ValueError as error: print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    sentence = "patch: takes models of transformers, which is not installed: pip install 'transformers==5.24.*'"
    assert done.stdout.strip() == sentence, done.stderr


def test_the_example_trains(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pylm", None)  # as where only pylm_kernels is installed
    example = runpy.run_path(str(Path(__file__).parents[2] / "examples" / "kernels_in_your_model.py"))
    example["main"]()
    said = capsys.readouterr().out
    losses = [float(loss) for loss in re.findall(r"loss (\S+)", said)]
    assert losses[0] > 3.5 and losses[-1] < 1.0 and "counts on:" in said
