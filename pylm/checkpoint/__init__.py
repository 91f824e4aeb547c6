"""Checkpoints: a folder a step, whole or absent, hashed, without pickle; the same names on every backend."""

from pylm.checkpoint.consolidating import consolidate
from pylm.checkpoint.directory import Checkpoint, damaged, read, verify, write
from pylm.checkpoint.opened import Adapted, Weights, open_weights
from pylm.checkpoint.run_folder import best, find, mend, newest_run, newest_sound, point, retain, steps
from pylm.checkpoint.saver import Saver
from pylm.checkpoint.sharded import Joined, Piece
from pylm.checkpoint.sharded_saver import ShardedSaver
from pylm.checkpoint.tensors import Tensor, read_tensors, write_tensors

__all__ = [
    "Adapted",
    "Checkpoint",
    "Joined",
    "Piece",
    "Saver",
    "ShardedSaver",
    "Tensor",
    "Weights",
    "best",
    "consolidate",
    "damaged",
    "find",
    "mend",
    "newest_run",
    "newest_sound",
    "open_weights",
    "point",
    "read",
    "read_tensors",
    "retain",
    "steps",
    "verify",
    "write",
    "write_tensors",
]
