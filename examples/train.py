"""Train a small model on a text of yours, watch it as data, stop and go on, and let it write.

python examples/train.py my.txt runs/mine
"""

from __future__ import annotations

import sys
from pathlib import Path

import pylm
from pylm.training import events


def main(text: str, out: str, minutes: float = 1.0) -> None:
    """Train for so many minutes, and say what came of it."""
    losses: list[float] = []

    def listen(event: events.Event) -> None:
        """Hear what happens: events are frozen dataclasses, in the order in which things happen."""
        match event:
            case events.Tokenized(sources, folder):
                print(f"{' '.join(sources)} is tokenized: {folder}")
            case events.Started():
                print(
                    f"{event.parameters:,} parameters, {event.length.steps:,} steps of {event.batches.tokens:,} tokens"
                )
            case events.Stepped():
                losses.append(event.loss)
            case events.Evaluated():
                print(f"step {event.step:,}: validation loss {event.loss:.3f}{' (best)' if event.best else ''}")

    # The keys of the configuration are keywords. Without `on_event`, a bar is shown on a terminal and in a notebook.
    run = pylm.train(
        text, preset="tiny", out=out, resume="auto", max_time=60 * minutes, learning_rate=1e-3, on_event=listen
    )
    trained = f", loss {losses[0]:.3f} → {losses[-1]:.3f}" if losses else ", which it had reached before"
    print(f"{run.path}: step {run.step:,}{trained}, validation loss {run.val_loss}")

    # A run that stands, or that another process still trains: read without its lock.
    again = pylm.Run(out)
    print(f"{sum('loss' in record for record in again.metrics()):,} lines of metrics, {again.finish_reason}")

    print(pylm.generate(run.path, "The", max_tokens=60, seed=1).text())


if __name__ == "__main__":
    if not 3 <= len(sys.argv) <= 4 or not Path(sys.argv[1]).is_file():
        sys.exit("usage: python examples/train.py TEXT.txt RUN [MINUTES]")
    main(sys.argv[1], sys.argv[2], *map(float, sys.argv[3:]))
