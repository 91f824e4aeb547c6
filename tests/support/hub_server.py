"""A Hub on loopback: repositories pinned to commits, listings in pages, large files on another host name, and faults.

    with HubServer() as hub:
        sha = hub.add("org/name", {"data/a.parquet": b"...", "README.md": b"..."})
        hub.fault("a.parquet", truncate=1000, times=3)     # of the next three answers, the first 1,000 bytes
        os.environ["HF_ENDPOINT"] = hub.url
        ...
        assert not any("Authorization" in seen.headers for seen in hub.seen if seen.host == hub.elsewhere)

`python -m tests.support.hub_server FOLDER` serves FOLDER/ORG/NAME/… from a process of its own, and prints its address.
"""

from __future__ import annotations

import email.message
import hashlib
import json
import re
import ssl
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

__all__ = ["CERTIFICATE", "Fault", "HubServer", "Seen"]

CERTIFICATE = Path(__file__).with_name("localhost.pem")  # for 127.0.0.1 and localhost, signed by itself, for tests only
LARGE = 4096  # bytes from which a file lies elsewhere, as those of LFS do
CONVERTED = "refs/convert/parquet"


@dataclass(frozen=True)
class Blob:
    """The content of a file, with what the Hub says of it."""

    content: bytes | Path
    size: int
    sha256: str
    git_sha1: str
    is_large: bool

    @classmethod
    def of(cls, content: bytes | Path, is_large: bool | None) -> Blob:
        size = len(content) if isinstance(content, bytes) else content.stat().st_size
        sha256, git = hashlib.sha256(), hashlib.sha1(b"blob %d\0" % size)
        for block in [content] if isinstance(content, bytes) else blocks(content):
            sha256.update(block)
            git.update(block)
        return cls(content, size, sha256.hexdigest(), git.hexdigest(), size >= LARGE if is_large is None else is_large)


@dataclass
class Repository:
    """Files at a commit; branches name commits."""

    commits: dict[str, dict[str, Blob]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    gated: bool = False
    private: bool = False


@dataclass
class Fault:
    """What goes wrong with the next `times` requests whose path has `match` in it; -1: with each."""

    match: str
    times: int = 1
    status: int | None = None  # with `headers`, instead of an answer
    headers: Mapping[str, str] = field(default_factory=dict)
    truncate: int | None = None  # the connection ends after that many bytes of the body
    drop: bool = False  # the connection ends without an answer
    whole: bool = False  # 200 with all of it, where a range was asked for
    flip: int | None = None  # this byte of the file is another
    shift: int = 0  # bytes by which the range that comes is another than was asked for
    size: int | None = None  # what the headers say the size is
    pause: float = 0.0  # seconds before each block
    block: int = 1 << 16  # bytes that are sent at once where there is a pause
    location: str | None = None  # a redirect to there
    ranges_only: bool = False  # leaves requests without a Range alone


@dataclass(frozen=True)
class Seen:
    """A request as it came."""

    method: str
    host: str
    path: str
    headers: email.message.Message
    status: int


class HubServer:
    """The server and its switches; `seen` is what was asked of it."""

    def __init__(self, *, tls: bool = False, page: int = 1000, token: str | None = None) -> None:
        """`page`: entries of a page of a listing; `token`: what gated and private repositories ask for."""
        self.page, self.token = page, token
        self.relative = False  # small files are redirected on the same host, as huggingface.co does
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.plain: dict[str, Blob] = {}  # files outside of repositories, at /files/
        self.faults: list[Fault] = []
        self.seen: list[Seen] = []
        self.sent = 0  # bytes of bodies
        self.lock = threading.Lock()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": self}))
        self.server.daemon_threads = True
        scheme, port = "http", self.server.server_port
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(CERTIFICATE)
            # the handshake belongs to the thread of the connection, not to the one that accepts
            self.server.socket = context.wrap_socket(
                self.server.socket, server_side=True, do_handshake_on_connect=False
            )
            scheme = "https"
        self.host, self.elsewhere = f"127.0.0.1:{port}", f"localhost:{port}"
        self.url, self.other_url = f"{scheme}://{self.host}", f"{scheme}://{self.elsewhere}"

    def __enter__(self) -> HubServer:
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    def add(
        self,
        name: str,
        files: Mapping[str, bytes | Path],
        *,
        kind: str = "dataset",
        branch: str = "main",
        large: bool | None = None,
        gated: bool = False,
        private: bool = False,
    ) -> str:
        """Make a commit of these files on a branch of a repository; return its name. `large`: all by LFS, or none."""
        blobs = {path: Blob.of(content, large) for path, content in sorted(files.items())}
        repository = self.repositories.setdefault((kind, name), Repository(gated=gated, private=private))
        sha = hashlib.sha1(repr((name, [(p, b.git_sha1) for p, b in blobs.items()])).encode()).hexdigest()
        repository.commits[sha] = blobs
        repository.branches[branch] = sha
        return sha

    def add_plain(self, name: str, content: bytes | Path) -> str:
        """Serve a file at an address outside of every repository, with an ETag that is no hash; return the address."""
        self.plain[name] = Blob.of(content, False)
        return f"{self.url}/files/{quote(name)}"

    def fault(self, match: str, **what: Any) -> Fault:
        """Let something go wrong; see Fault."""
        self.faults.append(Fault(match, **what))
        return self.faults[-1]

    def paths(self, method: str = "GET", host: str | None = None) -> list[str]:
        """Return the paths that were asked for, of one host name or of both."""
        return [seen.path for seen in self.seen if seen.method == method and host in (None, seen.host)]


class _Handler(BaseHTTPRequestHandler):
    hub: HubServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *args: object) -> None:
        """Say nothing."""

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        seen = Seen(self.command, self.headers["Host"] or "", self.path, self.headers, int(code))
        with self.hub.lock:
            self.hub.seen.append(seen)

    def handle(self) -> None:
        try:
            super().handle()
        except OSError:  # whoever asked has gone
            pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.do_GET()

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        fault = self.fault = self.next_fault()
        if fault.drop:
            self.log_request(0)
            self.close_connection = True
        elif fault.location is not None:
            self.answer(302, {"Location": fault.location})
        elif fault.status is not None:
            self.answer(fault.status, fault.headers, b"no")
        elif match := re.fullmatch(r"/api/(model|dataset)s", path):
            wanted = self.query("search")
            self.json([{"id": name} for kind, name in self.hub.repositories if kind == match[1] and wanted in name])
        elif match := re.fullmatch(
            r"/api/(model|dataset)s/([^/]+/[^/]+|[^/]+)/(revision|tree|paths-info|refs)/?(.*)", path
        ):
            self.api(match[1], match[2], match[3], match[4])
        elif match := re.fullmatch(r"/api/(model|dataset)s/([^/]+/[^/]+)", path):
            self.api(match[1], match[2], "revision", "main")
        elif match := re.fullmatch(r"/(datasets/|api/resolve-cache/datasets/)?([^/]+/[^/]+)/resolve/(.+)", path):
            self.resolve("dataset" if match[1] else "model", match[2], match[3], "resolve-cache" in path)
        elif match := re.fullmatch(r"/blobs/([0-9a-f]{64})", path):
            self.blob(match[1])
        elif path.startswith("/files/") and (blob := self.hub.plain.get(path.removeprefix("/files/"))):
            self.content(blob, {"ETag": f'"{blob.sha256[:20]}-7"'})
        else:
            self.answer(404, {}, b"not found")

    def next_fault(self) -> Fault:
        with self.hub.lock:
            for fault in self.hub.faults:
                if fault.times and fault.match in self.path and not (fault.ranges_only and "Range" not in self.headers):
                    fault.times -= 1
                    return fault
        return Fault("")

    def query(self, name: str, default: str = "") -> str:
        return parse_qs(urlsplit(self.path).query).get(name, [default])[0]

    # what the Hub answers

    def open(self, kind: str, name: str, for_content: bool = False) -> Repository | None:
        repository = self.hub.repositories.get((kind, name))
        is_known = self.hub.token is not None and self.headers["Authorization"] == f"Bearer {self.hub.token}"
        if repository is None or (repository.private and not is_known):
            self.refuse(401 if "Authorization" not in self.headers else 404, "RepoNotFound", "Repository not found")
        elif repository.gated and for_content and not is_known:
            self.refuse(401, "GatedRepo", f"Access to {kind} {name} is restricted.")
        else:
            return repository
        return None

    def commit(self, repository: Repository, rest: str) -> tuple[str, str] | None:
        """Split REVISION/PATH; a branch may have slashes."""
        for name in sorted({*repository.branches, *repository.commits}, key=len, reverse=True):
            if rest == name or rest.startswith(name + "/"):
                return repository.branches.get(name, name), rest[len(name) + 1 :]
        self.refuse(404, "RevisionNotFound", f"Invalid rev id: {rest}")
        return None

    def api(self, kind: str, name: str, what: str, rest: str) -> None:
        repository = self.open(kind, name)
        if repository is None:
            return
        if what == "refs":
            branches = [{"name": name, "ref": f"refs/heads/{name}"} for name in repository.branches]
            self.json({"branches": branches, "tags": [], "converts": []})
            return
        if (found := self.commit(repository, rest)) is None:
            return
        sha, under = found
        files = repository.commits[sha]
        if what == "revision":
            self.json({"id": name, "sha": sha, "gated": repository.gated, "private": repository.private,
                       "siblings": [{"rfilename": path} for path in files]})  # fmt: skip
        elif what == "paths-info":
            asked = json.loads(self.body)["paths"]
            self.json([entry(path, files[path]) for path in asked if path in files])
        else:
            self.tree({path: blob for path, blob in files.items() if not under or path.startswith(under + "/")})

    def tree(self, files: dict[str, Blob]) -> None:
        folders = sorted(
            {"/".join(path.split("/")[:depth]) for path in files for depth in range(1, path.count("/") + 1)}
        )
        entries = [{"type": "directory", "oid": "0" * 40, "size": 0, "path": folder} for folder in folders]
        entries += [entry(path, blob) for path, blob in files.items()]
        first, size = int(self.query("cursor", "0")), min(self.hub.page, int(self.query("limit", "1000")))
        url = urlsplit(self.path)
        following = f"{self.hub.url}{url.path}?recursive=true&expand=false&limit={size}&cursor={first + size}"
        more = {"Link": f'<{following}>; rel="next"'} if first + size < len(entries) else {}
        self.json(entries[first : first + size], more)

    def resolve(self, kind: str, name: str, rest: str, is_cached: bool) -> None:
        repository = self.open(kind, name, for_content=True)
        if repository is None or (found := self.commit(repository, rest)) is None:
            return
        sha, path = found
        blob = repository.commits[sha].get(path)
        if blob is None:
            self.refuse(404, "EntryNotFound", "Entry not found")
        elif blob.is_large:
            location = f"{self.hub.other_url}/blobs/{blob.sha256}?X-Signature=secret-{int(time.time())}"
            size = str(self.fault.size if self.fault.size is not None else blob.size)
            self.answer(302, {"Location": location, "X-Linked-Etag": f'"{blob.sha256}"', "X-Linked-Size": size,
                              "X-Repo-Commit": sha, "ETag": f'"{blob.git_sha1}"', "X-Xet-Hash": "0" * 64})  # fmt: skip
        elif self.hub.relative and not is_cached:
            self.answer(307, {"Location": f"/api/resolve-cache/datasets/{name}/resolve/{sha}/{quote(path)}",
                              "X-Repo-Commit": sha, "ETag": f'W/"{blob.git_sha1}"'})  # fmt: skip
        else:
            self.content(blob, {"ETag": f'W/"{blob.git_sha1}"', "X-Repo-Commit": sha})

    def blob(self, sha256: str) -> None:
        everything = [blob for r in self.hub.repositories.values() for c in r.commits.values() for blob in c.values()]
        if "Authorization" in self.headers:
            self.answer(400, {}, b"only one auth mechanism allowed")  # as signed addresses answer
            return
        found = next((blob for blob in everything if blob.sha256 == sha256), None)
        if found is None:
            self.answer(403, {}, b"expired")
        else:
            self.content(found, {"ETag": f'"{sha256[:32]}-12"'})  # of parts: no hash of the content

    # how it answers

    def refuse(self, status: int, code: str, message: str) -> None:
        self.answer(status, {"X-Error-Code": code, "X-Error-Message": message}, message.encode())

    def json(self, value: Any, headers: Mapping[str, str] | None = None) -> None:
        self.answer(200, {"Content-Type": "application/json", **(headers or {})}, json.dumps(value).encode())

    def answer(self, status: int, headers: Mapping[str, str], body: bytes = b"") -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def content(self, blob: Blob, headers: Mapping[str, str]) -> None:
        """Answer with a file or the range of it that was asked for, and with what is wrong today."""
        fault = self.fault
        size = blob.size if fault.size is None else fault.size
        asked = None if fault.whole else re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        start, end = 0, size
        if asked:
            start, end = int(asked[1]) + fault.shift, min(size, int(asked[2]) + 1 if asked[2] else size)
            if start >= size:
                self.answer(416, {"Content-Range": f"bytes */{size}"})
                return
        self.send_response(206 if asked else 200)
        for name, value in headers.items():
            self.send_header(name, value)
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{size}")
        self.send_header("Content-Length", str(end - start))
        self.send_header("Accept-Ranges", "bytes")
        self.end_headers()
        if self.command != "HEAD":
            self.send(blob, start, min(end, blob.size))

    def send(self, blob: Blob, start: int, end: int) -> None:
        fault = self.fault
        if fault.truncate is not None:
            end = min(end, start + fault.truncate)
            self.close_connection = True
        if end < blob.size and fault.size is not None and fault.size > blob.size:
            self.close_connection = True
        with self.hub.lock:
            self.hub.sent += end - start
        if isinstance(blob.content, Path) and fault.flip is None and not fault.pause:
            self.wfile.flush()
            with blob.content.open("rb") as file:
                self.connection.sendfile(file, start, end - start)  # by the kernel where there is no TLS
            return
        block = fault.block if fault.pause else 1 << 20
        for at in range(start, end, block):
            time.sleep(fault.pause)
            self.wfile.write(self.part(blob, at, min(at + block, end)))

    def part(self, blob: Blob, start: int, end: int) -> bytes:
        flip = self.fault.flip
        if isinstance(blob.content, Path):
            with blob.content.open("rb") as file:
                file.seek(start)
                part = file.read(end - start)
        else:
            part = blob.content[start:end]
        if flip is not None and start <= flip < end:
            part = part[: flip - start] + bytes([part[flip - start] ^ 1]) + part[flip - start + 1 :]
        return part


def entry(path: str, blob: Blob) -> dict[str, Any]:
    """Return a file as listings have it."""
    listed: dict[str, Any] = {"type": "file", "oid": blob.git_sha1, "size": blob.size, "path": path}
    if blob.is_large:
        listed["lfs"] = {"oid": blob.sha256, "size": blob.size, "pointerSize": 134}
        listed["xetHash"] = "0" * 64
    return listed


def blocks(path: Path) -> Any:
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            yield block


def main(folder: str) -> None:
    with HubServer() as hub:
        for repository in sorted(Path(folder).glob("*/*")):
            name = f"{repository.parent.name}/{repository.name}"
            files = {p.relative_to(repository).as_posix(): p for p in repository.rglob("*") if p.is_file()}
            hub.add(name, files)
        print(hub.url, flush=True)
        sys.stdin.read()  # until whoever started it closes the pipe


if __name__ == "__main__":
    main(sys.argv[1])
