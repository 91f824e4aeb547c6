"""What README shows of Python works after `import pylm` alone."""

from __future__ import annotations

import subprocess
import sys


def test_data_is_there_after_import_pylm_alone() -> None:
    # a fresh process: in this one another test has imported pylm.data already
    said = subprocess.run(
        [sys.executable, "-c", "import pylm; print(pylm.data.Loader.__name__, pylm.Tokenizer.__name__)"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (said.returncode, said.stdout) == (0, "Loader Tokenizer\n"), said.stderr


def test_a_closed_stdout_is_no_traceback() -> None:
    said = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m pylm config show train.seed >&-"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in said.stderr
