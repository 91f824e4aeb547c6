"""Asks another process to render chat templates: what a template takes of time and memory is taken there.

The process starts with the first template, lives as long as this one and serves it all: a conversation pays for the
start once, a tenth of a second.
"""

from __future__ import annotations

import atexit
import json
import marshal
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from typing import Any

from pylm.errors import TokenizerError
from pylm.tokenizer.render_child import MEMORY

__all__ = ["check", "rendered"]

SECONDS = 10.0  # processor's time for one rendering; templates in use take milliseconds
WALL_SECONDS = 300.0  # however busy the machine is
MOST_BYTES = 256 << 20  # bytes of an answer
START = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from pylm.tokenizer.render_child import main; main()"

Spans = list[tuple[int, int]]


class _Renderer:
    """A process that renders, asked by one thread at a time, and started anew where it ended."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def ask(self, request: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
        """Send a request and return what came back, or raise with what ended the process."""
        try:
            content = marshal.dumps({**request, "seconds": SECONDS})
        except ValueError:  # it has a limit of its own, whatever the limit of recursion was raised to
            raise TokenizerError("the conversation is nested too deeply", "give it fewer levels") from None
        with self._lock:
            process = self._started()
            done = False
            try:
                said = self._exchange(process, content)
                done = "spent" not in said[0]
                return said
            except (EOFError, BrokenPipeError):
                process.wait()
                raise _ended(process.returncode) from None
            finally:
                if not done:  # also where Ctrl-C came in between: a late answer is not to meet the next question
                    self._stop()

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            path = [os.path.abspath(entry) for entry in sys.path]
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-c", START, json.dumps(path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C in a terminal is for this process
            )
        return self._process

    def _exchange(self, process: subprocess.Popen[bytes], content: bytes) -> tuple[dict[str, Any], bytes]:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(len(content).to_bytes(8, "little") + content)
        process.stdin.flush()
        until = time.monotonic() + WALL_SECONDS
        said = _received(process.stdout.fileno(), until)
        return json.loads(said), _received(process.stdout.fileno(), until)

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    try:
                        stream.close()
                    except BrokenPipeError:
                        pass

    def close(self) -> None:
        """End the process."""
        with self._lock:
            self._stop()


_renderer = _Renderer()
atexit.register(lambda: _renderer.close())
# a fork shares pipes and lock with its parent: it gets a process of its own
os.register_at_fork(after_in_child=lambda: _renderer.__init__())  # type: ignore[misc]


def check(template: str) -> None:
    """Raise for a template that does not parse."""
    _asked({"template": template})


def rendered(template: str, named: Mapping[str, str], brought: Mapping[str, Any]) -> tuple[str, Spans, Spans | None]:
    """Return what a template renders.

    Args:
        template: the template.
        named: special tokens by their offices, which the template may write as its own.
        brought: what the conversation brings, of JSON's types alone.

    Returns:
        The text, from where to where it is what the conversation brought, and from where to where what a model is to
        write, as the template says: None where it never says so.
    """
    said, text = _asked({"template": template, "named": dict(named), "brought": dict(brought)})
    generated = None if said["generated"] is None else _spans(said["generated"])
    return text.decode("utf-8", "surrogatepass"), _spans(said["spans"]), generated


def _spans(said: list[list[int]]) -> Spans:
    return [(start, end) for start, end in said]


def _asked(request: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    said, text = _renderer.ask(request)
    if "refused" in said:
        raise TokenizerError(str(said["refused"]), str(said.get("hint", HINT)))
    return said, text


HINT = "another chat_template, or other messages"


def _received(pipe: int, until: float) -> bytes:
    size = int.from_bytes(_exactly(pipe, 8, until), "little")
    if size > MOST_BYTES:
        raise TokenizerError(f"the chat template's process answers with {size:,} bytes", HINT)
    return _exactly(pipe, size, until)


def _exactly(pipe: int, size: int, until: float) -> bytes:
    parts: list[bytes] = []
    while size:
        left = until - time.monotonic()
        waiting = select.poll()
        waiting.register(pipe, select.POLLIN)
        if left <= 0 or not waiting.poll(left * 1000):
            raise TokenizerError(f"the chat template is not done after {WALL_SECONDS:.0f} seconds", HINT)
        part = os.read(pipe, min(size, 1 << 20))
        if not part:
            raise EOFError
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _ended(code: int) -> TokenizerError:
    """Return what ended the process that rendered."""
    if code == -signal.SIGPROF:
        return TokenizerError(f"the chat template takes more than {SECONDS:g} seconds", HINT)
    if code == -signal.SIGXCPU:
        return TokenizerError(f"the chat template asks for more than {MEMORY >> 20:,} MB of memory", HINT)
    how = signal.Signals(-code).name if code < 0 else f"code {code}"
    return TokenizerError(f"the chat template ended the process that renders it ({how})", HINT)
