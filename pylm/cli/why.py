"""`pylm why`: what a step of a run was trained on, and what came of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pylm.cli.frame.command import command, json_option
from pylm.cli.frame.completion import complete_runs
from pylm.cli.frame.printing import print_json

EXCERPT = 200


@command("why", example="pylm why runs/x 1234")
@click.argument("run", metavar="RUN", shell_complete=complete_runs)
@click.argument("step", type=click.IntRange(1))
@json_option
def why(run: str, step: int, as_json: bool) -> None:
    """Show the documents of a step's batch, with their text, and the loss and gradient norm around it.

    Steps are counted as in metrics.jsonl: the first is 1.
    """
    answer = _look(Path(run), step)
    if as_json:
        print_json(answer)
        return
    for record in answer["metrics"]:
        mark = "→" if record["step"] == step else " "
        norm = record.get("grad_norm")
        loss = record.get("loss")
        click.echo(
            f"{mark} step {record['step']:,}  loss {_number(loss)}  gradient norm {_number(norm)}  "
            f"lr {record['lr']:.2e}"
        )
    for incident in answer["incidents"]:
        what = f"loss {_number(incident['loss'])}" if "loss" in incident else incident.get("why")
        click.echo(f"incident: {incident['kind']}, {what}")
    click.echo(f"{len(answer['documents'])} pieces of documents:")
    for document in answer["documents"]:
        where = document["shard"] if document["index"] is None else f"{document['shard']} document {document['index']}"
        text = " ".join((document["text"] or "").split())
        click.echo(f"  {where}, token {document['start']:,}: {text[:EXCERPT]}")
        if document["counts"] is not None:
            spans = ", ".join(f"{first:,} to {end - 1:,}" for first, end in document["counts"])
            click.echo(f"    learned: {f'tokens {spans}' if spans else 'nothing of it'}")


def _number(value: Any) -> str:
    return "not finite" if value is None else f"{value:.4f}"


def _look(run: Path, step: int) -> dict[str, Any]:
    from pylm.data.open import loader_of, source_of
    from pylm.runs.step import look_at_step

    taken = look_at_step(run, step)
    loader = loader_of(source_of(taken.config), taken.config, taken.batch_size)
    documents = [vars(document) for document in loader.why(step - 1)]
    return {"step": step, "metrics": taken.metrics, "incidents": taken.incidents, "documents": documents}
