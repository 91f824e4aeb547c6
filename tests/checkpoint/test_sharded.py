"""Checkpoints that several ranks write: shards that torch reads, joined to what one process would have written."""

import errno
import json
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest

from pylm.checkpoint import (
    Piece,
    ShardedSaver,
    Tensor,
    consolidate,
    find,
    newest_sound,
    open_weights,
    read,
    read_tensors,
    sharded_saver,
    verify,
)
from pylm.checkpoint.sharded import WEIGHTS, join, shard_file, write_shard
from pylm.errors import CheckpointError

CONFIG, TEXTS = "train: {}\n", {"tokenizer.json": "{}"}
# odd sizes: rows that no number of ranks divides, fewer rows than ranks, a vector, a scalar
SHAPES = {"embed.weight": (101, 6), "norm.weight": (3,), "blocks.0.mlp.up.weight": (7, 2, 3), "one": (1, 5)}


def tensors(seed: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    return {name: random.standard_normal(shape).astype("<f4") for name, shape in SHAPES.items()}


def pieces(arrays: dict[str, np.ndarray], rank: int, world: int) -> dict[str, Tensor]:
    """Cut as FSDP2 does: ceil(rows / world) for each rank, the last ones with fewer or none."""
    found = {}
    for name, array in arrays.items():
        if not array.shape:
            if rank == 0:
                found[name] = Tensor.of("I64", (), array.tobytes())
            continue
        chunk = -(-len(array) // world)
        part = array[rank * chunk : (rank + 1) * chunk]
        found[name] = Piece(**vars(Tensor.of("F32", part.shape, part.tobytes())), first=min(rank * chunk, len(array)))
    return found


class Ranks:
    """So many savers, each in a thread of its own, which hear each other's numbers."""

    def __init__(self, run: Path, world: int, consolidates: bool = True) -> None:
        self.run, self.world = run, world
        self.barrier, self.told = threading.Barrier(world, timeout=20), [[] for _ in range(world)]
        run.mkdir(exist_ok=True)
        self.savers = [
            ShardedSaver(run, 2, CONFIG, TEXTS, rank=rank, gather=lambda mine, rank=rank: self.gather(rank, mine),
                         consolidates=consolidates)
            for rank in range(world)
        ]  # fmt: skip

    def gather(self, rank: int, numbers) -> list[list[int]]:
        self.told[rank] = [int(number) for number in numbers]
        self.barrier.wait()
        told = [list(one) for one in self.told]
        self.barrier.wait()
        return told

    def save(self, step: int, weights, optimizer, average=None, best: bool = False) -> None:
        state = {"step": step} | ({} if average is None else {"average": {"kind": "ema", "steps": 1}})
        for rank, saver in enumerate(self.savers):
            saver.save(*(pieces(one, rank, self.world) for one in (weights, optimizer)), state, best,
                       None if average is None else pieces(average, rank, self.world))  # fmt: skip

    def wait(self) -> list[BaseException | None]:
        failed: list[BaseException | None] = []
        for saver in self.savers:
            try:
                saver.wait()
                failed.append(None)
            except (CheckpointError, OSError) as error:
                failed.append(error)
        return failed


def arrays(stored) -> dict[str, np.ndarray]:
    kinds = {"F32": "<f4", "I64": "<i8"}
    return {name: np.frombuffer(one.data, kinds[one.dtype]).reshape(one.shape) for name, one in stored.items()}


def same(stored, wanted: dict[str, np.ndarray]) -> None:
    found = arrays(stored)
    assert found.keys() == wanted.keys()
    for name, array in wanted.items():
        assert found[name].shape == array.shape and found[name].tobytes() == array.tobytes(), name


@pytest.mark.parametrize("world", [1, 2, 4])
def test_what_ranks_save_together_is_the_usual_folder(tmp_path, world):
    weights, moments, average = tensors(1), {"step": np.array(7), **tensors(2)}, tensors(3)
    ranks = Ranks(tmp_path / "run", world)
    ranks.save(7, weights, moments, average, best=True)
    assert ranks.wait() == [None] * world
    folder = tmp_path / "run" / "checkpoints" / "step_7"
    checkpoint = verify(folder)
    same(read_tensors(folder / "model.safetensors"), weights)
    same(read_tensors(folder / "optimizer.safetensors"), moments)
    same(checkpoint.average().weights(), average)
    assert checkpoint.texts() == TEXTS and not checkpoint.in_shards
    assert sorted(entry.name for entry in folder.parent.iterdir()) == ["best", "last", "step_7"]
    assert [saver.take_written() for saver in ranks.savers] == [[(7, True)]] * world


@pytest.mark.parametrize("world", [1, 2, 4])
def test_shards_are_read_as_they_are_and_consolidated_later(tmp_path, world):
    weights, moments = tensors(1), {"step": np.array(7), **tensors(2)}
    ranks = Ranks(tmp_path / "run", world, consolidates=False)
    ranks.save(7, weights, moments)
    assert ranks.wait() == [None] * world
    folder = find(f"{tmp_path}/run/last")
    checkpoint = verify(folder)
    assert checkpoint.in_shards and checkpoint.texts() == TEXTS
    same(checkpoint.weights(), weights)
    same(checkpoint.optimizer(), moments)
    with pytest.raises(CheckpointError, match=r"step_7 is in shards, as \d ranks? wrote them") as refused:
        open_weights(f"{tmp_path}/run")
    assert f"pylm checkpoint consolidate {folder}" in str(refused.value.hint)
    assert consolidate(folder) is True
    assert consolidate(folder) is False
    assert not verify(folder).in_shards
    assert sorted(entry.name for entry in folder.iterdir()) == sorted(
        ["config.yaml", "manifest.json", "model.safetensors", "optimizer.safetensors", "state.json", "tokenizer.json"]
    )
    same(open_weights(f"{tmp_path}/run").weights(), weights)
    same(read(folder).optimizer(), moments)


def test_torch_reads_and_joins_the_shards(tmp_path):
    import torch
    import torch.distributed.checkpoint as dcp
    from torch.distributed.checkpoint._consolidate_hf_safetensors import consolidate_safetensors_files
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader

    weights = tensors(1)
    for rank in range(4):
        write_shard(tmp_path / shard_file(rank, WEIGHTS), pieces(weights, rank, 4))
    (tmp_path / "torch").mkdir()
    consolidate_safetensors_files(str(tmp_path), str(tmp_path / "torch"), dict.fromkeys(weights, 1))
    same(read_tensors(tmp_path / "torch" / "model-00001-of-00001.safetensors"), weights)
    loaded = {name: torch.zeros(array.shape) for name, array in weights.items()}
    with pytest.warns(UserWarning):  # no process group: one process reads
        dcp.load(loaded, storage_reader=HuggingFaceStorageReader(str(tmp_path)), no_dist=True)
    assert all(loaded[name].numpy().tobytes() == array.tobytes() for name, array in weights.items())


def test_what_torch_writes_is_joined(tmp_path):
    import torch
    import torch.distributed.checkpoint as dcp
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter

    weights = tensors(1)
    with pytest.warns(UserWarning):
        dcp.save(
            {name: torch.from_numpy(array.copy()) for name, array in weights.items()},
            storage_writer=HuggingFaceStorageWriter(
                str(tmp_path), save_distributed=True, fqn_to_index_mapping={**dict.fromkeys(weights, 1), "other": 2}
            ),
            no_dist=True,
        )
    same(join(tmp_path, [shard_file(0, WEIGHTS)], WEIGHTS), weights)


def test_rows_of_a_joined_tensor(tmp_path):
    weights = tensors(1)
    for rank in range(4):
        write_shard(tmp_path / shard_file(rank, WEIGHTS), pieces(weights, rank, 4))
    joined = join(tmp_path, [shard_file(rank, WEIGHTS) for rank in range(4)], WEIGHTS)["embed.weight"]
    for first, stop in ((0, 101), (0, 0), (25, 27), (3, 90), (100, 101)):
        rows = joined.rows(first, stop)
        assert rows.shape == (stop - first, 6)
        assert bytes(rows.data) == weights["embed.weight"][first:stop].tobytes()


def test_a_rank_whose_disk_is_full_leaves_the_last_checkpoint(tmp_path, monkeypatch):
    weights = tensors(1)
    ranks = Ranks(tmp_path / "run", 2)
    ranks.save(1, weights, {"step": np.array(1)})
    assert ranks.wait() == [None, None]

    def full(path, kept):
        if path.name.startswith("shard-00002"):
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        return write_shard(path, kept)

    monkeypatch.setattr(sharded_saver, "write_shard", full)
    ranks.save(2, weights, {"step": np.array(2)})
    first, second = ranks.wait()
    checkpoints = tmp_path / "run" / "checkpoints"
    for error, who in ((first, "rank 1: "), (second, "")):
        assert isinstance(error, OSError) and error.errno == errno.ENOSPC
        assert error.filename == f"{who}{checkpoints}/step_2/{shard_file(1, WEIGHTS)}"
    assert sorted(entry.name for entry in checkpoints.iterdir()) == ["last", "step_1"]
    assert (checkpoints / "last").read_text() == "step_1\n"


def test_last_moves_when_every_rank_is_durable(tmp_path, monkeypatch):
    """The slowest rank's file is not there yet, the others wait, and no name has moved."""
    slow, seen = threading.Event(), []

    def late(path, kept):
        if path.name == shard_file(1, WEIGHTS):
            slow.wait(20)
            seen.extend(entry.name for entry in (tmp_path / "run" / "checkpoints").iterdir())
        return write_shard(path, kept)

    monkeypatch.setattr(sharded_saver, "write_shard", late)
    ranks = Ranks(tmp_path / "run", 2)
    ranks.save(1, tensors(1), {"step": np.array(1)})
    slow.set()
    assert ranks.wait() == [None, None]
    assert [name for name in seen if not name.startswith(".partial-step_1-")] == []
    assert newest_sound(tmp_path / "run").name == "step_1"


def test_shards_on_a_disk_that_is_not_shared(tmp_path, monkeypatch):
    ranks = Ranks(tmp_path / "run", 2)
    monkeypatch.setattr(ShardedSaver, "_write_share", lambda saver, *share: [100, 0, 0, 0, 0])
    ranks.save(1, tensors(1), {"step": np.array(1)})
    first, second = ranks.wait()
    assert "here it is not" in str(first)
    assert str(second) == f"rank 0 could not make step_1 of the shards: {first}"


@pytest.mark.parametrize("gone", [shard_file(1, 1), shard_file(0, 2)])
def test_a_shard_that_is_lost_or_changed_is_named(tmp_path, gone):
    ranks = Ranks(tmp_path / "run", 2, consolidates=False)
    ranks.save(1, tensors(1), {"step": np.array(1)})
    ranks.wait()
    folder = tmp_path / "run" / "checkpoints" / "step_1"
    content = (folder / gone).read_bytes()
    (folder / gone).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(CheckpointError, match=gone):
        verify(folder)
    with pytest.raises(CheckpointError, match=gone):
        consolidate(folder)
    (folder / gone).unlink()
    with pytest.raises(CheckpointError, match=f"{gone} is damaged: it is missing"):
        read(folder)


@pytest.mark.parametrize("wrong", [{"first": 30}, {"first": 0}, {"shape": (25, 3)}])
def test_pieces_that_make_no_tensor_are_refused(tmp_path, wrong):
    weights = {"embed.weight": tensors(1)["embed.weight"]}
    for rank in range(4):
        part = pieces(weights, rank, 4)
        if rank == 1:
            piece = part["embed.weight"]
            shape = wrong.get("shape", piece.shape)
            data = piece.data[: 4 * int(np.prod(shape))]
            part = {"embed.weight": Piece("F32", shape, data, wrong.get("first", piece.first))}
        write_shard(tmp_path / shard_file(rank, WEIGHTS), part)
    with pytest.raises(CheckpointError, match="the pieces of embed.weight do not make a tensor"):
        join(tmp_path, [shard_file(rank, WEIGHTS) for rank in range(4)], WEIGHTS)


NO_OFFSETS = ('{"saved_offsets": [0, 3]}', '{"saved_offsets": [-1, 0]}', '{"saved_offsets": 3}', "[]")


@pytest.mark.parametrize("told", ["{}", "[]", "nonsense", *(f'{{"embed.weight": {one}}}' for one in NO_OFFSETS)])
def test_a_header_that_does_not_say_where_pieces_begin(tmp_path, told):
    path = tmp_path / shard_file(0, WEIGHTS)
    from pylm.checkpoint.tensors import write_tensors

    write_tensors(path, pieces({"embed.weight": tensors(1)["embed.weight"]}, 0, 1), {"DCP_SHARDING_INFO": told})
    with pytest.raises(CheckpointError, match="does not say where its pieces begin"):
        join(tmp_path, [path.name], WEIGHTS)


@pytest.mark.parametrize("after", range(6))
def test_a_consolidation_that_is_killed_loses_nothing(tmp_path, monkeypatch, after):
    """Killed after any of its steps, the folder is a checkpoint of the same tensors, and another call ends it."""
    weights, moments = tensors(1), {"step": np.array(7), **tensors(2)}
    ranks = Ranks(tmp_path / "run", 2, consolidates=False)
    ranks.save(7, weights, moments)
    ranks.wait()
    folder, left = tmp_path / "run" / "checkpoints" / "step_7", [after]

    def counted(work):
        def step(*args, **kwargs):
            if not left[0]:
                raise KeyboardInterrupt
            left[0] -= 1
            return work(*args, **kwargs)

        return step

    from pylm.checkpoint import consolidating

    with monkeypatch.context() as patched:
        for name in ("write_tensors", "flush_folder", "replace_text"):
            patched.setattr(consolidating, name, counted(getattr(consolidating, name)))
        patched.setattr(Path, "replace", counted(Path.replace))
        patched.setattr(Path, "unlink", lambda path, missing_ok=False: None)  # a kill tidies nothing
        with pytest.raises(KeyboardInterrupt):
            consolidate(folder)
    checkpoint = verify(folder)
    same(checkpoint.weights(), weights)
    same(checkpoint.optimizer(), moments)
    consolidate(folder)
    assert not verify(folder).in_shards
    same(open_weights(folder).weights(), weights)


def test_the_state_of_a_consolidated_checkpoint_is_the_same(tmp_path):
    ranks = Ranks(tmp_path / "run", 2, consolidates=False)
    ranks.save(3, tensors(1), {"step": np.array(3)})
    ranks.wait()
    folder = tmp_path / "run" / "checkpoints" / "step_3"
    before = (folder / "state.json").read_bytes()
    shutil.copytree(folder, tmp_path / "copy")
    consolidate(folder)
    assert (folder / "state.json").read_bytes() == before
    files = json.loads((folder / "manifest.json").read_text())["files"]
    assert set(files) == {"config.yaml", "model.safetensors", "optimizer.safetensors", "state.json", "tokenizer.json"}
