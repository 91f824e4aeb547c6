"""The process in which chat templates are parsed and rendered: requests on stdin, answers on stdout, until stdin ends.

A template may be hostile, and what it asks for in time and memory cannot be counted from within the interpreter that
runs it: so it runs in one that has little of both. Started by `pylm.tokenizer.renderer`, which reads the answers with
care; imports nothing of pylm's native modules.

A message is its length in eight bytes and that many bytes more: a request is one dictionary in marshal's form, an
answer two messages, a line of JSON and a text.
"""

from __future__ import annotations

import functools
import json
import marshal
import os
import re
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    from pylm.tokenizer.sandbox import Sandbox

__all__ = ["MEMORY", "main", "read_message", "write_message"]

MEMORY = 1 << 30  # bytes of address space, of which the interpreter itself takes a tenth
MOST_ERROR_CHARACTERS = 300


def read_message(stream: BinaryIO) -> bytes | None:
    """Return the next message, None at the end."""
    size = stream.read(8)
    return stream.read(int.from_bytes(size, "little")) if len(size) == 8 else None


def write_message(stream: BinaryIO, content: bytes) -> None:
    """Send a message."""
    stream.write(len(content).to_bytes(8, "little"))
    stream.write(content)
    stream.flush()


def main() -> None:
    """Answer until nobody asks any more, or until memory was asked for that there is not."""
    _bound_memory()
    import pylm.tokenizer.sandbox  # noqa: F401 - before any clock runs

    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    while (request := read_message(requests)) is not None:
        asked: dict[str, Any] = marshal.loads(request)
        signal.setitimer(signal.ITIMER_PROF, asked["seconds"])  # SIGPROF ends the process, whatever it is doing
        said, text = _answer(asked)
        signal.setitimer(signal.ITIMER_PROF, 0)
        write_message(answers, json.dumps(said).encode())
        write_message(answers, text)
        if said.get("spent"):
            return


def _answer(asked: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    """Return what became of a request: where the text is the conversation's, or why there is none."""
    spent = False
    try:
        return _rendered(asked)
    except MemoryError:
        spent = True
    except RecursionError:
        return {
            "refused": "the chat template goes past the limit of recursion: it nests or calls itself too deeply"
        }, b""
    except Exception as error:
        return _refusal(error), b""
    # only here is free again what the template had taken
    return {"refused": f"the chat template asks for more than {MEMORY >> 20:,} MB of memory", "spent": spent}, b""


def _rendered(asked: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    from pylm.tokenizer.said import mask_of
    from pylm.tokenizer.sandbox import Sandbox

    if "brought" not in asked:
        Sandbox(asked["template"])
        return {}, b""
    sandbox = _sandbox(asked["template"])
    text = sandbox.rendered(asked["named"], asked["brought"])
    plain, mask, generated = _without_borders(text, mask_of(text), sandbox.borders)
    spans = [match.span() for match in re.finditer(b"\1+", mask)]
    return {"spans": spans, "generated": generated if sandbox.marks else None}, plain.encode("utf-8", "surrogatepass")


def _without_borders(text: str, mask: bytes, borders: tuple[str, str]) -> tuple[str, bytes, list[tuple[int, int]]]:
    """Return a text and its mask without the borders of what is generated, and from where to where that is then."""
    from pylm.tokenizer.said import Refused

    texts: list[str] = []
    masks: list[bytes] = []
    places: list[int] = []
    cursor = length = 0
    for found in re.finditer("|".join(map(re.escape, borders)), text):
        start, end = found.span()
        if found[0] != borders[len(places) % 2]:
            raise Refused("the chat template has a generation block within another, or one that it leaves halfway")
        texts.append(str.__getitem__(text, slice(cursor, start)))
        masks.append(mask[cursor:start])
        length += start - cursor
        places.append(length)
        cursor = end
    if len(places) % 2:
        raise Refused("the chat template has a generation block that it leaves halfway")
    texts.append(str.__getitem__(text, slice(cursor, None)))
    return "".join(texts), b"".join([*masks, mask[cursor:]]), list(zip(places[::2], places[1::2], strict=True))


@functools.lru_cache(maxsize=1)
def _sandbox(template: str) -> Sandbox:
    """Return the template, compiled once: a conversation has one."""
    from pylm.tokenizer.sandbox import Sandbox

    return Sandbox(template)


def _refusal(error: Exception) -> dict[str, Any]:
    from jinja2 import TemplateSyntaxError

    from pylm.tokenizer.said import Refused

    said = str(error).split("\n")[0][:MOST_ERROR_CHARACTERS]
    if isinstance(error, Refused):
        return {"refused": said}
    if isinstance(error, TemplateSyntaxError):
        return {"refused": f"line {error.lineno} of the chat template: {said}", "hint": "mend it"}
    hint = "set chat_template, or give the messages that it expects"
    return {"refused": f"the chat template fails: {said or type(error).__name__}", "hint": hint}


def _bound_memory() -> None:
    """Let the system refuse memory past the bound; where it does not (macOS), look after it."""
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform != "darwin":
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        return
    threading.Thread(target=_look_after_memory, daemon=True).start()


def _look_after_memory() -> None:
    import resource

    while resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < MEMORY:  # bytes there
        time.sleep(0.02)
    os.kill(os.getpid(), signal.SIGXCPU)  # which the other side knows from its own limits
