"""`pylm train` on a model of a few thousand parameters: what it writes, that killing it loses nothing, bad input."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers

from pylm.checkpoint import newest_sound, read_tensors, steps, verify
from pylm.cli import run
from pylm.runs import Run, read_lines

SHAPE = ["--n-layers", "1", "--n-heads", "2", "--d-model", "32", "--context-length", "16"]
SMALL = [*SHAPE, "--batch-tokens", "128", "--log-every", "1", "--eval-batches", "2", "--learning-rate", "1e-2"]
VOLATILE = {"seconds", "tokens_per_second", "phase", "mfu", "memory"}
WORDS = "the cat sat on a mat and then it ran to see what was there but there was only an old dog".split()


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A text, its shards, and one run over them that nobody interrupts."""
    folder = tmp_path_factory.mktemp("train")
    chance = random.Random(7)
    documents = [" ".join(chance.choices(WORDS, k=30)) for _ in range(200)]
    (folder / "text.txt").write_text("<|endoftext|>".join(documents), encoding="utf-8")
    (folder / "other.txt").write_text("<|endoftext|>".join(documents[::-1]), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("PYLM_CACHE", str(folder / "cache"))
        common = ["--vocab-size", "280", "--val", "0.1"]
        assert run(["tokenize", "text.txt", *common, "--out", "data"]) == 0
        assert run(["tokenize", "other.txt", "--tokenizer", "data", "--val", "0.1", "--out", "reversed"]) == 0
        assert run(["tokenize", "other.txt", "--vocab-size", "290", "--val", "0.1", "--out", "foreign"]) == 0
        assert run(LONG + ["--out", "whole"]) == 0
    return folder


LONG = ["train", "--data", "data", *SMALL, "--max-steps", "24", "--save-every", "4", "--eval-every", "6"]


@pytest.fixture(autouse=True)
def here(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workplace)
    monkeypatch.setenv("PYLM_CACHE", str(workplace / "cache"))


def metrics(folder: str) -> list[dict[str, Any]]:
    records = read_lines(Path(folder, "metrics.jsonl"))
    return [{key: value for key, value in record.items() if key not in VOLATILE} for record in records]


def samples(folder: str) -> list[dict[str, Any]]:
    """What was said on the way: two prompts at each evaluation, unless anything else was asked."""
    return read_lines(Path(folder, "samples.jsonl"))


def digests(folder: str, step: int) -> list[str]:
    names = ("model.safetensors", "optimizer.safetensors")
    return [hashlib.sha256(Path(folder, f"checkpoints/step_{step}", name).read_bytes()).hexdigest() for name in names]


def refused(capsys: Any, *words: str, code: int) -> str:
    capsys.readouterr()
    assert run(["train", *words]) == code
    out, err = capsys.readouterr()
    assert out == "" and "Traceback" not in err and err.count("error:") == 1
    return err


def test_a_run_leaves_what_it_should(workplace: Path) -> None:
    found = metrics("whole")
    assert [record["step"] for record in found if "loss" in record] == list(range(1, 25))
    evaluated = [record for record in found if "val_loss" in record]
    assert [record["step"] for record in evaluated] == [6, 12, 18, 24]
    assert evaluated[-1]["val_loss"] < evaluated[0]["val_loss"] < np.log(280)
    manifest = json.loads(Path("data/manifest.json").read_text())
    ids = np.fromfile("data/val_00000.bin", np.uint16)  # all of whose windows are one batch
    targets = ids[1 : (len(ids) - 1) // 16 * 16 + 1]
    theirs = tokenizers.Tokenizer.from_file("data/tokenizer.json")
    sizes = sum(len(theirs.id_to_token(one)) for one in targets.tolist() if one != manifest["eot"])
    bits = evaluated[-1]["val_loss"] / np.log(2) * len(targets) / sizes
    assert evaluated[-1]["bits_per_byte_with_eot"] == pytest.approx(bits)
    assert 0.5 * bits < evaluated[-1]["bits_per_byte"] < bits
    assert Run("whole").bits_per_byte == evaluated[-1]["bits_per_byte"]
    assert 0 < evaluated[-1]["accuracy"] < 1
    last = verify(Path("whole/checkpoints/step_24"))
    assert last.state["tokenizer"] == manifest["tokenizer"]
    assert set(last.weights()) == set(read_tensors(last.path / "model.safetensors"))
    assert last.weights()["embed.weight"].shape == (280, 32) and last.weights()["embed.weight"].dtype == "F32"
    assert (last.path / "tokenizer.json").read_text() == Path("data/tokenizer.json").read_text()
    environment = json.loads(Path("whole/environment.json").read_text())
    assert {"threads", "kernels", "precision", "micro_batch", "compile", "torch"} <= environment["choices"].keys()


def test_the_same_command_does_the_same(workplace: Path) -> None:
    assert run(LONG + ["--out", "again"]) == 0
    assert metrics("again") == metrics("whole") and digests("again", 24) == digests("whole", 24)
    assert samples("again") == samples("whole")
    assert [one["step"] for one in samples("whole")] == [6, 6, 12, 12, 18, 18, 24, 24]


KILLED = """
import os, signal, sys
from pylm.cli import run
where, count = sys.argv[1], int(sys.argv[2])
if where == "step":
    from pylm.training import record
    plain = record.watch
    def watch(session, result):
        plain(session, result)
        if session.progress.step == count:
            os.kill(os.getpid(), signal.SIGKILL)
    record.watch = watch
elif where == "write":
    from pylm.checkpoint import directory
    plain, calls = directory.flush_folder, [0]
    def flush(path):
        calls[0] += 1
        if calls[0] == count:
            os.kill(os.getpid(), signal.SIGKILL)
        plain(path)
    directory.flush_folder = flush
sys.exit(run(sys.argv[3:]))
"""


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_killed_at_random_and_resumed_it_is_the_same_run(workplace: Path, precision: str) -> None:
    line = [*LONG, "--precision", precision, "--dropout", "0.1"]
    assert run([*line, "--out", f"whole-{precision}"]) == 0
    chance = random.Random(precision)
    first = chance.randrange(1, 12)
    kills = [("step", first), ("write", chance.randrange(2, 6)), ("step", chance.randrange(13, 24))]
    for where, count in kills:
        command = [sys.executable, "-c", KILLED, where, str(count), *line, "--out", f"killed-{precision}"]
        done = subprocess.run([*command, "--resume", "auto"], capture_output=True, text=True, check=False)
        assert done.returncode == -signal.SIGKILL, done.stderr
    assert run([*line, "--out", f"killed-{precision}", "--resume", "auto"]) == 0
    assert metrics(f"killed-{precision}") == metrics(f"whole-{precision}")
    assert samples(f"killed-{precision}") == samples(f"whole-{precision}")
    assert digests(f"killed-{precision}", 24) == digests(f"whole-{precision}", 24)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 75), (signal.SIGINT, 130)])
def test_a_signal_finishes_the_step_saves_and_says_how_to_go_on(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any, number: int, code: int
) -> None:
    from pylm.training import record

    plain = record.watch

    def watch(session: Any, result: Any) -> None:
        plain(session, result)
        if session.progress.step == 7:
            os.kill(os.getpid(), number)

    out = f"stopped-{code}"
    with monkeypatch.context() as patch:
        patch.setattr(record, "watch", watch)
        assert run(LONG + ["--out", out]) == code
    err = capsys.readouterr().err
    assert "stopped after step 7, saved" in err
    assert steps(Path(out))[-1] == 7
    line = next(line for line in err.splitlines() if line.startswith("pylm train"))
    assert run(line.split()[1:]) == 0
    assert metrics(out) == metrics("whole") and digests(out, 24) == digests("whole", 24)
    assert samples(out) == samples("whole")


def test_a_second_signal_leaves_at_once_with_the_last_checkpoint_sound(workplace: Path) -> None:
    twice = KILLED.replace("signal.SIGKILL", "signal.SIGINT")
    # the thread that writes step 8 may need longer than two steps: the signals come once it has
    wait = "while not last.exists() or last.read_text().strip() != 'step_8': time.sleep(0.01)"
    twice = "import time\nfrom pathlib import Path\nlast = Path('twice/checkpoints/last')" + twice
    twice = twice.replace(
        "os.kill(os.getpid(), signal.SIGINT)",
        f"{wait}\n            [os.kill(os.getpid(), signal.SIGINT) for _ in '12']",
    )
    command = [sys.executable, "-c", twice, "step", "10", *LONG, "--out", "twice"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 130 and "saved" not in done.stderr
    sound = newest_sound(Path("twice"))
    assert sound is not None and sound.name == "step_8"


def test_a_finished_run_says_so_and_a_longer_one_goes_on(workplace: Path, capsys: Any) -> None:
    assert run(LONG + ["--out", "longer"]) == 0
    assert run(["train", "--resume", "auto", "--out", "longer"]) == 0
    assert "longer is finished already" in capsys.readouterr().out
    assert run(["train", "--resume", "auto", "--out", "longer", "--max-steps", "30"]) == 0
    assert [record["step"] for record in metrics("longer") if "loss" in record] == list(range(1, 31))


def test_a_branch_goes_on_in_a_folder_of_its_own(workplace: Path) -> None:
    assert run(["train", "--resume", "whole/step_20", "--out", "branch", "--learning-rate", "2e-2"]) == 0
    rates = [record["lr"] for record in metrics("branch") if "lr" in record]
    assert rates == pytest.approx(
        [2 * record["lr"] for record in metrics("whole") if record.get("lr") and record["step"] > 20]
    )
    assert steps(Path("whole"))[-1] == 24


def test_a_new_run_from_a_checkpoints_weights(workplace: Path) -> None:
    line = ["train", "--init-from", "whole", "--data", "reversed", *SMALL, "--max-steps", "2", "--out", "tuned"]
    assert run(line) == 0
    assert metrics("tuned")[0]["loss"] < metrics("whole")[2]["loss"]
    assert verify(Path("tuned/checkpoints/step_2")).state["step"] == 2


def test_weights_bring_their_shape_where_nobody_gives_one(workplace: Path, capsys: Any) -> None:
    shutil.copytree("whole/checkpoints/step_24", "weights")
    for name in ("manifest.json", "optimizer.safetensors", "state.json"):  # any folder of weights will do
        Path("weights", name).unlink()
    line = ["train", "--init-from", "weights", "--data", "reversed", "--max-steps", "1", "--rope-theta", "5e4"]
    assert run([*line, "--micro-batch", "2", "--out", "shaped"]) == 0
    assert verify(Path("shaped/checkpoints/step_1")).weights()["embed.weight"].shape == (280, 32)
    assert metrics("shaped")[0]["loss"] < metrics("whole")[2]["loss"]
    assert "rope_theta: 50000" in Path("shaped/config.yaml").read_text()
    err = refused(capsys, "--init-from", "weights", "--data", "foreign", "--out", "y", code=1)
    assert "weights speaks the tokenizer" in err


def test_a_folder_of_something_else_is_left_alone(workplace: Path, capsys: Any) -> None:
    mine = Path("mine")
    mine.mkdir()
    for name in ("config.yaml", "metrics.jsonl"):
        (mine / name).write_text("dear: to me\n")
    assert "mine holds config.yaml" in refused(capsys, "--data", "data", *SMALL, "--out", "mine", code=1)
    assert {path.name: path.read_text() for path in mine.iterdir() if path.name[0] != "."} == {
        "config.yaml": "dear: to me\n",
        "metrics.jsonl": "dear: to me\n",
    }


def test_a_run_that_saved_nothing_begins_again_by_its_own_configuration(workplace: Path, capsys: Any) -> None:
    begun = [*LONG, "--max-steps", "3", "--save-every", "null", "--eval-every", "null", "--out", "begun"]
    killed = [sys.executable, "-c", KILLED, "step", "2", *begun]
    assert subprocess.run(killed, capture_output=True, check=False).returncode == -signal.SIGKILL
    assert not steps(Path("begun"))
    assert run(["train", "--resume", "auto", "--out", "begun"]) == 0
    assert verify(Path("begun/checkpoints/step_3")).state["step"] == 3
    assert run([*begun[:-1], "unkilled"]) == 0
    assert metrics("begun") == metrics("unkilled") and digests("begun", 3) == digests("unkilled", 3)


def test_patience_that_ran_out_is_said_and_more_of_it_goes_on(workplace: Path, capsys: Any) -> None:
    line = [*LONG, "--eval-every", "1", "--learning-rate", "1", "--warmup-steps", "0", "--out", "patient"]
    assert run([*line, "--early-stop", "1"]) == 0
    stopped = steps(Path("patient"))[-1]
    assert stopped < 24
    again = ["train", "--resume", "auto", "--out", "patient"]
    for more in ([], ["--max-steps", "30"]):
        assert run([*again, *more]) == 0
        assert "finished already: no new best in 1 evaluations; --early-stop" in capsys.readouterr().out
    assert run([*again, "--early-stop", "null", "--max-steps", str(stopped + 1)]) == 0
    assert steps(Path("patient"))[-1] == stopped + 1
    assert run([*again, "--max-steps", "1"]) == 0
    assert f"it has taken {stopped + 1} steps, and --max-steps is 1" in capsys.readouterr().out


def test_the_last_step_is_logged_and_no_phase_holds_what_was_before_the_first(workplace: Path) -> None:
    assert run([*LONG, "--max-steps", "5", "--log-every", "3", "--eval-every", "null", "--out", "logged"]) == 0
    found = [record for record in read_lines(Path("logged/metrics.jsonl")) if "loss" in record]
    assert [record["step"] for record in found] == [3, 5]
    assert sum(seconds for record in found for seconds in record["phase"].values()) <= found[-1]["seconds"]


def test_a_truncated_checkpoint_is_damage_like_any_other(workplace: Path, capsys: Any) -> None:
    assert run([*LONG, "--max-steps", "8", "--out", "short"]) == 0
    path = Path("short/checkpoints/step_8/model.safetensors")
    path.write_bytes(path.read_bytes()[:-100])
    capsys.readouterr()
    assert run(["verify", "short/step_8"]) == 3
    assert "checkpoints/step_6 is sound" in refused(capsys, "--resume", "short/step_8", "--out", "z", code=1)


def test_text_alone_is_enough(workplace: Path, capsys: Any) -> None:
    chance = random.Random(3)
    words = ["".join(chance.choices("abcdefghijklmnop", k=chance.randrange(2, 9))) for _ in range(3000)]
    Path("text.txt").write_text(" ".join(chance.choices(words, k=20000)))
    assert run(["train", "text.txt", "--max-steps", "2", "--out", "from-text", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["step"] == 2 and answer["val_loss"] > 0 and answer["run"] == "from-text"


def test_a_depth_takes_a_batch_that_its_own_context_divides(workplace: Path, capsys: Any) -> None:
    # 1,792 is seven times the 256 of this depth, and no multiple of the 2,048 that hold where nothing derives them
    line = ["train", "--data", "data", "--depth", "1", "--max-steps", "1", "--batch-tokens"]
    assert run([*line, "1792", "--out", "depth"]) == 0
    assert "1,792 tokens a step" in capsys.readouterr().err
    assert read_lines(Path("depth/metrics.jsonl"))[-1]["tokens"] == 1792
    err = refused(capsys, *line[1:], "1800", "--out", "refused", code=2)
    assert "batch_tokens 1800 is no multiple of context_length 256: the nearest that are: 1792 or 2048" in err


def test_resume_of_nothing_starts_at_step_0(workplace: Path, capsys: Any) -> None:
    line = ["train", "--data", "data", *SMALL, "--max-steps", "1", "--out", "fresh", "--resume", "auto"]
    assert run(line) == 0
    assert "fresh has no checkpoint yet, starting at step 0" in capsys.readouterr().err


def test_a_damaged_checkpoint_is_named_with_the_one_that_is_sound(workplace: Path, capsys: Any) -> None:
    assert run(LONG + ["--out", "damaged"]) == 0
    path = Path("damaged/checkpoints/step_24/optimizer.safetensors")
    damaged = bytearray(path.read_bytes())
    damaged[-9] ^= 1
    path.write_bytes(damaged)
    err = refused(capsys, "--resume", "damaged/step_24", code=1)
    assert (
        "damaged/checkpoints/step_24/optimizer.safetensors is damaged" in err and "checkpoints/step_20 is sound" in err
    )
    assert run(["train", "--resume", "auto", "--out", "damaged"]) == 0
    assert "step_24 is damaged, going on from step_20" in capsys.readouterr().err
    assert digests("damaged", 24) == digests("whole", 24) and metrics("damaged") == metrics("whole")


def test_a_run_goes_on_from_another_folder_once_it_is_told_where_its_data_is(
    workplace: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = Path("elsewhere-from")
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    line = ["--resume", f"{workplace}/whole/step_24", "--out", "on", "--max-steps", "25"]
    assert "data, which the run was started with, is not there" in refused(capsys, *line, code=1)
    assert run(["train", *line, "--data", str(workplace / "data")]) == 0
    assert verify(Path("on/checkpoints/step_25")).state["step"] == 25


def test_other_data_and_another_tokenizer_are_refused(workplace: Path, capsys: Any) -> None:
    resumed = ["--resume", "whole/step_20", "--out", "x"]
    assert "was trained on the data" in refused(capsys, *resumed, "--data", "reversed", code=1)
    assert "was trained with the tokenizer" in refused(capsys, *resumed, "--data", "foreign", code=1)
    assert not Path("x").exists()
    err = refused(capsys, "--init-from", "whole", "--data", "foreign", *SMALL, "--out", "y", code=1)
    assert "speaks the tokenizer" in err and "--tokenizer" in err


def test_a_machine_that_cannot_repeat_the_bits_is_refused_unless_allowed(
    workplace: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYLM_KERNELS", "reference")
    resumed = ["--resume", "whole/step_20", "--out"]
    err = refused(capsys, *resumed, "elsewhere", code=1)
    assert "not be the same to the bit" in err and "kernels" in err and "--allow-inexact" in err
    assert run(["train", *resumed, "elsewhere", "--allow-inexact"]) == 0
    assert "not the same to the bit" in capsys.readouterr().err


def test_a_run_in_use_is_left_alone(workplace: Path, capsys: Any) -> None:
    from pylm.runs import RunFolder

    with RunFolder(Path("held")):
        err = refused(capsys, "--data", "data", *SMALL, "--out", "held", code=1)
    assert f"held is in use by process {os.getpid()}" in err
    with RunFolder(Path("held")):
        pass
    assert run([*LONG, "--max-steps", "4", "--out", "busy"]) == 0
    with RunFolder(Path("busy")):  # which has checkpoints already
        for words in (["--data", "data", *SMALL], ["--resume", "auto", "--max-steps", "9"]):
            assert "busy is in use by process" in refused(capsys, *words, "--out", "busy", code=1)


@pytest.mark.parametrize(
    ("words", "code", "complaint"),
    [
        (["--data", "nowhere"], 1, "nowhere: no such folder or file"),
        (["nowhere.txt"], 1, "nowhere.txt: no such file"),
        ([], 2, "nothing to train on was named"),
        (["--data", "data", "--preset", "tinny"], 2, "no such preset: tinny"),
        (["--data", "data", "other.txt"], 2, "give one of the two"),
        (["--data", "data", "--resume", "auto", "--init-from", "whole"], 2, "give one of the two"),
        (["--data", "data", "--depth", "2", "--preset", "tiny"], 2, "both give the shape"),
        (["--data", "data", *SMALL, "--vocab-size", "999"], 2, "999 is not the tokenizer's, which is 280"),
        (
            ["--data", "data", *SMALL, "--context-length", "100000", "--batch-tokens", "100000"],
            1,
            "a window of 100,000",
        ),
        (["--data", "data", *SMALL, "--micro-batch", "3"], 2, "micro_batch 3 does not divide batch_tokens 128"),
        (["--data", "data", *SHAPE, "--micro-batch", "999999999"], 1, "TB of memory are needed"),
        (["--data", "data", *SMALL, "--device", "cuda"], 2, "torch sees no CUDA device"),
        (["--data", "data", *SMALL, "--backend", "mlx", "--device", "cuda"], 2, "Apple GPUs and CPUs, not on cuda"),
        (["--resume", "whole/step_3"], 1, "whole has no checkpoint step_3"),
        (["--resume", "nowhere"], 1, "no checkpoint at nowhere"),
        (["--resume", "whole/step_20"], 1, "whole goes on to step 24"),
        (["--resume", "whole/step_20", "--out", "z", "--d-model", "64"], 2, "model.d_model 64 (--d-model)"),
        (["--resume", "whole/step_20", "--out", "z", "--seed", "5"], 2, "train.seed 5 (--seed)"),
        (["--data", "data", *SMALL, "--out", "whole"], 1, "whole holds a run already, at step 24"),
        (["--data", "data", *SMALL, "--out", "other.txt"], 1, "other.txt is a file"),
        (["--data", "data", *SMALL, "--sample-everi", "3"], 2, "no such key: sample_everi"),
        (
            ["--init-from", "whole", "--data", "data", *SMALL, "--d-model", "64", "--out", "w"],
            2,
            "d_model 64 is 32 there",
        ),
        (["--init-from", "whole", "--data", "data", *SMALL, "--n-heads", "4", "--out", "w"], 2, "n_heads 4 is 2 there"),
        (["--init-from", "whole", "--data", "data", "--mlp", "gelu", "--out", "w"], 2, "mlp gelu is swiglu there"),
        (["--data", "data", *SMALL, "--out", "data"], 1, "data holds job.json, and is no run of pylm's"),
        (["text.txt", "--resume", "whole", "--out", "z"], 2, "text.txt is tokenized to data/text"),
        (["--depth", "3", "--resume", "whole", "--out", "z"], 2, "--depth 3 is not what the run was started with"),
    ],
)
def test_bad_input_is_one_sentence(workplace: Path, capsys: Any, words: list[str], code: int, complaint: str) -> None:
    before = {path for path in workplace.rglob("*") if path.name.startswith("step_")}
    assert complaint in refused(capsys, *words, code=code)
    assert {path for path in workplace.rglob("*") if path.name.startswith("step_")} == before


def test_a_disk_that_is_too_full_is_said_before_the_first_step(
    workplace: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**6, 10**6, 1000))
    assert "checkpoints of" in refused(capsys, "--data", "data", *SMALL, "--out", "full", code=1)


def test_cuda_is_the_first_where_there_are_several(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from pylm.training.torch_backend import machine

    if torch.cuda.is_available():
        pytest.skip("asks about a machine without one")
    assert str(machine.choose_device("auto")) in ("cpu", "mps")


def test_an_attention_that_cannot_serve_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    """The backend's own sentence, eager or compiled, not a defect."""
    asked = ["--attention", "sdpa", "--attention-softcap", "5", "--device", "cpu"]
    assert run([*LONG, *asked, "--out", "refused-sdpa"]) == 1
    said = capsys.readouterr().err
    assert "cannot serve" in said and "rope_attention" in said and "no soft cap" in said
    assert "defect" not in said and "attention: auto" in said
