"""The checks of `pylm doctor`: each looks at one thing and says ok, warn or fail, and the line that mends it."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pylm.config.units import format_bytes
from pylm.errors import PylmError
from pylm.wording import call, param

__all__ = ["CHECKS", "Finding", "run_checks"]

OLDEST_PYTHON = (3, 10)
# imports of torch took up to 20 s on a cold disk
PROBE_SECONDS = 120.0
WRITTEN_BYTES = 64 << 20


@dataclass(frozen=True)
class Finding:
    """What one check found; `mend` is a line to type, or to do."""

    name: str
    status: str
    found: str
    mend: str | None = None


def ok(name: str, found: str) -> Finding:
    """Return a finding that needs nothing."""
    return Finding(name, "ok", found)


def check_python() -> Iterator[Finding]:
    """Look at the interpreter."""
    found = f"{platform.python_version()}, {platform.machine()}, {platform.system()}"
    if sys.version_info[:2] < OLDEST_PYTHON:
        yield Finding("python", "fail", found, "install Python 3.10 or newer, and pylm into a new environment of it")
    else:
        yield ok("python", found)


def check_builds() -> Iterator[Finding]:
    """Look at the two native modules."""
    import importlib

    for name, module in (("rust module", "pylm._rust"), ("c++ module", "pylm._native")):
        try:
            info: dict[str, str] = importlib.import_module(module).build_info()
        except ImportError as error:
            yield Finding(name, "fail", f"{module} does not load: {error}", "pip install --force-reinstall .")
            continue
        found = ", ".join(f"{key} {value}" for key, value in info.items())
        if info.get("profile") == "release":
            yield ok(name, found)
        else:
            yield Finding(name, "warn", f"{found}: made for work on it, and slower", "pip install .")


def check_compilers() -> Iterator[Finding]:
    """Look for what building from source needs; what is installed runs without."""
    mac = sys.platform == "darwin"
    compiler = next((name for name in ("c++", "g++", "clang++") if shutil.which(name)), None)
    if compiler is None:
        mend = "xcode-select --install" if mac else "sudo apt-get install g++ make"
        yield Finding("c++ compiler", "warn", "none: needed to build from source and by torch.compile", mend)
    else:
        yield ok("c++ compiler", _first_line([compiler, "--version"]) or compiler)
    cargo = _first_line(["cargo", "--version"])
    if cargo is None:
        mend = "install rustup from https://rustup.rs, then: rustup toolchain install stable"
        yield Finding("rust", "warn", "none: needed to build from source only", mend)
    else:
        yield ok("rust", cargo)


def check_cpu() -> Iterator[Finding]:
    """Name the processor, the features that count here, and the variant of the kernels that runs."""
    try:
        from pylm import _native
    except ImportError:
        yield Finding("cpu", "fail", f"{_cpu_name()}: features unknown without pylm._native", "pip install .")
        return
    try:
        info = _native.cpu_info()
    except PylmError as error:  # PYLM_CPU names no variant, or one that does not run here
        yield Finding("cpu", "fail", error.message, error.hint or "unset PYLM_CPU")
        return
    features = " ".join(info["features"]) or "baseline"
    found = f"{_cpu_name()}, {info['cores']} cores: {features}; kernels: {info['variant']}"
    forced = os.environ.get("PYLM_CPU")
    if forced and forced != info["variants"][-1]:
        best = info["variants"][-1]
        yield Finding("cpu", "warn", f"{found}, as PYLM_CPU={forced} says, though {best} runs here", "unset PYLM_CPU")
    else:
        yield ok("cpu", found)


def check_memory() -> Iterator[Finding]:
    """Say how much memory there is and how much of it is free."""
    total, free = _memory()
    found = f"{format_bytes(free)} free of {format_bytes(total)}"
    if free < 1 << 30:
        yield Finding(
            "memory", "warn", found, "close other programs; tokenizing needs little, training a gigabyte or more"
        )
    else:
        yield ok("memory", found)


def check_disk() -> Iterator[Finding]:
    """Say how much disk is free here, and how fast it takes what must not be lost."""
    here = Path.cwd()
    free = shutil.disk_usage(here).free
    space = f"{format_bytes(free)} free in {here}"
    if free < 4 * WRITTEN_BYTES:
        yield Finding(
            "disk", "fail", space, "free some space, or work in another folder: a checkpoint needs 12 bytes a parameter"
        )
        return
    try:
        speed = _write_speed(here)
    except OSError as error:
        mend = f"work in a folder that you may write to, or: sudo chown $USER {here}"
        yield Finding("disk", "warn", f"{space}, but nothing can be written: {(error.strerror or '').lower()}", mend)
        return
    found = f"{space}, {format_bytes(speed)}/s written and flushed"
    if free < 5e9:
        yield Finding(
            "disk", "warn", found, "free some space: a checkpoint needs 12 bytes a parameter, and several are kept"
        )
    elif speed < 30e6:
        yield Finding("disk", "warn", found, "work on a local disk: a checkpoint of a 100M model takes a minute here")
    else:
        yield ok("disk", found)


def check_torch() -> Iterator[Finding]:
    """Look at torch, and at its CUDA against the driver."""
    gpu = _nvidia()
    probe = _probe("torch")
    if probe is None:
        yield Finding(
            "torch", "warn", "not installed: needed to train and to sample with it", "pip install 'torch>=2.7'"
        )
    elif "error" in probe:
        yield Finding("torch", "fail", f"does not load: {probe['error']}", "pip install --force-reinstall 'torch>=2.7'")
    else:
        yield ok("torch", f"{probe['version']}, {probe['threads']} threads" + (", MPS" if probe["mps"] else ""))
        yield from _judge_cuda(probe, gpu)
        return
    if gpu is not None:
        yield ok("gpu", f"{gpu[0]}, driver {gpu[1]}")


def _judge_cuda(probe: dict[str, Any], gpu: tuple[str, str, str | None] | None) -> Iterator[Finding]:
    """Compare what torch was built for with what the driver serves."""
    if gpu is None and not probe["devices"]:
        yield ok("gpu", "Apple's, by MPS and MLX" if probe["mps"] else "none from NVIDIA: the processor computes")
        return
    name, driver, serves = gpu or ("", "unknown", None)
    for device in probe["devices"]:
        found = f"{device['name']}, {format_bytes(device['memory'])}, driver {driver}, CUDA {probe['cuda']}"
        if not device["works"]:
            yield Finding("gpu", "fail", f"{found}: multiplies wrongly", "stop other programs on it, then try again")
        elif not device["bf16"]:
            yield Finding(
                "gpu",
                "warn",
                f"{found}: no bf16",
                f"{param('precision', 'fp16')} is what auto takes here: nothing to do",
            )
        else:
            yield ok("gpu", f"{found}, bf16")
    if probe["devices"]:
        return
    if probe["cuda"] is None:
        mend = "pip install --force-reinstall --no-cache-dir torch"
        yield Finding("gpu", "fail", f"{name} is there, but torch {probe['version']} was built without CUDA", mend)
    elif serves is not None and _version(serves) < _version(probe["cuda"]):
        wheel = "cu" + serves.replace(".", "")
        yield Finding(
            "gpu",
            "fail",
            f"{name}: torch wants CUDA {probe['cuda']}, and driver {driver} serves up to {serves}",
            f"update the driver, or: pip install torch --index-url https://download.pytorch.org/whl/{wheel}",
        )
    else:
        mend = "nvidia-smi shows whether it works; in a container, start it with --gpus all"
        yield Finding("gpu", "fail", f"{name} is there, but torch does not reach it (driver {driver})", mend)


def check_triton() -> Iterator[Finding]:
    """Run a small kernel through Triton."""
    if sys.platform != "linux":
        return
    gpu = _nvidia() is not None
    probe = _probe("triton" if gpu else "triton-import")
    if probe is None:
        yield Finding("triton", "warn", "not installed: GPU kernels need it", "pip install triton")
    elif "error" in probe or not probe["works"]:
        said = probe.get("error", "a small kernel computes wrongly")
        yield Finding("triton", "fail" if gpu else "warn", said, "pip install --force-reinstall torch triton")
    else:
        where = "a small kernel runs on the GPU" if probe["gpu"] else "no GPU to run a kernel on"
        yield ok("triton", f"{probe['version']}, {where}")


def check_mlx() -> Iterator[Finding]:
    """Run a small product through MLX."""
    mac = sys.platform == "darwin"
    line = "pip install mlx" if mac else "pip install 'mlx[cpu]'"
    probe = _probe("mlx")
    if probe is None:
        use = "trains on this Mac's GPU" if mac else "only needed to try Mac models here"
        yield Finding("mlx", "warn", f"not installed: {use}", line)
    elif "error" in probe or not probe["works"]:
        yield Finding(
            "mlx", "fail" if mac else "warn", probe.get("error", "multiplies wrongly"), f"{line} --force-reinstall"
        )
    elif mac and not probe["metal"]:
        yield Finding("mlx", "warn", f"{probe['version']}, without Metal", "use an arm64 Python: arch -arm64 python3")
    else:
        yield ok("mlx", f"{probe['version']}, {'Metal' if probe['metal'] else 'on the processor'}")


def check_kernels() -> Iterator[Finding]:
    """Look for the distribution pylm-kernels."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        yield ok("pylm-kernels", version("pylm-kernels"))
    except PackageNotFoundError:
        yield Finding("pylm-kernels", "warn", "not installed: training needs it", "pip install ./kernels  (in a clone)")


CHECKS: tuple[Callable[[], Iterator[Finding]], ...] = (
    check_python,
    check_builds,
    check_compilers,
    check_cpu,
    check_memory,
    check_disk,
    check_kernels,
    check_torch,
    check_triton,
    check_mlx,
)


def run_checks(checks: tuple[Callable[[], Iterator[Finding]], ...] = CHECKS) -> Iterator[Finding]:
    """Yield every finding; a check that falls over is a finding itself."""
    for check in checks:
        try:
            yield from check()
        except Exception as error:
            name = check.__name__.removeprefix("check_")
            said = f"cannot be looked at: {type(error).__name__}: {error}"
            yield Finding(name, "warn", said, f"please report it, with what {call('doctor', json=True)} prints")


def _probe(name: str) -> dict[str, Any] | None:
    """Return what another process finds, with `error` where a package does not work; None where it is not there."""
    from importlib.util import find_spec

    if find_spec(name.partition("-")[0]) is None:
        return None
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pylm.doctor.probes", name], capture_output=True, text=True, timeout=PROBE_SECONDS
        )
    except subprocess.TimeoutExpired:
        return {"error": f"no answer within {PROBE_SECONDS:.0f} seconds"}
    lines = done.stdout.strip().splitlines()
    if done.returncode == 0 and lines:
        answer: dict[str, Any] = json.loads(lines[-1])
        return answer
    said = done.stderr.strip().splitlines()
    if done.returncode < 0:
        import signal

        return {"error": f"ended by {signal.Signals(-done.returncode).name}"}
    return {"error": said[-1] if said else f"ended with {done.returncode}"}


def _nvidia() -> tuple[str, str, str | None] | None:
    """Return the first GPU's name, the driver's version and the newest CUDA that it serves; None without a GPU."""
    query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    line = _first_line(query)
    if line is None or "," not in line:
        return None
    name, _, driver = line.rpartition(",")
    header = _output(["nvidia-smi"]) or ""
    serves = re.search(r"CUDA[A-Za-z ]* Version: *([0-9]+\.[0-9]+)", header)
    return name.strip(), driver.strip(), serves[1] if serves else None


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text)[:2])


def _output(command: list[str]) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def _first_line(command: list[str]) -> str | None:
    lines = (_output(command) or "").splitlines()
    return lines[0].strip() if lines else None


def _cpu_name() -> str:
    from pylm.host import processor_name

    if sys.platform == "darwin":
        return _first_line(["sysctl", "-n", "machdep.cpu.brand_string"]) or platform.machine()
    return processor_name()


def _memory() -> tuple[int, int]:
    """Return total and free bytes; a container's limit counts as the total."""
    page = os.sysconf("SC_PAGE_SIZE")
    total = page * os.sysconf("SC_PHYS_PAGES")
    free = total
    try:
        match = re.search(r"MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text())
        free = int(match[1]) * 1024 if match else total
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
        if limit.isdecimal():
            used = int(Path("/sys/fs/cgroup/memory.current").read_text())
            total = min(total, int(limit))
            free = min(free, max(0, int(limit) - used))
    except OSError:
        pass
    return total, free


def _write_speed(folder: Path) -> float:
    """Write and flush 64 MB that do not compress, in a file that nobody sees; return bytes per second."""
    block = os.urandom(1 << 20)
    with tempfile.TemporaryFile(dir=folder) as file:
        started = time.perf_counter()
        for _ in range(WRITTEN_BYTES // len(block)):
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
        return WRITTEN_BYTES / max(time.perf_counter() - started, 1e-9)
