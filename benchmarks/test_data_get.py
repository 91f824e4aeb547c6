"""Getting data from a Hub on loopback: how fast a verified download is, what it asks for, what it lives through.

And how fast a parquet file is read as it comes, with nothing stored.

The server (tests/support/hub_server.py) is a process of its own and sends by the kernel's sendfile where speed counts.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.compare import Compare, Side
from benchmarks.report import Row
from tests.support.hub_server import Fault, HubServer

ROOT = Path(__file__).resolve().parent.parent
GIGABYTE = 1_000_000_000
MEMORY = Path("/dev/shm")  # files without a disk, on Linux
PUBLISHED = "org/name"
HUB = "huggingface-hub"
KILLS, TRUNCATIONS, WHOLE, WRONG = 50, 200, 50, 50
REQUESTS = 103  # for 100 files
TABLE = 2 * GIGABYTE  # bytes of a parquet file that is read as it comes
MOST_MEMORY = 300  # MB, while it is


@dataclasses.dataclass(frozen=True)
class Curl(Side):
    """curl, which pip does not know."""

    def version(self) -> str | None:
        try:
            said = subprocess.run(["curl", "--version"], capture_output=True, text=True, check=False).stdout
        except FileNotFoundError:
            return None
        return said.split()[1]


# the sides


def ours(url: str, folder: str, files: list[str]) -> dict[str, Any]:
    os.environ |= {"HF_ENDPOINT": url, "PYLM_CACHE": f"{folder}-cache", "HF_HUB_CACHE": f"{folder}-none"}
    from pylm.data.fetching import Hub, fetch

    def one(path: str) -> None:
        fetch(repository.file(path), f"{folder}/{path}")

    hub = Hub.from_environment(allow_private=True, sleep=lambda seconds: time.sleep(seconds / 100))
    begun = time.perf_counter()
    repository = hub.repository("dataset", PUBLISHED)
    failed = tried(one, files)
    return {"seconds": time.perf_counter() - begun, "result": state(folder, files), "failed": failed}


def huggingface(url: str, folder: str, files: list[str]) -> dict[str, Any]:
    os.environ |= {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HOME": f"{folder}-home"}
    import huggingface_hub

    def one(path: str) -> None:
        huggingface_hub.hf_hub_download(PUBLISHED, path, repo_type="dataset", endpoint=url, local_dir=folder)

    begun = time.perf_counter()
    failed = tried(one, files)
    return {"seconds": time.perf_counter() - begun, "result": state(folder, files), "failed": failed}


def curl(url: str, folder: str, files: list[str], is_flushed: bool = False) -> dict[str, Any]:
    def one(path: str) -> None:
        address = f"{url}/datasets/{PUBLISHED}/resolve/main/{path}"
        subprocess.run(["curl", "-sSfL", "--create-dirs", "-o", f"{folder}/{path}", address], check=True)
        if is_flushed:
            with open(f"{folder}/{path}", "rb") as file:
                os.fsync(file)

    begun = time.perf_counter()
    failed = tried(one, files)
    return {"seconds": time.perf_counter() - begun, "result": state(folder, files), "failed": failed}


def curl_flushed(**given: Any) -> dict[str, Any]:
    return curl(**given, is_flushed=True)


def ours_whole(url: str, folder: str) -> dict[str, Any]:
    os.environ |= {"HF_ENDPOINT": url, "PYLM_CACHE": f"{folder}-cache", "HF_HUB_CACHE": f"{folder}-none"}
    from pylm.data.fetching import Hub, fetch_all

    repository = Hub.from_environment(allow_private=True).repository("dataset", PUBLISHED)
    return {"files": len(fetch_all(repository.files(), folder))}


def huggingface_whole(url: str, folder: str) -> dict[str, Any]:
    os.environ |= {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HOME": f"{folder}-home"}
    import huggingface_hub

    huggingface_hub.snapshot_download(PUBLISHED, repo_type="dataset", endpoint=url, local_dir=folder)
    return {"files": len([path for path in Path(folder).glob("*.bin")])}


def ours_streamed(url: str, folder: str) -> dict[str, Any]:
    os.environ |= {"HF_ENDPOINT": url, "PYLM_CACHE": f"{folder}-cache", "HF_HUB_CACHE": f"{folder}-none"}
    import pylm

    begun = time.perf_counter()
    documents = pylm.data.source(f"hub:{PUBLISHED}", meta=False, allow_private=True)
    return told((document.text for document in documents), begun)


def datasets_streamed(url: str, folder: str) -> dict[str, Any]:
    os.environ |= {"HF_ENDPOINT": url, "HF_HUB_DISABLE_XET": "1", "HF_HOME": f"{folder}-home"}
    import datasets

    begun = time.perf_counter()
    rows = datasets.load_dataset(PUBLISHED, split="train", streaming=True, columns=["text"])
    return told((row["text"] for row in rows), begun)


def told(texts: Iterator[str], begun: float) -> dict[str, Any]:
    """What a side made of a stream: how many texts, of how many characters, the first and the last of them."""
    count, characters, first, text = 0, 0, None, ""
    for text in texts:
        first = text if first is None else first
        count, characters = count + 1, characters + len(text)
    seconds = time.perf_counter() - begun
    return {"seconds": seconds, "result": [count, characters, first, text]}


def tried(one: Any, files: list[str]) -> list[str]:
    """Fetch each file, and return those that ended with an error."""
    failed = []
    for path in files:
        try:
            one(path)
        except Exception as error:
            print(path, type(error).__name__, str(error)[:200], file=sys.stderr)
            failed.append(path)
    return failed


def state(folder: str, files: list[str]) -> dict[str, str | None]:
    """What each file hashes to; it is taken away."""
    found: dict[str, str | None] = {}
    for path in files:
        file = Path(folder, path)
        found[path] = None
        if file.exists():
            found[path] = sha256_of(file)
            file.unlink()
    return found


def sha256_of(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


# the rows

OURS, PEER = Side("pylm", ours), Side(HUB, huggingface)


@pytest.fixture(scope="module")
def gigabyte(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Hub, in another process, that has a file of a gigabyte in memory."""
    parent = MEMORY if os.access(MEMORY, os.W_OK) else tmp_path_factory.mktemp("hub")
    folder = parent / f"pylm-benchmark-{os.getpid()}"
    file = folder / PUBLISHED / "large.bin"
    file.parent.mkdir(parents=True)
    with file.open("wb") as out:
        out.writelines(blocks(GIGABYTE))
    command = [sys.executable, "-m", "tests.support.hub_server", str(folder)]
    server = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        yield server.stdout.readline().strip()
    finally:
        server.communicate()
        file.unlink()
        for one in (file.parent, file.parent.parent, folder):
            one.rmdir()


@pytest.mark.parametrize("where", ["memory", "disk"])
def test_download(compare: Compare, gigabyte: str, where: str, tmp_path: Path) -> None:
    """Ours is verified and flushed to the disk; the peers' is neither, but for the curl whose file is flushed too."""
    folder = tmp_path
    if where == "memory":
        if not os.access(MEMORY, os.W_OK):
            compare.unmeasured("1 GB, verified, into memory", f"there is no {MEMORY} here", "≥ 0.8×")
        folder = MEMORY / f"pylm-benchmark-out-{os.getpid()}"
    unverified, flushed = Curl("curl", curl), Curl("curl", curl_flushed, "curl, flushed")
    peers = [unverified, PEER] if where == "memory" else [unverified, flushed]
    given = {"url": gigabyte, "folder": str(folder), "files": ["large.bin"]}
    try:
        run = compare(f"1 GB, verified, into {where}", OURS, peers, rounds=5 if where == "memory" else 3, **given)
    finally:
        for path in folder.parent.glob(f"{folder.name}*"):
            shutil.rmtree(path)
    run.faster(0.8, than="curl")
    if where == "memory":
        run.faster(1.0, than=HUB)
    else:
        run.faster(0.8, than="curl, flushed")


def row_of(compare: Compare, name: str, measure: Callable[[Side], float], bar: float, unit: str) -> None:
    """A row: our figure and the peer's, one after the other; the bar is 100 %, or a number that is not to be passed."""
    figures: dict[str, float] = {}

    def race() -> None:
        for side in (OURS, PEER):
            if side.version() is not None:
                figures[side.name] = measure(side)

    compare.benchmark.pedantic(race, rounds=1, iterations=1)
    is_met = figures["pylm"] == bar if unit == "%" else figures["pylm"] <= bar
    words, verdict = f"{'' if unit == '%' else '≤ '}{bar:g} {unit}", "met" if is_met else "short"
    row = Row(name, figures["pylm"], figures.get(HUB), PEER.version(), None, None, words, verdict, unit)
    compare.report.add(compare.subject, row)


def blocks(size: int) -> Iterator[bytes]:
    """Random bytes, ten million at a time: Python draws no more than 268 million at once."""
    draw = random.Random(1)
    for _ in range(size // 10_000_000):
        yield draw.randbytes(10_000_000)


def some_files(server: HubServer, count: int, size: int) -> dict[str, bytes]:
    """Files of a repository, and by what part of their addresses each is known."""
    contents = {f"{n}.bin": random.Random(n).randbytes(size) for n in range(count)}
    server.add(PUBLISHED, contents)
    return contents


def blob_of(content: bytes) -> str:
    return f"blobs/{hashlib.sha256(content).hexdigest()}"


def ending_right(
    compare: Compare,
    name: str,
    server: HubServer,
    contents: dict[str, bytes],
    faults: list[dict[str, Any]],
    folder: Path,
) -> None:
    """A row: how many files are right in the end, where each meets these faults."""

    def measure(side: Side) -> float:
        server.faults = [Fault(blob_of(content), **fault) for content in contents.values() for fault in faults]
        given = {"url": server.url, "folder": str(folder / side.name), "files": list(contents)}
        answer = compare.once(side, timeout=900, **given)
        right = [answer["result"][path] == hashlib.sha256(content).hexdigest() for path, content in contents.items()]
        print(f"{name}: {side.name} {sum(right)} right, {len(answer['failed'])} ended with an error, of {len(right)}")
        return 100 * sum(right) / len(right)

    row_of(compare, f"{name}: right in the end", measure, 100, "%")


def test_truncations(compare: Compare, tmp_path: Path) -> None:
    with HubServer() as server:
        contents = some_files(server, TRUNCATIONS // 10, 1_000_000)
        faults = [{"truncate": 50_000, "times": 10}]
        ending_right(compare, f"{TRUNCATIONS} truncations, ten a file", server, contents, faults, tmp_path)


def test_whole_for_a_range(compare: Compare, tmp_path: Path) -> None:
    with HubServer() as server:
        contents = some_files(server, WHOLE, 1_000_000)
        faults = [{"truncate": 400_000}, {"whole": True, "ranges_only": True}]
        ending_right(compare, f"{WHOLE} times 200 for 206", server, contents, faults, tmp_path)


def test_wrong_bytes_once(compare: Compare, tmp_path: Path) -> None:
    with HubServer() as server:
        contents = some_files(server, WRONG, 300_000)
        ending_right(
            compare, f"wrong bytes of equal size, {WRONG} times", server, contents, [{"flip": 123_456}], tmp_path
        )


def test_wrong_bytes_always(compare: Compare, tmp_path: Path) -> None:
    with HubServer() as server:
        contents = some_files(server, WRONG, 300_000)
        server.fault("blobs", flip=123_456, times=-1)

        def measure(side: Side) -> float:
            given = {"url": server.url, "folder": str(tmp_path / side.name), "files": list(contents)}
            return 100 * len(compare.once(side, **given)["failed"]) / len(contents)

        row_of(compare, f"wrong bytes of equal size, {WRONG} files: noticed", measure, 100, "%")


def test_kills(compare: Compare, tmp_path: Path) -> None:
    """A file is fetched again and again, killed at random on the way, and then once in peace."""
    content, rate = b"".join(blocks(400_000_000)), 400_000_000  # bytes a second and connection
    with HubServer() as server:
        server.add(PUBLISHED, {"a.bin": content})
        slow = server.fault("blobs", pause=(1 << 20) / rate, block=1 << 20, times=-1)

        def measure(side: Side) -> float:
            draw, kills, slow.times = random.Random(2), 0, -1
            given = {"url": server.url, "folder": str(tmp_path / side.name), "files": ["a.bin"]}
            while kills < KILLS:
                kills += killed(side, given, draw.uniform(0.3, 1.5))
            slow.times = 0
            return 100.0 * (compare.once(side, **given)["result"]["a.bin"] == hashlib.sha256(content).hexdigest())

        row_of(compare, f"{KILLS} kills at random: the same SHA-256 in the end", measure, 100, "%")


def killed(side: Side, given: dict[str, Any], seconds: float) -> bool:
    """Begin, kill, and say whether there was anything to kill."""
    code = "import sys, json, runpy; runpy.run_path(sys.argv[1])[sys.argv[2]](**json.loads(sys.argv[3]))"
    command = [sys.executable, "-c", code, __file__, side.function.__name__, json.dumps(given)]
    child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        child.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
        return True
    return False


def test_requests(compare: Compare, tmp_path: Path) -> None:
    """The targets of redirects are not counted."""
    with HubServer() as server:
        some_files(server, 100, 10_000)
        whole = {"pylm": Side("pylm", ours_whole), HUB: Side(HUB, huggingface_whole)}

        def measure(side: Side) -> float:
            server.seen.clear()
            answer = compare.once(whole[side.name], url=server.url, folder=str(tmp_path / side.name))
            assert answer["files"] == 100
            return sum(seen.host == server.host for seen in server.seen)

        row_of(compare, "requests to the Hub for 100 files", measure, REQUESTS, "requests")


# read as it comes


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A repository with a parquet file as data sets have them: 1,000 to 6,000 characters a text, other columns too."""
    folder = tmp_path_factory.mktemp("table") / PUBLISHED
    folder.mkdir(parents=True)
    write_table(folder / "train.parquet")
    yield folder.parent.parent
    (folder / "train.parquet").unlink()


def write_table(path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    draw = random.Random(1)
    words = ["".join(draw.choices("etaoinshrdlucmfw", k=draw.randint(1, 9))) for _ in range(30_000)]
    texts = [" ".join(draw.choices(words, k=draw.randint(160, 1000))) for _ in range(100_000)]
    kinds = [(name, pyarrow.string()) for name in ("id", "text", "url")] + [("token_count", pyarrow.int64())]
    with parquet.ParquetWriter(path, pyarrow.schema(kinds), compression="zstd") as writer:
        number = 0
        while path.stat().st_size < TABLE:
            some = texts[number % len(texts) :][:10_000]
            ids = [f"<urn:uuid:{number + row}>" for row in range(len(some))]
            urls = [f"https://example.org/{draw.randrange(10**9)}/{row}" for row in range(len(some))]
            columns = {"id": ids, "text": some, "url": urls, "token_count": [len(text) // 4 for text in some]}
            writer.write_table(pyarrow.table(columns, schema=pyarrow.schema(kinds)))
            number += len(some)


def test_streaming(compare: Compare, table: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.support.hub_server", str(table)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None and server.stdin is not None
        url = server.stdout.readline().strip()
        ours, peer = Side("pylm", ours_streamed), Side("datasets", datasets_streamed)
        name = "2 GB of remote parquet → text, as it comes"
        run = compare(name, ours, [peer], rounds=3, url=url, folder=str(tmp_path / "x"))
        server.stdin.close()
    run.faster(5.0, than="datasets")
    run.at_most(MOST_MEMORY)


def test_bytes_on_the_wire(compare: Compare, table: Path) -> None:
    """Of a twentieth of a file: what the server sends, and what the row groups have that hold it."""
    from pyarrow import parquet

    import pylm

    path = table / PUBLISHED / "train.parquet"
    metadata = parquet.ParquetFile(path).metadata
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    text = [name for name in range(metadata.num_columns) if groups[0].column(name).path_in_schema == "text"][0]
    wanted, rows, needed = metadata.num_rows // 20, 0, 0
    for group in groups:
        needed += group.column(text).total_compressed_size if rows < wanted else 0
        rows += group.num_rows
    with HubServer() as server:
        url = server.add_plain("train.parquet", path)
        sent = 0

        def read() -> None:
            nonlocal sent
            server.sent = 0
            assert sum(1 for _ in pylm.data.source(url, meta=False, allow_private=True).take(wanted)) == wanted
            time.sleep(1)  # what was asked for ahead comes too
            sent = server.sent

        compare.benchmark.pedantic(read, rounds=1, iterations=1)
    ratio = sent / needed
    verdict = "met" if ratio <= 1.05 else "short"
    row = Row("a twentieth of 2 GB of parquet: bytes sent, to those of the row groups", ratio, None, None, None, None,
              "≤ 1.05×", verdict, "×")  # fmt: skip
    compare.report.add(compare.subject, row)
