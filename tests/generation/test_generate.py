"""`pylm.generate` and the face of the package: what a notebook shows, completes and says of an error."""

from __future__ import annotations

import inspect
import subprocess
import sys
import traceback
from importlib.metadata import version
from pathlib import Path

import pytest

import pylm
from pylm.checkpoint import open_weights
from pylm.config.schema import Sample
from pylm.errors import CheckpointError, UsageError
from pylm.generation import Session, Written, load
from pylm.generation.keywords import SampleKeywords
from pylm.generation.native_engine import NativeEngine
from pylm.generation.torch_engine import TorchEngine
from pylm.model.names import read
from pylm.model.torch import Model
from pylm.tokenizer import Tokenizer
from tests.generation.small import small_model, small_tokenizer, write_run


@pytest.fixture
def session(model: Model, tokenizer: Tokenizer) -> Session:
    return Session(TorchEngine(model), tokenizer, name="runs/x")


def write(session: Session, *args: object, **keywords: object) -> Written:
    return pylm.generate(session, *args, max_tokens=9, seed=5, **keywords)  # type: ignore[arg-type]


def test_the_text_is_that_of_the_pieces(session: Session) -> None:
    pieces = "".join(piece.text for piece in write(session, "The cat"))
    assert write(session, "The cat").text() == pieces and pieces
    begun = write(session, "The cat")
    next(begun), next(begun)
    assert begun.text() == pieces == begun.text() and list(begun) == []
    several = write(session, ["The cat", "on"], n=2).texts()
    assert len(several) == 4 and several[0] == pieces
    with pytest.raises(UsageError, match="4 texts were asked for") as caught:
        write(session, ["The cat", "on"], n=2).text()
    assert "texts()" in str(caught.value.hint)


def test_it_says_how_far_it_is_and_makes_nothing_for_that(session: Session) -> None:
    made = write(session, "The cat")
    assert (
        repr(made)
        == repr(made)
        == ("<Written not begun: 1 text, 0 tokens; torch, cpu, float32; iterate over it, or .text()>")
    )
    text = made.text()
    assert repr(made).startswith(f"<Written done: 1 text, 9 tokens, {text!r}; ")
    assert ".texts()>" in repr(write(session, ["a", "b"]))
    assert repr(session) == "<Session runs/x: torch, cpu, float32>"


def test_it_ends_early_and_leaves_the_session_usable(session: Session) -> None:
    with write(session, "The cat") as made:
        next(made)
    assert list(made) == [] and repr(made).startswith("<Written closed: 1 text, 1 tokens")
    assert session._spare is not None  # what was read serves the next text
    assert write(session, "The cat").text()


def test_what_there_is_shows_on_tab() -> None:
    program = "import pylm, sys; print(dir(pylm), dir(pylm.data), [m for m in ('numpy', 'torch') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    shown = f"{sorted(pylm.__all__)} {sorted(pylm.data.__all__)} []"
    assert done.stdout.strip() == shown and "Loader" in shown and "annotations" not in shown
    assert pylm.__version__ == version("pylm")
    for name in pylm.__all__:
        assert getattr(pylm, name)


def test_every_setting_is_a_keyword_with_its_default() -> None:
    assert set(SampleKeywords.__annotations__) == set(Sample.model_fields)
    shown = inspect.signature(pylm.generate).parameters
    for key, field in Sample.model_fields.items():
        assert shown[key].default == field.default
    assert "preset" in shown and "settings" not in shown


def test_an_error_keeps_its_hint_where_only_the_exception_is_shown() -> None:
    error = UsageError("a is wrong", "do b")
    shown = "".join(traceback.format_exception(error)) if hasattr(error, "add_note") else str(error)
    assert "a is wrong" in shown and "hint: do b" in shown
    assert str(UsageError("a is wrong")) == "a is wrong"


class Old(UsageError):
    """As with Python 3.10."""

    add_note = property()  # type: ignore[assignment]


def test_before_python_3_11_the_sentence_has_the_hint() -> None:
    assert str(Old("a is wrong", "do b")) == "a is wrong\nhint: do b"


def test_open_weights_takes_names_paths_and_runs(tmp_path: Path, model: Model, tokenizer: Tokenizer) -> None:
    step = write_run(tmp_path / "runs" / "x", model, tokenizer)
    for named in (step, str(step), tmp_path / "runs" / "x", str(tmp_path / "runs" / "x"), f"{tmp_path}/runs/x/step_5"):
        assert open_weights(named).path == step
    with pytest.raises(CheckpointError, match="no checkpoint at nope"):
        open_weights("nope")


def test_auto_asks_torch_only_where_it_may_find_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load.sys, "platform", "linux")
    monkeypatch.setattr(load, "DEVICES", tmp_path)
    built = tmp_path / "torch" / "lib"
    built.mkdir(parents=True)

    class Spec:
        submodule_search_locations = [str(tmp_path / "torch")]

    spec: list[type[Spec] | None] = [Spec]
    monkeypatch.setattr(load.importlib.util, "find_spec", lambda name: spec[0])
    (tmp_path / "nvidia1").touch()
    assert not load._may_use_gpu()  # a torch for CPUs
    (built / "libtorch_cuda.so").touch()
    assert load._may_use_gpu()
    (tmp_path / "nvidia1").unlink()
    (tmp_path / "nvidiactl").touch()
    assert not load._may_use_gpu()
    (tmp_path / "kfd").touch()
    assert load._may_use_gpu()
    spec[0] = None
    assert not load._may_use_gpu()


def test_auto_is_the_native_engine_where_torch_finds_no_gpu_after_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = small_tokenizer()
    write_run(tmp_path / "runs" / "x", small_model(tokenizer.vocab_size), tokenizer)
    monkeypatch.setenv("PYLM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(load, "_may_use_gpu", lambda: True)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert "C++ engine" in load.open_session(str(tmp_path / "runs" / "x")).engine.name


def test_the_engine_names_the_threads_that_it_takes(
    tmp_path: Path, model: Model, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    shape, weights = read(open_weights(write_run(tmp_path / "x", model, tokenizer)))
    monkeypatch.delattr("os.sched_getaffinity")
    monkeypatch.setattr("os.cpu_count", lambda: 6)
    assert NativeEngine(shape, weights).name.endswith("6 threads")
