"""`pylm.finetune`: what begins how, what stays, what is derived, and that it goes on as the run that it is."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pylm
from pylm.checkpoint import read_tensors
from pylm.cli import run as command
from pylm.config.cascade import Setting, resolve
from pylm.errors import Interrupted, PylmError
from pylm.finetuning.base import open_base
from pylm.finetuning.derived import derived
from pylm.finetuning.events import Derived, Grown, Prepared
from pylm.tokenizer import Tokenizer
from pylm.tokenizer.chat import CHATML
from pylm.training import events
from pylm.training.init_from import with_shape
from pylm.training.request import Request
from pylm.training.words import said as words
from pylm.wording import in_options
from tests.finetuning.conftest import PEAK, SETTINGS, conversations, write_rows

# a micro-batch that is given is not measured
SHORT: Any = {**SETTINGS, "max_steps": 6, "save_every": 2, "sample_every": None, "micro_batch": 1}
pytestmark = pytest.mark.usefixtures("here")


def tuned(out: str, dataset: str = "chat.jsonl", **keys: Any) -> tuple[Any, list[Any]]:
    heard: list[Any] = []
    keys = {"checkpoint": "runs/base", **SHORT, **keys}
    return pylm.finetune(keys.pop("checkpoint"), dataset=dataset, out=out, on_event=heard.append, **keys), heard


def tables(run: str, step: int | None = None) -> dict[str, np.ndarray]:
    path = max(Path(run, "checkpoints").glob("step_*"), key=lambda one: int(one.name[5:]))
    path = path if step is None else path.with_name(f"step_{step}")
    tensors = read_tensors(path / "model.safetensors")
    return {name: np.frombuffer(one.data, np.float32).reshape(one.shape) for name, one in tensors.items()}


def files(run: str, step: int = 6) -> list[bytes]:
    folder = Path(run, f"checkpoints/step_{step}")
    return [(folder / f"{name}.safetensors").read_bytes() for name in ("model", "optimizer")]


def event(heard: list[Any], kind: type) -> Any:
    (found,) = [one for one in heard if isinstance(one, kind)]
    return found


def test_the_function_and_the_command_make_one_run() -> None:
    short = {**SHORT, "max_steps": 2}
    tuned("runs/called", **short)
    words = [f"--{key.replace('_', '-')}={'null' if value is None else value}" for key, value in short.items()]
    asked = ["finetune", "--checkpoint", "runs/base", "--dataset", "chat.jsonl", "--out", "runs/typed", *words]
    assert command(asked) == 0
    assert files("runs/called", 2) == files("runs/typed", 2)
    assert Path("runs/called/config.yaml").read_text() == Path("runs/typed/config.yaml").read_text()


def derived_of(method: str, optimizer: str, tuned_by: str | None) -> Derived:
    """What is derived of a base that was trained otherwise than ours."""
    base = open_base("runs/base")
    assert base.train is not None
    base = replace(base, train=base.train.model_copy(update={"optimizer": optimizer}), tuned_by=tuned_by)
    return derived(resolve(settings=[Setting("finetune.method", method, "test")], environ={}), base, 60)[1]


def test_a_step_that_nobody_gave_is_shared_evenly() -> None:
    base, given = open_base("runs/base"), resolve(settings=[], environ={})
    context = base.context_length(given)
    for processes in (1, 2, 3, 4):
        steps = {
            derived(given, base, windows, processes)[0]["train.batch_tokens"] // context for windows in range(1, 400, 7)
        }
        assert all(sequences % processes == 0 for sequences in steps), processes
        assert processes == 1 or len(steps) > 1


def test_new_tokens_begin_at_the_mean_and_the_template_is_stored() -> None:
    write_rows("new.jsonl", conversations(120, seed=4))
    run, heard = tuned("runs/mean", "new.jsonl", learning_rate=1e-12, weight_decay=0.0, max_steps=1)
    before, after = tables("runs/base"), tables("runs/mean")
    mean = before["embed.weight"].astype(np.float64).mean(0)
    assert after["embed.weight"].shape == (302, 16)
    np.testing.assert_allclose(after["embed.weight"][300:], [mean, mean], atol=1e-8)
    for name, tensor in before.items():
        np.testing.assert_allclose(after[name][: len(tensor)], tensor, atol=1e-8)
    grew = event(heard, Grown)
    assert (grew.tokens, grew.vocab_size, grew.padding) == (("<|im_start|>", "<|im_end|>"), 302, 0)
    tokenizer = Tokenizer.load(run.checkpoint().path)
    assert tokenizer.chat_template == CHATML and tokenizer.specials["<|im_end|>"] == 301
    assert run.config.finetune.template == "chatml"
    assert event(heard, Prepared).counts["examples"] == 120


def test_frozen_parts_are_bitwise_the_bases_and_new_rows_move_all_the_same() -> None:
    tuned("runs/frozen", freeze="embeddings,layers:0")
    before, after = tables("runs/base"), tables("runs/frozen")
    for name, tensor in before.items():
        frozen = name == "embed.weight" or name.startswith("blocks.0.")
        assert (after[name][: len(tensor)] == tensor).all() == frozen, name
    mean = before["embed.weight"].mean(0)
    assert (np.abs(after["embed.weight"][300:] - mean).max(1) > 1e-4).all()
    moments = read_tensors(Path("runs/frozen/checkpoints/step_6/optimizer.safetensors"))
    assert not any("blocks.0." in name for name in moments)
    assert moments["first.embed.weight"].shape == (2, 16)


def test_rate_batch_and_length_are_derived_from_the_base_and_said() -> None:
    write_rows("few.jsonl", conversations(40))
    run, heard = tuned("runs/derived", "few.jsonl", max_steps=None, save_every=None)
    said = event(heard, Derived)
    assert said.learning_rate == pytest.approx(0.2 * PEAK) and (said.peak, said.factor) == (PEAK, pytest.approx(0.2))
    assert "0.2 of the 0.01 at which runs/base/checkpoints/step_20 was trained" in said.text
    config = run.config
    assert (config.train.schedule, config.train.min_lr_ratio, config.train.max_epochs) == ("linear", 0.0, 2.0)
    started = event(heard, events.Started)
    assert started.batches.tokens == said.batch_tokens == 64  # of so few windows: a sequence a step
    assert in_options(words(event(heard, events.Ended))[-1]) == "pylm chat --checkpoint runs/derived"
    assert started.length.steps == 2 * started.windows and config.data.window == "packed"
    assert [record["lr"] for record in run.metrics() if "lr" in record][-1] < 0.05 * said.learning_rate
    again, heard = tuned("runs/again", "few.jsonl", checkpoint="runs/derived", max_steps=1)
    assert event(heard, Derived).learning_rate == pytest.approx(0.2 * PEAK), "it was a rate of tuning already"
    assert not [one for one in heard if isinstance(one, Grown)], "its tokenizer has the tokens by now"
    for optimizer, rate in (("adamw", 10 * 0.2 * PEAK), ("muon", 1e-3)):
        assert derived_of("lora", optimizer, None).learning_rate == pytest.approx(rate)
    assert derived_of("full", "adamw", "lora").learning_rate == pytest.approx(PEAK / 10)
    assert derived_of("lora", "adamw", "lora").learning_rate == pytest.approx(PEAK)
    assert derived_of("lora", "adamw", "full").learning_rate == pytest.approx(10 * PEAK)
    four = resolve(settings=[Setting("train.micro_batch", 4, "test")], environ={})
    values, said = derived(four, open_base("runs/base"), 60)
    assert values["train.batch_tokens"] == said.batch_tokens == 4 * 64 and "256 tokens a step" in said.text
    two = resolve(settings=[Setting("train.batch_tokens", 2 * 64, "test")], environ={})
    assert derived(two, open_base("runs/base"), 60)[0]["train.eval_every"] == 60 // 2 // 2, "of a batch that is given"
    _, heard = tuned("runs/given", "few.jsonl", learning_rate=3e-4, batch_tokens=128, max_steps=1)
    assert event(heard, Derived).factor == pytest.approx(0.03) and event(heard, events.Started).batches.tokens == 128


def test_a_base_of_the_hub_is_fetched_as_a_checkpoint_that_writes_is(monkeypatch: pytest.MonkeyPatch) -> None:
    here = pylm.Run("runs/base").checkpoint().path
    monkeypatch.setattr("pylm.data.getting.models.model_folder", lambda name: {"hub:some/model": here}[name])
    assert open_base("hub:some/model").path == here
    request = Request(init_from="hub:some/model")
    shape = with_shape(request.configuration().resolve(), request).config.model
    assert (shape.n_layers, shape.d_model) == (2, 16)


def test_a_run_is_no_text() -> None:
    with pytest.raises(PylmError, match="runs/base is the folder of a run, and no text") as error:
        pylm.train("runs/base", out="runs/none")
    assert error.value.hint == 'to go on with it: out="runs/base", resume="auto"' and not Path("runs/none").exists()


def test_examples_are_kept_and_another_template_makes_others() -> None:
    first = event(tuned("runs/one", max_steps=1)[1], events.Started), set(Path("data").iterdir())
    _, heard = tuned("runs/two", max_steps=1)
    assert set(Path("data").iterdir()) == first[1]
    tuned("runs/three", max_steps=1, template="plain")
    assert len(set(Path("data").iterdir()) - first[1]) == 1


def test_a_file_that_was_edited_is_read_anew() -> None:
    write_rows("edited.jsonl", conversations(40))
    tuned("runs/edited", max_steps=1, dataset="edited.jsonl")
    write_rows("edited.jsonl", conversations(40, seed=4))
    tuned("runs/edited-again", max_steps=1, dataset="edited.jsonl")
    assert len(list(Path("data").glob("edited-*"))) == 2


def test_one_that_was_stopped_goes_on_as_the_uninterrupted_one() -> None:
    whole, _ = tuned("runs/whole", freeze="embeddings")

    def stop(one: Any) -> None:
        if isinstance(one, events.Saved) and one.step == 2:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted):
        pylm.finetune(
            "runs/base", dataset="chat.jsonl", out="runs/stopped", on_event=stop, freeze="embeddings", **SHORT
        )
    pylm.finetune(out="runs/stopped", resume="auto", on_event=lambda one: None)
    assert files("runs/stopped") == files("runs/whole")
    # killed before its first checkpoint: the same call again, with and without the names of what it began with
    for named in ({"checkpoint": "runs/base", "dataset": "chat.jsonl"}, {"checkpoint": None, "dataset": None}):
        shutil.rmtree("runs/killed", ignore_errors=True)
        shutil.copytree("runs/whole", "runs/killed")
        shutil.rmtree("runs/killed/checkpoints")
        pylm.finetune(
            named["checkpoint"], dataset=named["dataset"], out="runs/killed", resume="auto",
            on_event=lambda one: None, **({**SHORT, "freeze": "embeddings"} if named["dataset"] else {}),
        )  # fmt: skip
        assert files("runs/killed") == files("runs/whole")


def test_padding_rows_take_new_tokens_and_others_go(tmp_path: Path) -> None:
    """A folder of Hugging Face's layout whose table has more rows than its tokenizer has tokens."""
    from pylm.checkpoint import Tensor, open_weights, write_tensors
    from pylm.model import names

    base = pylm.Run("runs/base").checkpoint().path
    shape, weights = names.read(open_weights(base))
    table = np.frombuffer(weights["embed.weight"].data, np.float32).reshape(300, 16)
    padded = np.concatenate([table, np.full((84, 16), 7, np.float32)])
    weights["embed.weight"] = Tensor.of("F32", padded.shape, padded.reshape(-1))
    tensors, config = names.to_hugging_face(weights, shape.model_copy(update={"vocab_size": 384}))
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    write_tensors(theirs / "model.safetensors", tensors)  # type: ignore[arg-type]
    (theirs / "config.json").write_text(json.dumps(config))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(base / name, theirs / name)
    _, heard = tuned("runs/padded", checkpoint=str(theirs), learning_rate=1e-12, weight_decay=0.0, max_steps=1)
    grew = event(heard, Grown)
    assert grew.padding == 2 and "takes rows that were padding" in grew.text
    after = tables("runs/padded")["embed.weight"]
    assert after.shape == (302, 16) and np.abs(after).max() < 5
    np.testing.assert_allclose(after[300:], [table.mean(0)] * 2, atol=1e-6)
    _, heard = tuned("runs/unknown", checkpoint=str(theirs), max_steps=1)
    assert event(heard, Derived).learning_rate == 1e-4 and event(heard, Derived).peak is None


def test_samples_answer_what_held_out_examples_ask() -> None:
    run, _ = tuned("runs/samples", sample_every=6, sample={"max_tokens": 5})
    asked = [sample["prompt"] for sample in run.samples()]
    assert len(asked) == 2 and all(prompt.startswith("<|im_start|>user\nsay ") for prompt in asked)
    assert all(prompt.endswith("<|im_end|>\n<|im_start|>assistant\n") for prompt in asked)


def test_what_is_written_with_it_is_an_answer_by_its_template() -> None:
    from pylm.generation.load import open_session

    tuned("runs/speaks", max_steps=1)
    session = open_session("runs/speaks")
    template = session.tokenizer.apply_chat_template(
        [{"role": "user", "content": "say red cat"}], add_generation_prompt=True
    )
    assert session.encode("say red cat") == template and session.encode([5, 6]) == [5, 6]
    assert session.tokenizer.specials["<|im_end|>"] in session._ends
    tuned("runs/plainly", "pairs.jsonl", max_steps=1)
    plain = open_session("runs/plainly")
    assert plain.encode("say red ->") == plain.tokenizer.encode("say red ->")


def says(**keys: Any) -> str:
    with pytest.raises(PylmError) as raised:
        tuned("runs/never", **keys)
    assert not Path("runs/never").exists()
    return f"{raised.value}\n{raised.value.hint}"


def test_bad_input_is_one_sentence_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "holds no checkpoint" in says(checkpoint=str(tmp_path / "empty"))
    bare = tmp_path / "bare"
    bare.mkdir()
    for name in ("model.safetensors", "config.yaml"):
        shutil.copy(pylm.Run("runs/base").checkpoint().path / name, bare / name)
    assert "carries no tokenizer" in says(checkpoint=str(bare))
    assert "nothing to tune on was named" in says(dataset=None)
    assert "such part" in says(freeze="tail")
    assert "is of adapters, and none is trained" in says(lora_rank=4)
    assert "is of pairs of answers, and none are learned from" in says(dpo_beta=0.2)
    assert "is of training, and this is tuned on examples\ndataset= names examples" in says(path="data/s")
    assert "holds text as tokens, and no examples" in says(dataset="data/s")
    assert "no name\nwrite its rows to a .jsonl" in says(dataset=[{"prompt": "a", "completion": "b"}])
    with pytest.raises(PylmError, match="freeze= is of pylm finetune"):
        pylm.train("s.txt", out="runs/never", freeze="embeddings", on_event=lambda one: None)  # type: ignore[call-arg]


def test_another_dataset_or_base_than_it_began_with_is_refused() -> None:
    tuned("runs/fixed", max_steps=2)
    for keys, said in (
        ({"dataset": "pairs.jsonl"}, "finetune.dataset pairs.jsonl"),
        ({"checkpoint": "runs/fixed"}, "checkpoint= runs/fixed/checkpoints/step_2 is not what runs/fixed was started"),
        ({"freeze": "norms"}, "finetune.freeze"),
    ):
        with pytest.raises(PylmError, match=said):
            tuned("runs/fixed", resume="auto", **{"max_steps": 4, **keys})
    with pytest.raises(PylmError, match="runs/base was trained, and not tuned"):
        tuned("runs/base", resume="auto")


def test_a_prepared_folder_is_taken_as_it_is_and_one_of_another_tokenizer_refused() -> None:
    from pylm.data import chat

    base = Tokenizer.load(pylm.Run("runs/base").checkpoint().path)
    chat.prepare("pairs.jsonl", base, "data/mine", context_length=64)
    _, heard = tuned("runs/mine", "data/mine", max_steps=1)
    assert not [one for one in heard if isinstance(one, Prepared)]
    write_rows("more.jsonl", conversations(30))
    chat.prepare("pairs.jsonl", Tokenizer.train("s.txt", 280), "data/theirs", context_length=64)
    assert "data/theirs is of the tokenizer" in says(dataset="data/theirs")
