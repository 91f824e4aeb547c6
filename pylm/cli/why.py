"""`pylm why`: what a step of a run was trained on, and what came of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from pylm.cli.frame.command import command, json_option
from pylm.cli.frame.completion import complete_runs
from pylm.cli.frame.printing import print_json

NEIGHBOURS = 3  # lines of metrics before and after the step
EXCERPT = 200


@command("why", example="pylm why runs/x 1234")
@click.argument("run", metavar="RUN", shell_complete=complete_runs)
@click.argument("step", type=click.IntRange(1))
@json_option
def why(run: str, step: int, as_json: bool) -> None:
    """Show the documents of a step's batch, with their text, and the loss and gradient norm around it.

    Steps are counted as in metrics.jsonl: the first is 1.
    """
    found = _look(Path(run), step)
    if as_json:
        print_json(found)
        return
    for record in found["metrics"]:
        mark = "→" if record["step"] == step else " "
        norm = record.get("grad_norm")
        loss = record.get("loss")
        click.echo(
            f"{mark} step {record['step']:,}  loss {_number(loss)}  gradient norm {_number(norm)}  "
            f"lr {record['lr']:.2e}"
        )
    for incident in found["incidents"]:
        click.echo(f"incident: {incident['kind']}, loss {_number(incident['loss'])}")
    click.echo(f"{len(found['documents'])} pieces of documents:")
    for document in found["documents"]:
        where = document["shard"] if document["index"] is None else f"{document['shard']} document {document['index']}"
        text = " ".join((document["text"] or "").split())
        click.echo(f"  {where}, token {document['start']:,}: {text[:EXCERPT]}")


def _number(value: Any) -> str:
    return "not finite" if value is None else f"{value:.4f}"


def _look(run: Path, step: int) -> dict[str, Any]:
    from pylm.checkpoint import read, steps
    from pylm.config.cascade import resolve
    from pylm.data import Loader
    from pylm.errors import UsageError
    from pylm.runs import read_lines

    if not (run / "config.yaml").is_file():
        raise UsageError(f"{run} is no run: it holds no config.yaml", "name a folder such as runs/x")
    config = resolve(files=[run / "config.yaml"], environ={}).config
    records = [record for record in read_lines(run / "metrics.jsonl") if "lr" in record]
    last = max((record["step"] for record in records), default=0)
    have = steps(run)
    batch_size = None
    if have:
        batch_size = int(read(run / "checkpoints" / f"step_{have[-1]}").state["loader"]["batch_size"])
    elif (run / "environment.json").is_file():
        batch_size = json.loads((run / "environment.json").read_text(encoding="utf-8")).get("sequences")
    if batch_size is None:
        raise UsageError(f"{run} has not begun", "it has neither a checkpoint nor an environment.json")
    ended = max(last, have[-1] if have else 0)
    if step > ended + config.metrics.log_every:
        raise UsageError(f"{run} has taken {ended:,} steps, not {step:,}", "name a step that it has taken")
    source = config.data.mix or config.data.path
    assert source is not None
    loader = Loader(
        source,
        config.model.context_length,
        batch_size,
        seed=config.train.seed,
        window=config.data.window,
        stride=config.data.stride,
    )
    near = sorted(records, key=lambda record: (abs(record["step"] - step), record["step"]))[: 2 * NEIGHBOURS + 1]
    return {
        "step": step,
        "metrics": sorted(near, key=lambda record: int(record["step"])),
        "incidents": [record for record in read_lines(run / "incidents.jsonl") if record["step"] == step],
        "documents": [
            {"shard": one.shard, "index": one.index, "start": one.start, "text": one.text}
            for one in loader.why(step - 1)
        ],
    }
