"""What a stranger installs, in empty environments: a wheel made from the sdist outside git, and pylm-kernels alone."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
pytestmark = [pytest.mark.packaging, pytest.mark.timeout(1200)]


def run(*command: str | Path, cwd: Path) -> str:
    environment = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "VIRTUAL_ENV"}}
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def empty_environment(folder: Path) -> tuple[Path, list[str | Path]]:
    """A new environment's python, and the command that installs into it."""
    if uv := shutil.which("uv"):
        run(uv, "venv", "-q", "--python", sys.executable, folder, cwd=folder.parent)
        return folder / "bin" / "python", [uv, "pip", "install", "-q", "-p", folder / "bin" / "python"]
    run(sys.executable, "-m", "venv", folder, cwd=folder.parent)
    return folder / "bin" / "python", [folder / "bin" / "python", "-m", "pip", "install", "-q"]


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("sdist")
    run(Path(sys.executable).parent / "maturin", "sdist", "-o", out, cwd=ROOT)
    (made,) = out.glob("pylm-*.tar.gz")
    return made


def test_the_sdist_builds_outside_git_and_the_wheel_works(sdist: Path, tmp_path: Path) -> None:
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path / "source", filter="data")
    (source,) = (tmp_path / "source").iterdir()
    assert not (source / ".git").exists()
    maturin = Path(sys.executable).parent / "maturin"
    run(maturin, "build", "-q", "--release", "--interpreter", sys.executable, "-o", tmp_path / "wheels", cwd=source)
    (wheel,) = (tmp_path / "wheels").glob("pylm-*.whl")
    tag = f"cp{sys.version_info.major}{sys.version_info.minor}"
    assert f"-{tag}-{tag}-" in wheel.name, "no abi3: _native serves one version of Python"
    names = zipfile.ZipFile(wheel).namelist()
    assert {"pylm/py.typed", "pylm/_rust.pyi", "pylm/_native.pyi"} <= set(names)
    assert sum(name.startswith("pylm/_native.") and name.endswith(".so") for name in names) == 1
    assert not [name for name in names if name.split("/")[0] not in {"pylm"} and ".dist-info" not in name]

    python, install = empty_environment(tmp_path / "env")
    run(*install, wheel, cwd=tmp_path)
    run(
        python,
        "-c",
        "import pylm._rust, pylm._native; assert pylm._rust.build_info()['profile'] == 'release'",
        cwd=tmp_path,
    )
    installed = run(
        python, "-c", "import importlib.metadata as m; print(*[d.name for d in m.distributions()])", cwd=tmp_path
    )
    assert "torch" not in installed.split() and len(installed.split()) < 20, installed
    program = tmp_path / "env" / "bin" / "pylm"
    assert "tokenize" in run(program, "--help", cwd=tmp_path)
    assert "n_layers" in run(program, "config", "show", "--preset", "gpt2-124m", cwd=tmp_path)  # presets travel


def test_kernels_alone_serve_another_project(tmp_path: Path) -> None:
    python, install = empty_environment(tmp_path / "env")
    run(*install, ROOT / "kernels", cwd=tmp_path)
    code = "import sys, pylm_kernels; print(pylm_kernels.__version__, *sys.modules)"
    version, *loaded = run(python, "-c", code, cwd=tmp_path).split()
    assert version[0].isdigit()
    assert not {"torch", "mlx", "triton", "pylm"} & set(loaded)


@pytest.mark.skipif(shutil.which("uv") is None, reason="4.7 GB of torch are linked from uv's cache, not copied by pip")
def test_one_line_installs_both_distributions_for_training(tmp_path: Path) -> None:
    """`pip install ./kernels '.[train]'`: the two are resolved together and never looked up apart."""
    python, install = empty_environment(tmp_path / "env")
    run(*install, "-c", ROOT / "constraints.txt", "./kernels", ".[train]", cwd=ROOT)
    run(python, "-c", "import torch, pylm_kernels, pylm._native", cwd=tmp_path)
