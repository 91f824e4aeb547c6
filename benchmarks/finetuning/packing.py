"""Counted tokens a second: packed windows beside padded batches of the same examples, by the same model."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from benchmarks.compare import Compare, Side

MEDIAN, CONTEXT, ANSWER = 150, 1024, 0.4  # tokens of an example, of a window; the share that is learned
EXAMPLES, AT_ONCE = 256, 8  # TRL pads eight to the longest of them, unless told otherwise
SHAPE: dict[str, Any] = {"n_layers": 6, "n_heads": 4, "d_model": 256, "context_length": CONTEXT}
VOCABULARY = 8192
BOTH: dict[str, Any] = {"threads": 2, "cores": 2}


def packed(folder: str, **_: Any) -> dict[str, Any]:
    """Windows as the loader packs them."""
    from pylm.data import Loader
    from pylm.training.backend import cut

    loader = Loader(folder, CONTEXT, 1, window="packed")
    batches = [loader.batch(number) for number in range(loader.windows)]
    rows = [cut(one.inputs.copy(), one.targets.copy(), one.cu_seqlens, None, 1)[0] for one in batches]
    return _trained(rows)


def padded(folder: str, **_: Any) -> dict[str, Any]:
    """Eight examples at a time, each as long as the longest of them."""
    import numpy as np

    from pylm.training.backend import IGNORED, MicroBatch

    ids = np.fromfile(Path(folder, "train_00000.bin"), np.uint16).astype(np.int64)
    bits = np.fromfile(Path(folder, "train_00000.mask"), np.uint8)
    counts = np.unpackbits(bits, bitorder="little")[: len(ids)].astype(bool)
    starts = np.fromfile(Path(folder, "train_00000.idx"), np.uint64).astype(np.int64)
    spans = list(zip(starts[:-1], starts[1:], strict=True))
    order, batches = np.random.default_rng(0).permutation(len(spans)), []
    for first in range(0, len(order), AT_ONCE):
        part = [spans[number] for number in order[first : first + AT_ONCE]]
        longest = max(stop - start for start, stop in part) - 1
        inputs, targets = np.zeros((len(part), longest), np.int64), np.full((len(part), longest), IGNORED)
        for row, (start, stop) in enumerate(part):
            inputs[row, : stop - start - 1] = ids[start : stop - 1]
            learned = counts[start + 1 : stop]
            targets[row, : stop - start - 1][learned] = ids[start + 1 : stop][learned]
        batches.append(MicroBatch(inputs, targets))
    return _trained(batches)


def _trained(batches: list[Any]) -> dict[str, Any]:
    """Train on all of them, a step for each fourth of the examples; seconds for a million counted tokens."""
    from pylm.config.schema import Model, Train
    from pylm.config.shape import complete
    from pylm.training.backend import IGNORED
    from pylm.training.torch_backend import make

    backend = make(complete(Model.model_validate(SHAPE), VOCABULARY), Train.model_validate({"compile": False}))
    each = -(-len(batches) // 4)
    steps = [batches[first : first + each] for first in range(0, len(batches), each)]
    backend.step(steps[0][:2], 1e-3)
    started = time.perf_counter()
    for micro_batches in steps:
        backend.step(micro_batches, 1e-3)
    spent = time.perf_counter() - started
    counted = sum(int((one.targets != IGNORED).sum()) for one in batches)
    return {"seconds": 1e6 * spent / counted, "result": counted, "computed": sum(one.inputs.size for one in batches)}


def prepared(folder: Path) -> str:
    """Examples of random ids, of lengths as people write them."""
    import numpy as np

    from pylm.data.chat import prepare
    from pylm.tokenizer import Tokenizer

    drawn = np.random.default_rng(5)
    lengths = np.clip(drawn.lognormal(np.log(MEDIAN), 0.8, EXAMPLES).round().astype(int), 8, CONTEXT)
    letters = Tokenizer.train(lambda: ["a"], vocab_size=257)  # a token a letter
    text = "".join(map(chr, drawn.integers(97, 123, CONTEXT)))
    rows = (
        {"prompt": text[: length - int(ANSWER * length)], "completion": text[: int(ANSWER * length)]}
        for length in map(int, lengths)
    )
    return str(prepare(rows, letters, folder, val=0, context_length=CONTEXT))


def test_packed_beside_padded(compare: Compare, tmp_path: Path) -> None:
    sides = Side("pylm", packed), [Side("pylm", padded, label="padded, 8 at a time")]
    run = compare("a million counted tokens", *sides, **BOTH, folder=prepared(tmp_path / "x"))
    run.faster(2.5, than="padded, 8 at a time")
