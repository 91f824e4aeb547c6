"""What is printed and written about installing: our names are nobody's in a registry, so no line asks one for them."""

import http.server
import os
import re
import shutil
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent.parent
OURS = re.compile(
    r"(?:pip3? install|uv add|pipx install)\s(?:[^\s;&|]+\s+)*?['\"]?pylm(?:[-_]kernels)?(?:\[|['\"`\s)]|[=<>~!]=|$)"
)
READ = {".py", ".rs", ".cpp", ".hpp", ".md", ".toml", ".sh", ".yaml", ".yml", ".ipynb", ""}


def asks_a_registry_for_us(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if OURS.search(line)]


@pytest.mark.parametrize("tool", ["pip", "pip3", "uv pip"])
@pytest.mark.parametrize(
    "what", ["'pylm[ray]'", '"pylm[train]"', "pylm", "-U pylm-kernels", "torch pylm_kernels", "pylm==0.1.0"]
)
def test_a_line_that_would_install_somebody_elses_package_is_seen(tool: str, what: str) -> None:
    assert asks_a_registry_for_us(f"hint: {tool} install {what}")


@pytest.mark.parametrize(
    "line",
    [
        "pip install ./kernels '.[train]'",
        "pip install .",
        "pip install ray",
        "pip install torch; pylm train",
        "install pylm",
    ],
)
def test_a_line_from_the_clone_is_none(line: str) -> None:
    assert not asks_a_registry_for_us(f"hint: {line}")


def test_no_source_or_page_asks_a_registry_for_us() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a clone")
    found = []
    for name in filter(None, listed.stdout.split("\0")):
        path = ROOT / name
        if path.suffix in READ and path.is_file() and path != Path(__file__).resolve():
            found += [
                f"{name}: {line}" for line in asks_a_registry_for_us(path.read_text(encoding="utf-8", errors="replace"))
            ]
    assert not found, "\n".join(found)


class Index(http.server.ThreadingHTTPServer):
    """A registry that has an empty wheel of any project but ours, and remembers what it was asked for."""

    def __init__(self, versions: dict[str, str]) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.versions, self.asked = versions, set[str]()


class Answer(http.server.BaseHTTPRequestHandler):
    server: Index

    def do_GET(self) -> None:
        part = self.path.strip("/").split("/")
        if part[0] == "simple":
            self.server.asked.add(part[1])
            name = part[1].replace("-", "_")
            wheel = f"{name}-{self.server.versions.get(part[1], '1')}-py3-none-any.whl"
            self._send(b"" if "pylm" in part[1] else f'<a href="/wheels/{wheel}">{wheel}</a>'.encode(), "text/html")
        else:
            self._send(empty_wheel(part[1]), "application/octet-stream")

    def _send(self, body: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        """Stay silent."""


def empty_wheel(name: str) -> bytes:
    import io

    project, version = name.split("-")[:2]
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        info = f"{project}-{version}.dist-info"
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {project}\nVersion: {version}\n")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    return made.getvalue()


def least_versions() -> dict[str, str]:
    """The lowest version that satisfies each requirement of ours, by the project's name in a registry."""
    import tomllib

    with (ROOT / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)["project"]
    lines = project["dependencies"] + [line for extra in project["optional-dependencies"].values() for line in extra]
    found = {}
    for requirement in map(Requirement, lines):
        for specifier in requirement.specifier:
            if specifier.operator == ">=":
                found[re.sub(r"[-_.]+", "-", requirement.name).lower()] = specifier.version
    return found


@pytest.mark.skipif(sys.version_info < (3, 11), reason="tomllib came with Python 3.11")
@pytest.mark.skipif(shutil.which("cargo") is None, reason="maturin asks cargo for the distribution's metadata")
@pytest.mark.parametrize("extras", ["train", "mlx", "all"])
def test_the_line_from_the_clone_looks_neither_name_up(extras: str, tmp_path: Path) -> None:
    pip = [sys.executable, "-m", "pip"]
    if subprocess.run([*pip, "--version"], capture_output=True, check=False).returncode:
        pytest.skip("this environment has no pip")
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}  # maturin's
    with Index(least_versions()) as index:
        threading.Thread(target=index.serve_forever, daemon=True).start()
        registry = f"http://127.0.0.1:{index.server_port}/simple"
        # the two distributions are described by the build tools of this environment; everything else is empty
        done = subprocess.run(
            [*pip, "install", "--dry-run", "--ignore-installed", "--no-build-isolation", "--no-cache-dir", "--isolated",
             "--disable-pip-version-check", "--index-url", registry, "./kernels", f".[{extras}]"],
            cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        index.shutdown()
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Would install" in done.stdout and "pylm-0" in done.stdout and "pylm-kernels-0" in done.stdout, done.stdout
    assert {"click", "numpy"} <= index.asked, "the registry was asked for nothing: the test proves nothing"
    assert not {name for name in index.asked if "pylm" in name}
