"""The native module from several threads, in a forked child, in a sub-interpreter and at the interpreter's end.

What went wrong here ended the process, so that each case runs in one of its own.
"""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import textwrap
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pylm import _native
from pylm.data.loader import Loader
from pylm.errors import UsageError
from tests.native.conftest import WriteData

ROOT = Path(__file__).parents[2]
MODEL = """
import numpy as np, sys, threading, time
from pylm import _native
from pylm.errors import PylmError
SHAPE = dict(n_layers=1, n_heads=4, n_kv_heads=2, d_model=256, d_ff=256, vocab_size=64, context_length=3000)
random = np.random.default_rng(1)
def tensor(*size): return random.normal(size=size).astype(np.float32) / 16
block = "blocks.0."
weights = {"embed.weight": tensor(64, 256), "norm.weight": tensor(256), block + "attention.norm.weight": tensor(256),
    block + "attention.qkv.weight": tensor(512, 256), block + "attention.out.weight": tensor(256, 256),
    block + "mlp.norm.weight": tensor(256), block + "mlp.gate.weight": tensor(256, 256),
    block + "mlp.up.weight": tensor(256, 256), block + "mlp.down.weight": tensor(256, 256)}
def engine(): return _native.Engine(weights, **SHAPE, threads=1)
ids = [i % 64 for i in range(2000)]
"""


def run(script: str, *arguments: object) -> str:
    """What a script prints in a process of its own, which must end well."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0 and not done.stderr, (done.returncode, done.stderr[-2000:])
    return done.stdout


@pytest.fixture
def folder(write_data: WriteData) -> Path:
    return write_data("data", [[np.arange(60_000) % 50_000]])


def test_a_ring_keeps_the_arrays_that_it_writes_to(folder: Path) -> None:
    loader = Loader(folder, 64, 4)
    slots = [(np.zeros((4, 64), np.int64), np.zeros((4, 64), np.int64), None) for _ in range(3)]
    alive = [weakref.ref(array) for slot in slots for array in slot if array is not None]
    ring = _native.Ring(loader._batches, slots, 1, 0)
    slots.clear()
    gc.collect()
    assert all(one() is not None for one in alive)
    slot, _ = ring.take()
    np.testing.assert_array_equal(alive[2 * slot](), loader.batch(0).inputs)
    del ring
    gc.collect()
    assert not any(one() is not None for one in alive)


def test_a_closed_ring_says_so(folder: Path) -> None:
    loader = Loader(folder, 64, 4)
    next(loader)
    ring: Any = loader._ring
    ring.close()
    ring.close()
    with pytest.raises(UsageError, match="the ring is closed"):
        ring.take()
    loader.close()
    np.testing.assert_array_equal(next(loader).inputs, loader.batch(1).inputs)


CLOSING = """
import sys, threading, time
from pylm.data.loader import Loader
from pylm.errors import UsageError
loader = Loader(sys.argv[1], 20_000, 32, depth=3)
said, taken, ending = [], 0, time.monotonic() + 100
def take():
    global taken
    while len(said) < 20 and time.monotonic() < ending:
        try:
            next(loader)
            taken += 1
        except UsageError as error:
            said.append(error.message)
taker = threading.Thread(target=take)
taker.start()
while taker.is_alive():
    if loader._ring is not None:  # it is being filled, which takes milliseconds, and the other thread waits for it
        loader.close()
    time.sleep(0.0002)
taker.join()
assert loader.state()["step"] == taken, (loader.state(), taken)
print(*set(said))
"""


def test_a_loader_may_be_closed_while_another_thread_waits_for_a_batch(folder: Path) -> None:
    assert run(CLOSING, folder).strip() == "the ring is closed"


SHARING = """
import sys, threading
from pylm.data.loader import Loader
loader, steps, found = Loader(sys.argv[1], 64, 4, depth=8), 200, []
def consume():
    for _ in range(steps):
        batch = next(loader)
        found.append(int(batch.inputs[0, 0]))
threads = [threading.Thread(target=consume) for _ in range(3)]
for thread in threads: thread.start()
for thread in threads: thread.join()
assert loader.state()["step"] == 3 * steps
# a batch is overwritten once two more are taken, so that which rows were seen is not sure; that each step went once is
assert len(found) == 3 * steps
"""


def test_threads_share_a_loader(folder: Path) -> None:
    run(SHARING, folder)


@pytest.mark.parametrize(
    "meanwhile",
    ["cache.truncate(cache.length)", "cache.copy(full)", "full.copy(cache)", "other.decode([1], [cache])"],
)
def test_a_cache_is_used_by_one_thread_at_a_time(meanwhile: str) -> None:
    script = f"""
    one, other = engine(), engine()
    cache, full = one.cache(), one.cache()
    expected = one.read(ids, full)
    said, found = set(), []
    for _ in range(3):
        cache.truncate(0)
        reader = threading.Thread(target=lambda: found.append(one.read(ids, cache)))
        reader.start()
        while cache.length == 0 and reader.is_alive():
            time.sleep(0.001)
        while reader.is_alive() and cache.length < len(ids):
            try:
                {meanwhile}
            except PylmError as error:
                said.add(error.message)
        reader.join()
    assert said <= {{"the cache is in use by another thread"}}, said
    assert len(found) == 3 and all((one == expected).all() for one in found)
    assert cache.length <= len(ids) + 1
    print(*said)
    """
    assert run(MODEL + textwrap.dedent(script)).strip() == "the cache is in use by another thread"


def test_the_caches_of_a_decode_outlive_the_list_they_came_in() -> None:
    script = """
    one = engine()
    full = one.cache()
    one.read(ids, full)
    def decode():
        while caches:
            one.decode([1] * len(caches), caches)
    for _ in range(10):
        caches = [one.cache() for _ in range(16)]
        for cache in caches:
            cache.copy(full)
        del cache
        reader = threading.Thread(target=decode)
        reader.start()
        time.sleep(0.005)
        caches.clear()
        reader.join()
    """
    run(MODEL + textwrap.dedent(script))


AT_THE_END = {
    "engine": "lambda: one.read(ids[:20], one.cache())",
    "loader": "lambda: next(loader)",
    "sampler": "lambda: _native.sample(logits, 'float32', settings, None, 1, [0], [0])",
}


@pytest.mark.parametrize("call", AT_THE_END.values(), ids=AT_THE_END.keys())
def test_a_daemon_thread_in_the_module_lets_the_process_end(call: str, folder: Path) -> None:
    script = f"""
    from pylm.data.loader import Loader
    one, loader = engine(), Loader(sys.argv[1], 20_000, 32, depth=3)
    logits, settings = np.zeros((1, 50_000), np.float32), _native.SampleSettings(top_p=0.9)
    begun = threading.Event()
    call = {call}
    def forever():
        while True:
            begun.set()
            call()
    class Slow:
        def __del__(self, sleep=time.sleep):
            sleep(0.2)  # the interpreter has ended for others, and they ask for its lock
    slow = Slow()
    threading.Thread(target=forever, daemon=True).start()
    begun.wait()
    time.sleep(0.02)
    """
    for _ in range(3):
        run(MODEL + textwrap.dedent(script), folder)


def test_nothing_computes_under_pybind11_s_own_release() -> None:
    """Its destructor aborts the process where a daemon thread asks for the lock of an interpreter that has ended."""
    for path in (ROOT / "csrc" / "bind").glob("*.cpp"):
        assert "gil_scoped_release" not in path.read_text(encoding="utf-8"), path


SUB_INTERPRETER = """
import sys
try:
    import _interpreters as sub
except ImportError:
    import _xxsubinterpreters as sub
code = f"import sys; sys.path[:0] = {sys.path!r}; import pylm._native"
try:
    found = sub.exec(sub.create(), code) if hasattr(sub, "exec") else sub.run_string(sub.create(), code)
    print("no error" if found is None else found.msg)
except sub.RunFailedError as error:
    print(error)
import pylm._native
print(pylm._native.cpu_info()["variant"])
"""


def test_a_sub_interpreter_is_refused() -> None:
    said, variant = run(SUB_INTERPRETER).splitlines()
    assert "does not work in a sub-interpreter" in said or "does not support loading in subinterpreters" in said
    assert variant == _native.cpu_info()["variant"]


FORKED = """
import os, sys
from pylm.data.loader import Loader
from pylm.errors import UsageError
loader = Loader(sys.argv[1], 64, 4)
next(loader)
child = os.fork()
if child == 0:
    try:
        next(loader)
        os._exit(3)
    except UsageError as error:
        print(error.message, "|", error.hint, flush=True)
    loader.close()
    same = (next(loader).inputs == loader.batch(1).inputs).all()
    del loader
    os._exit(0 if same else 4)
_, status = os.waitpid(child, 0)
assert status == 0, status
assert (next(loader).inputs == loader.batch(1).inputs).all()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_has_no_threads_that_fill_the_ring(folder: Path) -> None:
    said, hint = run(FORKED, folder).split("|")
    assert "forked process" in said and "close()" in hint
