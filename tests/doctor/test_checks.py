"""`pylm doctor`: verdicts on machines of every kind, and probes that crash."""

import json
import os
import subprocess
import sys

import pytest

from pylm.cli import run
from pylm.doctor import checks
from pylm.doctor.checks import Finding

GPU = ("NVIDIA Old", "550.54.15", "12.4")
DEVICE = {"name": "NVIDIA New", "memory": 80 * 10**9, "bf16": True, "works": True}


def torch_says(**answer):
    return {
        "version": "2.13.0",
        "cuda": "13.0",
        "available": False,
        "mps": False,
        "threads": 8,
        "devices": [],
        **answer,
    }


def verdicts(monkeypatch, check, *, gpu=None, probe=None, platform="linux"):
    monkeypatch.setattr(checks, "_nvidia", lambda: gpu)
    monkeypatch.setattr(checks, "_probe", lambda name: probe)
    monkeypatch.setattr(sys, "platform", platform)
    return {finding.name: finding for finding in check()}


@pytest.mark.parametrize(
    ("gpu", "probe", "name", "status", "words", "mend"),
    [
        (None, None, "torch", "warn", "not installed", "pip install 'torch>=2.7'"),
        (GPU, None, "gpu", "ok", "driver 550.54.15", ""),
        (None, {"error": "ended by SIGSEGV"}, "torch", "fail", "does not load: ended by SIGSEGV", "--force-reinstall"),
        (None, torch_says(cuda=None), "gpu", "ok", "the processor computes", ""),
        (None, torch_says(cuda=None, mps=True), "gpu", "ok", "Apple's", ""),
        (GPU, torch_says(cuda=None), "gpu", "fail", "built without CUDA", "pip install --force-reinstall"),
        (GPU, torch_says(), "gpu", "fail", "wants CUDA 13.0, and driver 550.54.15 serves up to 12.4", "/whl/cu124"),
        (GPU, torch_says(cuda="12.4"), "gpu", "fail", "torch does not reach it", "--gpus all"),
        (("G", "1", None), torch_says(), "gpu", "fail", "torch does not reach it", "nvidia-smi"),
        (GPU, torch_says(devices=[DEVICE]), "gpu", "ok", "NVIDIA New, 80 GB, driver 550.54.15, CUDA 13.0, bf16", ""),
        (None, torch_says(devices=[DEVICE]), "gpu", "ok", "driver unknown", ""),
        (GPU, torch_says(devices=[{**DEVICE, "bf16": False}]), "gpu", "warn", "no bf16", "fp16"),
        (GPU, torch_says(devices=[{**DEVICE, "works": False}]), "gpu", "fail", "multiplies wrongly", "stop other"),
    ],
)  # fmt: skip
def test_torch_against_the_driver(monkeypatch, gpu, probe, name, status, words, mend):
    found = verdicts(monkeypatch, checks.check_torch, gpu=gpu, probe=probe)
    assert found[name].status == status and words in found[name].found, found
    assert mend in (found[name].mend or "") and (status == "ok") == (found[name].mend is None)


@pytest.mark.parametrize(
    ("check", "platform", "probe", "status", "mend"),
    [
        (checks.check_triton, "linux", None, "warn", "pip install triton"),
        (checks.check_triton, "linux", {"error": "boom"}, "warn", "pip install"),
        (checks.check_triton, "linux", {"version": "3", "works": False, "gpu": False}, "warn", "pip install"),
        (checks.check_triton, "linux", {"version": "3", "works": True, "gpu": True}, "ok", None),
        (checks.check_mlx, "darwin", None, "warn", "pip install mlx"),
        (checks.check_mlx, "linux", None, "warn", "pip install 'mlx[cpu]'"),
        (checks.check_mlx, "darwin", {"error": "boom"}, "fail", "pip install mlx --force-reinstall"),
        (checks.check_mlx, "darwin", {"version": "1", "metal": False, "works": True}, "warn", "arm64"),
        (checks.check_mlx, "darwin", {"version": "1", "metal": True, "works": True}, "ok", None),
        (checks.check_mlx, "linux", {"version": "1", "metal": False, "works": True}, "ok", None),
    ],
)
def test_triton_and_mlx(monkeypatch, check, platform, probe, status, mend):
    (found,) = verdicts(monkeypatch, check, probe=probe, platform=platform).values()
    assert found.status == status and (mend is None) == (found.mend is None) and (mend or "") in (found.mend or "")


def test_triton_has_no_place_on_a_mac(monkeypatch):
    assert verdicts(monkeypatch, checks.check_triton, platform="darwin") == {}


def test_an_absent_package_is_told_from_one_that_crashes(monkeypatch, tmp_path):
    """Packages that end their process, hang or speak nonsense: an answer each, and no crash here."""
    for name, body in (
        ("torch", "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"),
        ("triton", "raise ImportError('libcuda.so.1: cannot open shared object file')"),
        ("mlx", "import time; time.sleep(60)"),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(body)
    # beside the packages of this environment but before them, here and in the processes that are started
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(checks, "PROBE_SECONDS", 3.0)
    assert checks._probe("torch") == {"error": "ended by SIGSEGV"}
    assert checks._probe("mlx") == {"error": "no answer within 3 seconds"}
    (tmp_path / "torch" / "__init__.py").write_text("class cuda:\n    is_available = staticmethod(lambda: False)\n")
    assert checks._probe("triton") == {"error": "ImportError: libcuda.so.1: cannot open shared object file"}
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert checks._probe("torch") is None


def fixed(*findings):
    def run_checks():
        yield from findings

    return run_checks


def test_the_exit_code_and_json(monkeypatch, capsys):
    good, bad = Finding("python", "ok", "3.12"), Finding("gpu", "fail", "gone", "plug it in")
    meh = Finding("mlx", "warn", "not installed", "pip install mlx")
    monkeypatch.setattr(checks, "run_checks", fixed(good, meh))
    assert run(["doctor"]) == 0
    out, err = capsys.readouterr()
    assert err == "" and "-> pip install mlx" in out
    monkeypatch.setattr(checks, "run_checks", fixed(good, meh, bad))
    assert run(["doctor", "--json"]) == 3
    out, err = capsys.readouterr()
    report = json.loads(out)
    assert report["ok"] is False and [check["status"] for check in report["checks"]] == ["ok", "warn", "fail"]
    assert report["checks"][2] == {"name": "gpu", "status": "fail", "found": "gone", "mend": "plug it in"}
    assert err == "error: gpu: failed\nhint: the lines after -> mend it\n"


def test_a_check_that_falls_over_is_a_finding():
    def check_moon():
        raise RuntimeError("no telescope")
        yield

    (found,) = checks.run_checks((check_moon,))
    assert found.name == "moon" and found.status == "warn" and "RuntimeError: no telescope" in found.found


def test_memory_within_a_containers_limit(monkeypatch):
    files = {
        "/proc/meminfo": "MemTotal: 100 kB\nMemAvailable:    2000000 kB\n",
        "/sys/fs/cgroup/memory.max": "1500000000\n",
        "/sys/fs/cgroup/memory.current": "1000000000\n",
    }
    monkeypatch.setattr(checks.Path, "read_text", lambda self, **_: files[str(self)])
    total, free = checks._memory()
    assert (total, free) == (min(1_500_000_000, total), 500_000_000)
    (found,) = checks.check_memory()
    assert found.status == "warn" and found.found.startswith("500 MB free of")
    files["/sys/fs/cgroup/memory.max"] = "max\n"
    assert checks._memory()[1] == 2_048_000_000


@pytest.mark.parametrize(
    ("free", "speed", "status"),
    [(10**8, 1e9, "fail"), (10**9, 1e9, "warn"), (10**11, 1e7, "warn"), (10**11, 1e9, "ok")],
)
def test_disk(monkeypatch, tmp_path, free, speed, status):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(checks.shutil, "disk_usage", lambda path: type("Usage", (), {"free": free}))
    monkeypatch.setattr(checks, "_write_speed", lambda folder: speed)
    (found,) = checks.check_disk()
    assert found.status == status and (found.mend is None) == (status == "ok")


def test_a_folder_that_takes_nothing(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)

    def refuse(folder):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(checks, "_write_speed", refuse)
    (found,) = checks.check_disk()
    assert found.status == "warn" and "nothing can be written: permission denied" in found.found


def test_writing_is_measured_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(checks, "WRITTEN_BYTES", 4 << 20)
    assert checks._write_speed(tmp_path) > 0
    assert list(tmp_path.iterdir()) == []


def test_a_forced_cpu_variant_is_noticed(monkeypatch):
    from pylm import _native

    info = {"variant": "scalar", "variants": ["scalar", "avx2"], "features": ["avx2"], "cores": 2, "pool": "own"}
    monkeypatch.setattr(_native, "cpu_info", lambda: info)
    monkeypatch.setenv("PYLM_CPU", "scalar")
    (found,) = checks.check_cpu()
    assert found.status == "warn" and found.mend == "unset PYLM_CPU" and "avx2 runs here" in found.found
    monkeypatch.delenv("PYLM_CPU")
    (found,) = checks.check_cpu()
    assert found.status == "ok" and "kernels: scalar" in found.found


def test_a_variant_that_does_not_exist_is_a_finding(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "pylm", "doctor"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "PYLM_CPU": "foo"},
    )
    assert done.returncode == 3 and "Traceback" not in done.stderr
    assert "PYLM_CPU=foo names no variant of this build" in done.stdout and "defect" not in done.stderr


def test_on_this_machine_every_line_is_sound(tmp_path):
    """The real thing: whatever is installed here, every finding is whole, and nothing heavy is loaded to print it."""
    program = (
        "import sys; from pylm.cli import run; code = run(['doctor', '--json']);"
        "assert not {'torch', 'triton', 'mlx'} & set(sys.modules); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode in (0, 3), done.stderr
    report = json.loads(done.stdout)
    assert report["ok"] == (done.returncode == 0)
    names = {check["name"] for check in report["checks"]}
    assert {"python", "rust module", "c++ module", "cpu", "memory", "disk", "torch", "mlx"} <= names
    for check in report["checks"]:
        assert check["status"] in ("ok", "warn", "fail") and check["found"]
        assert (check["mend"] is None) == (check["status"] == "ok"), check
        assert "cannot be looked at" not in check["found"], check


def test_the_small_kernel_computes():
    pytest.importorskip("triton")
    answer = checks._probe("triton")
    assert answer["works"] is True, answer


def test_colours_stay_off_pipes(monkeypatch, capsys):
    monkeypatch.setattr(checks, "run_checks", fixed(Finding("python", "ok", "3.12")))
    assert run(["doctor"]) == 0
    assert capsys.readouterr().out == "ok    python        3.12\n"
