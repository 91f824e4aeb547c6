"""The run under the clock: what is typed, what is counted, what is said where it fails."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pylm.cli import run
from pylm.data.stories import stories
from pylm.errors import PylmError, UsageError
from pylm.track.measure import measure, trained
from tests.support.small_runs import SMALL

# stands for an interpreter: takes its time before it trains, and writes down what was asked of it
PRETENDER = """#!{python}
import json, pathlib, sys, time
pathlib.Path("asked.json").write_text(json.dumps(sys.argv[1:]))
time.sleep(0.4)
if "fails" in {answer!r}:
    sys.exit("error: the text is too small\\nhint: name a longer one\\n")
print(json.dumps({{"run": "runs/x", "seconds": 0.1, "tokens": 7, "parameters": 9}}))
"""


def pretender(folder: Path, answer: str = "") -> str:
    path = folder / "python"
    path.write_text(PRETENDER.format(python=sys.executable, answer=answer))
    path.chmod(0o755)
    return str(path)


def test_what_a_rehearsal_took_beside_the_steps_is_taken_off(tmp_path: Path) -> None:
    train = tmp_path / "train.txt"
    made = trained(train, 60, tmp_path, python=pretender(tmp_path))
    asked = json.loads((tmp_path / "run" / "asked.json").read_text())
    assert asked[:4] == ["-m", "pylm", "train", str(train)] and asked[4] == "--max-time" and asked[6:] == ["--json"]
    assert 55 < float(asked[5].removesuffix("s")) < 59.8  # 60 without about 0.3 and what starting takes
    assert (made.tokens, made.parameters) == (7, 9) and made.checkpoint == tmp_path / "run" / "runs" / "x"
    assert 0.4 < made.seconds < 10


def test_a_time_that_leaves_nothing_for_steps_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="reading the text and saving the model alone takes") as caught:
        trained(tmp_path / "train.txt", 0.2, tmp_path, python=pretender(tmp_path))
    assert "time=" in str(caught.value.hint)


def test_what_training_complains_of_is_said(tmp_path: Path) -> None:
    with pytest.raises(PylmError, match="^the text is too small") as caught:
        trained(tmp_path / "train.txt", 60, tmp_path, python=pretender(tmp_path, "fails"))
    assert (caught.value.message, caught.value.hint) == ("the text is too small", "name a longer one")


def test_no_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nowhere.txt: no such file"):
        measure(tmp_path / "nowhere.txt")


def test_the_whole_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for name, value in {**SMALL, "PYLM_TRAIN__MAX_STEPS": "20", "OMP_NUM_THREADS": "1"}.items():
        monkeypatch.setenv(name, value)
    text = tmp_path / "my.txt"
    text.write_text("".join(stories(400_000)), encoding="utf-8")
    assert run(["bench", "track", str(text), "--time", "300s", "--json"]) == 0
    entry = json.loads(capsys.readouterr().out)
    assert set(entry) == {"bits_per_byte", "xz_bits_per_byte", "seconds", "tokens", "parameters", "held_out_bytes",
                          "machine"}  # fmt: skip
    assert 0.5 < entry["bits_per_byte"] < 4 and 0.5 < entry["xz_bits_per_byte"] < 3
    assert entry["tokens"] > 0 and entry["seconds"] > 0


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="children are looked up in /proc")
def test_sigterm_ends_the_training_too_and_leaves_nothing(tmp_path: Path) -> None:
    text = tmp_path / "my.txt"
    text.write_text("".join(stories(400_000)), encoding="utf-8")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    code = "import sys; from pylm.cli import run; sys.exit(run(['bench', 'track', 'my.txt']))"
    process = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, stderr=subprocess.PIPE,
                               env={**os.environ, "TMPDIR": str(scratch)})  # fmt: skip
    while not list(scratch.glob("*/rehearsal/cache")) and process.poll() is None:
        time.sleep(0.01)
    child = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 143 and not list(scratch.iterdir())
    assert not Path(f"/proc/{child[0]}").exists()
