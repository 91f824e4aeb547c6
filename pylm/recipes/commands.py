"""The commands that a step may be: what names an input, what they leave, and how what is half done is gone on with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pylm.recipes.identity import of_evaluations, of_files, of_run, of_shards, of_soup, of_text, of_tokenizer

__all__ = ["COMMANDS", "Command"]


@dataclass(frozen=True)
class Command:
    """What has to be known of a command to run it as a step."""

    identity: Callable[[Path], str]  # of what it wrote
    inputs: tuple[str, ...] = ()  # options that may name a file, a folder or a checkpoint
    of_text: bool = False  # its arguments are sources of text, which may lie elsewhere
    weighed: bool = False  # each with a weight behind a colon, maybe
    goes_on: bool = False  # the same line again does what is missing
    resumes: bool = False  # a line of its own does
    writes: str = "out"  # the name of what it writes, within the step's folder
    answers: bool = False  # what it prints is its result, as JSON


COMMANDS = {
    "data stories": Command(of_files, writes="stories.txt"),
    "data get": Command(of_files, goes_on=True),
    "data clean": Command(of_text, inputs=("against", "classifier"), of_text=True, goes_on=True),
    "data mix": Command(of_shards, inputs=("tokenizer",), of_text=True, weighed=True, goes_on=True),
    "tokenizer train": Command(of_tokenizer, inputs=("continue",), of_text=True, goes_on=True),
    "tokenize": Command(of_shards, inputs=("tokenizer",), of_text=True, goes_on=True),
    "train": Command(of_run, inputs=("data", "data.val", "init-from", "config"), resumes=True),
    "finetune": Command(of_run, inputs=("checkpoint", "dataset", "val-dataset", "config"), resumes=True),
    "soup": Command(of_soup, inputs=("data",)),
    "export": Command(of_files),
    "eval": Command(of_evaluations, inputs=("data", "tasks"), writes="evaluations.jsonl", answers=True),
}
