"""`pylm sample` and `pylm chat`: what they write, what an interruption leaves, what they say of bad input."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

import pylm
from pylm.cli import run
from pylm.config.sampling import PRESETS
from pylm.generation.torch_engine import TorchEngine
from pylm.tokenizer import Tokenizer
from pylm.tokenizer.chat import CHAT_SPECIALS, CHATML
from tests.generation.small import CONTEXT, small_model, small_tokenizer, write_run
from tests.support.alone import stand_alone

Given = Callable[..., tuple[str, str]]
WORDS = ["--backend", "torch", "--max-tokens", "12", "--seed", "3"]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_alone(tmp_path, monkeypatch)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    tokenizer = small_tokenizer()
    return write_run(tmp_path / "runs" / "x", small_model(tokenizer.vocab_size), tokenizer)


@pytest.fixture
def talker(tmp_path: Path) -> Path:
    tokenizer = small_tokenizer(*CHAT_SPECIALS)
    tokenizer.chat_template = CHATML
    model = small_model(tokenizer.vocab_size, context_length=160)
    return write_run(tmp_path / "runs" / "talker", model, tokenizer)


@pytest.fixture
def pylm_(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Given:
    """Runs a command line; returns stdout and stderr."""

    def given(*args: object, code: int = 0, stdin: str = "") -> tuple[str, str]:
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        got = run([str(arg) for arg in args])
        out, err = capsys.readouterr()
        assert got == code, err
        assert "Traceback" not in err
        return out, err

    return given


def sample(pylm_: Given, *args: object, **keywords: Any) -> tuple[str, str]:
    return pylm_("sample", *WORDS, *args, **keywords)


def written(prompt: str, **settings: Any) -> str:
    settings = {"backend": "torch", "max_tokens": 12, "seed": 3, **settings}
    return "".join(piece.text for piece in pylm.generate("runs/x", prompt, **settings))


def test_the_text_is_that_of_generate(pylm_: Given, checkpoint: Path) -> None:
    out, err = sample(pylm_, "--prompt", "The cat")
    assert out == written("The cat") + "\n"
    assert "step_5: torch" in err and "12 tokens" in err and "seed 3" in err
    assert sample(pylm_, "--prompt", "The cat", "--no-cache", "--speculate")[0] == out
    assert sample(pylm_, "--prompt", "The cat", "--return-prompt")[0] == "The cat" + out
    assert sample(pylm_, "--checkpoint", checkpoint, "--prompt", "The cat")[0] == out
    assert sample(pylm_)[0] == written("") + "\n"


def test_several_prompts_and_samples_come_in_order(pylm_: Given, checkpoint: Path) -> None:
    out, _ = sample(pylm_, "--prompt", "The cat", "--prompt", "on", "--n", 2, "--return-prompt")
    texts = out.removesuffix("\n").split("\n---\n")
    assert [text[:7] for text in texts[:2]] == ["The cat"] * 2 and [text[:2] for text in texts[2:]] == ["on"] * 2
    assert texts[0] == "The cat" + written("The cat") and texts[2] == "on" + written("on")
    assert texts[0] != texts[1]


def test_settings_come_from_the_configuration(pylm_: Given, checkpoint: Path) -> None:
    stop = written("The cat")[5:7]
    Path("mine.yaml").write_text(f"sample:\n  temperature: 0\n  max_tokens: 7\n  stop: [{json.dumps(stop)}]\n")
    words = ["sample", "--backend", "torch", "--config", "mine.yaml", "--prompt", "The cat"]
    out, err = pylm_(*words)
    assert out == written("The cat", temperature=0, max_tokens=7, stop=[stop]) + "\n"
    assert pylm_(*words, "--preset", "creative", "--seed", 3, "--temperature", 0.5)[0] == (
        written("The cat", **{**PRESETS["creative"], "temperature": 0.5}, max_tokens=7, stop=[stop]) + "\n"
    )


def test_stop_strings_typed_more_than_once(pylm_: Given, checkpoint: Path) -> None:
    text = written("The cat")
    out, _ = sample(pylm_, "--prompt", "The cat", "--stop", "never there", "--stop", text[4:6])
    assert out == text[: text.index(text[4:6])] + "\n"


def test_json_holds_what_a_program_needs(pylm_: Given, checkpoint: Path) -> None:
    out, _ = sample(pylm_, "--prompt", "The cat", "--json", "--logprobs", 2, "--temperature", 0)
    got = json.loads(out)
    (made,) = got["samples"]
    assert made["text"] == written("The cat", temperature=0) and made["finish"] == "length" and got["seed"] == 3
    tokenizer = Tokenizer.load(checkpoint)
    assert made["text"].startswith(tokenizer.decode(made["ids"][:1]))
    for token, value, likeliest in zip(made["ids"], made["logprobs"], made["likeliest"], strict=True):
        assert likeliest[0]["id"] == token and likeliest[0]["logprob"] == value > likeliest[1]["logprob"]


def test_prompts_from_a_file_and_texts_to_one(pylm_: Given, checkpoint: Path) -> None:
    Path("prompts.txt").write_text("The cat\n\non\n")
    Path("prompts.jsonl").write_text('{"prompt": "The cat"}\n"on"\n')
    sample(pylm_, "--prompts-file", "prompts.txt", "--output", "made.txt")
    assert Path("made.txt").read_text() == written("The cat") + "\n---\n" + written("on") + "\n"
    out, _ = sample(pylm_, "--prompts-file", "prompts.jsonl", "--output", "made.jsonl", "--logprobs", 0)
    lines = [json.loads(line) for line in Path("made.jsonl").read_text().splitlines()]
    assert out == "" and [line["text"] for line in lines] == [written("The cat"), written("on")]
    assert all(len(line["logprobs"]) == line["tokens"] == 12 for line in lines)
    assert sample(pylm_, "--prompts-file", "-", stdin="on\n")[0] == written("on") + "\n"


def test_the_native_engine_writes_the_same_without_torch(pylm_: Given, checkpoint: Path) -> None:
    words = ["sample", "--max-tokens", "40", "--seed", "3", "--prompt", "The cat", "--device", "cpu"]
    check = "import sys; from pylm.cli import run; sys.exit(run(sys.argv[1:]) or 9 * ('torch' in sys.modules))"
    said = subprocess.run([sys.executable, "-c", check, *words], capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stderr
    assert said.stdout == written("The cat", max_tokens=40) + "\n" and "C++ engine" in said.stderr
    assert pylm_(*words, "--speculate")[0] == said.stdout
    lines = pylm_(*words, "--quantize", "int8", "--threads", "1")[1]
    assert "C++ engine, int8" in lines and "1 thread" in lines


def test_auto_takes_torch_where_the_native_engine_does_not_serve(pylm_: Given, tmp_path: Path) -> None:
    tokenizer = small_tokenizer()
    write_run(tmp_path / "runs" / "x", small_model(tokenizer.vocab_size, residual_lambdas=True), tokenizer)
    assert "torch, cpu" in pylm_("sample", "--device", "cpu", "--max-tokens", "3")[1]
    said = pylm_("sample", "--backend", "native", code=2)[1]
    assert "does not serve" in said and "residual lambdas" in said


class Interrupting(TorchEngine):
    """Somebody presses Ctrl-C while the sixth token is computed."""

    calls = 0

    def decode(self, *args: Any) -> Any:
        type(self).calls += 1
        if self.calls % 6 == 0:
            raise KeyboardInterrupt
        return super().decode(*args)


def test_an_interruption_leaves_what_was_made(pylm_: Given, checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = written("The cat")
    monkeypatch.setattr("pylm.generation.torch_engine.TorchEngine", Interrupting)
    Interrupting.calls = 0
    out, err = sample(pylm_, "--prompt", "The cat", code=130)
    assert 3 < len(out) and whole.startswith(out[:-1]) and "6 tokens" in err
    made = json.loads(sample(pylm_, "--prompt", "The cat", "--json", code=130)[0])["samples"][0]
    assert made["finish"] == "interrupted" and whole.startswith(made["text"]) and made["tokens"] == 6
    sample(pylm_, "--prompt", "The cat", "--prompt", "on", "--output", "made.jsonl", code=130)
    lines = [json.loads(line) for line in Path("made.jsonl").read_text().splitlines()]
    assert [line["finish"] for line in lines] == ["interrupted"] * 2


def test_interactive_answers_a_line_at_a_time(pylm_: Given, checkpoint: Path) -> None:
    lines = "The cat\n\n/set temperature 0\n/set nothing 1\n/set top_p 0\n/set\n/hlp\n/show\non\n/quit\nnever\n"
    out, err = sample(pylm_, "--interactive", stdin=lines)
    assert out == written("The cat") + "\n" + written("on", temperature=0) + "\n"
    assert "no setting nothing" in err and "top_p" in err and "no /hlp (did you mean help?)" in err
    assert "temperature 0.0" in err
    greedy, _ = sample(pylm_, "--interactive", stdin="/set preset greedy\nThe cat\n")
    assert greedy == written("The cat", temperature=0) + "\n"


def test_a_folder_of_hugging_faces_layout(pylm_: Given, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    tokenizer = small_tokenizer()
    config = transformers.GPT2Config(vocab_size=tokenizer.vocab_size, n_embd=32, n_layer=2, n_head=2, n_positions=64)
    torch.manual_seed(1)
    theirs = transformers.GPT2LMHeadModel(config).eval()
    for parameter in theirs.parameters():
        parameter.data.mul_(4)
    theirs.save_pretrained(tmp_path / "hub")
    words = ["--checkpoint", "hub", "--prompt", "The cat", "--temperature", 0, "--json", "--logprobs", 0]
    assert "hub carries no tokenizer" in sample(pylm_, *words, code=1)[1]
    tokenizer.save(tmp_path / "tok")
    (made,) = json.loads(sample(pylm_, *words, "--tokenizer", "tok")[0])["samples"]
    start = torch.tensor([tokenizer.encode("The cat")])
    wanted = theirs.generate(start, max_new_tokens=12, do_sample=False, eos_token_id=None, pad_token_id=0)
    assert made["ids"] == wanted[0, start.shape[1] :].tolist()
    theirs.save_pretrained(tmp_path / "parts", max_shard_size="20KB")
    assert not (tmp_path / "parts" / "model.safetensors").exists()
    words[1] = "parts"
    assert json.loads(sample(pylm_, *words, "--tokenizer", "tok")[0])["samples"][0]["ids"] == made["ids"]
    first = next(pylm.generate(tmp_path / "parts", "The cat", tokenizer="tok", temperature=0))
    assert first.id == made["ids"][0]


@pytest.mark.parametrize(
    ("args", "code", "says"),
    [
        (["--checkpoint", "runs/y"], 1, "no checkpoint at runs/y\nhint: did you mean runs/x"),
        (["--checkpoint", "step_9"], 1, "runs/x has no checkpoint step_9\nhint: it has step_5"),
        (["--tokenizer", "other"], 1, "other is not the tokenizer that"),
        (["--tokenizer", "nowhere"], 1, "there is no tokenizer nowhere"),
        (["--prompt", "b" * (CONTEXT + 1)], 2, f"the prompt has {CONTEXT + 1} tokens, and the model sees {CONTEXT}"),
        (["--top-p", "0"], 2, "sample.top_p (--top-p): 0 is not above 0"),
        (["--temperature", "-1"], 2, "sample.temperature (--temperature): -1 is less than 0"),
        (["--top-k", "261"], 2, "top_k is 261, the vocabulary has 260"),
        (["--n", "0"], 2, "sample.n (--n): 0 is less than 1"),
        (["--prompt", "a", "--prompts-file", "f"], 2, "--prompt and --prompts-file both"),
        (["--prompts-file", "nowhere.txt"], 1, "nowhere.txt: no such file"),
        (["--prompts-file", "empty.txt"], 1, "empty.txt holds no prompt"),
        (["--prompts-file", "bad.jsonl"], 1, "bad.jsonl: line 2 has no prompt"),
        (["--prompts-file", "latin.txt"], 1, "latin.txt is no UTF-8"),
        (["--output", "empty.txt"], 2, "empty.txt is there already"),
        (["--output", "no/where.txt"], 2, "there is no folder no"),
        (["--output", "a.txt", "--json"], 2, "--json and --output both"),
        (["--logprobs", "2"], 2, "--logprobs goes into JSON"),
        (["--logprobs", "-2", "--json"], 2, "--logprobs -2"),
        (["--logprobs", "900", "--json"], 2, "the vocabulary has 260"),
        (["--interactive", "--prompt", "a"], 2, "it takes no --prompt"),
        (["--quantize", "int8"], 2, "--quantize int8 is for the C++ engine"),
        (["--device", "cuda:7"], 2, "there is no cuda:7 here"),
        (["--device", "gpu"], 2, "device is 'gpu'"),
        (["--preset", "creativ"], 2, "creativ"),
        (["--temprature", "1"], 2, "--temprature"),
    ],
)
def test_bad_input_is_one_sentence(pylm_: Given, checkpoint: Path, args: list[str], code: int, says: str) -> None:
    Path("empty.txt").touch()
    Path("bad.jsonl").write_text('{"prompt": "a"}\n{"promt": "a"}\n')
    Path("latin.txt").write_bytes(b"caf\xe9\n")
    small_tokenizer("<|other|>").save("other")
    out, err = sample(pylm_, *args, code=code)
    assert out == "" and says in err and len(err.splitlines()) <= 3, err
    assert not Path("a.txt").exists()


def test_backends_that_cannot_be(pylm_: Given, checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = pylm_("sample", "--backend", "mlx", "--device", "cuda", code=2)[1]
    assert "Apple GPUs and CPUs, not on cuda" in said
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "mlx.core", None)
        said = pylm_("sample", "--backend", "mlx", code=2)[1]
    assert "--backend mlx needs MLX, which cannot be imported here" in said
    assert "pip install ./kernels '.[mlx]', or --backend torch" in said
    if find_spec("mlx"):
        assert "is for the C++ engine" in pylm_("sample", "--backend", "mlx", "--quantize", "int8", code=2)[1]
        assert "MLX always keeps keys" in pylm_("sample", "--backend", "mlx", "--no-cache", code=2)[1]
        assert "leave out --threads" in pylm_("sample", "--backend", "mlx", "--threads", "2", code=2)[1]
    said = pylm_("sample", "--backend", "native", "--device", "cuda", code=2)[1]
    assert "computes on the CPU" in said
    assert "always keeps" in pylm_("sample", "--quantize", "int8", "--no-cache", code=2)[1]


def test_no_run_at_all(pylm_: Given) -> None:
    assert "no run with a checkpoint under runs/" in sample(pylm_, code=1)[1]


def test_a_tokenizer_of_another_size(pylm_: Given, tmp_path: Path) -> None:
    tokenizer = small_tokenizer()
    write_run(tmp_path / "runs" / "x", small_model(tokenizer.vocab_size - 1), tokenizer)
    assert "has 260 ids, the model of" in sample(pylm_, code=1)[1]


def test_a_damaged_checkpoint(pylm_: Given, checkpoint: Path) -> None:
    weights = checkpoint / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-5])
    assert "is damaged" in sample(pylm_, code=1)[1]


def chat(pylm_: Given, *args: object, stdin: str, **keywords: Any) -> tuple[str, str]:
    words = ["chat", "--checkpoint", "runs/talker", *WORDS, *args]
    return pylm_(*words, stdin=stdin, **keywords)


def test_a_conversation_goes_through_the_template(pylm_: Given, talker: Path) -> None:
    out, _ = chat(pylm_, "--system", "Be short.", stdin="Hi\nAnd?\n/save talk.json\n")
    first, second = out.splitlines() if out.count("\n") == 2 else (None, None)
    talk = json.loads(Path("talk.json").read_text())
    assert [part["role"] for part in talk["messages"]] == ["system", *["user", "assistant"] * 2]
    tokenizer = Tokenizer.load(talker)
    ids = tokenizer.apply_chat_template(talk["messages"][:2], add_generation_prompt=True)
    pieces = pylm.generate("runs/talker", ids, backend="torch", max_tokens=12, seed=3)
    assert talk["messages"][2]["content"] == "".join(piece.text for piece in pieces).strip()
    if first is not None and second is not None:
        assert first.strip() == talk["messages"][2]["content"]


def test_a_saved_conversation_goes_on(pylm_: Given, talker: Path) -> None:
    chat(pylm_, "--session", "talk.json", "--preset", "creative", stdin="Hi\n")
    kept = json.loads(Path("talk.json").read_text())
    assert len(kept["messages"]) == 2 and kept["settings"]["temperature"] == PRESETS["creative"]["temperature"]
    chat(pylm_, "--session", "talk.json", stdin="And?\n")
    more = json.loads(Path("talk.json").read_text())["messages"]
    assert more[:2] == kept["messages"] and len(more) == 4
    _, err = chat(pylm_, stdin="/load talk.json\n/reset\n/save none.json\n/save\n/load\n/load nowhere.json\n")
    assert json.loads(Path("none.json").read_text())["messages"] == []
    assert "4 messages loaded" in err and "/save where?" in err and "/load what?" in err and "nowhere.json" in err


@pytest.mark.parametrize("content", ["{", "[]", '{"version": 9, "messages": [], "settings": {}}', '{"version": 1}'])
def test_a_damaged_conversation(pylm_: Given, talker: Path, content: str) -> None:
    Path("talk.json").write_text(content)
    _, err = chat(pylm_, "--session", "talk.json", stdin="Hi\n", code=1)
    assert "talk.json is no conversation" in err
    assert Path("talk.json").read_text() == content


def test_a_long_conversation_forgets_its_oldest_turns_and_says_so_once(pylm_: Given, talker: Path) -> None:
    _, err = chat(pylm_, stdin="how are you today then\n" * 9)
    assert err.count("the oldest turns are no longer seen") == 1
    assert "that makes" in chat(pylm_, stdin="x" * 200 + "\n", code=1)[1]


def test_a_model_that_knows_no_turns(pylm_: Given, checkpoint: Path) -> None:
    words = ["chat", "--backend", "torch", "--max-tokens", "5"]
    assert "has no chat template" in pylm_(*words, code=2)[1]
    Path("plain.jinja").write_text("{% for m in messages %}{{ m['content'] }}{% endfor %}")
    out, _ = pylm_(*words, "--template", "plain.jinja", "--seed", 1, stdin="The cat\n")
    assert out == written("The cat", max_tokens=5, seed=1) + "\n"
    Path("bad.jinja").write_text("{% for %}")
    assert "line 1 of the chat template" in pylm_(*words, "--template", "bad.jinja", code=1)[1]
    assert "a conversation has one answer" in pylm_(*words, "--n", "2", code=2)[1]
