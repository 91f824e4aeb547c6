"""Tune a model that was trained on examples of its own, hear what is derived, and let it answer.

python examples/finetune.py runs/mine chat.jsonl runs/tuned
"""

from __future__ import annotations

import sys
from pathlib import Path

import pylm
from pylm.finetuning.events import Derived, Grown, Prepared
from pylm.training import events


def main(base: str, dataset: str, out: str, epochs: float = 2.0) -> None:
    """Tune for so many epochs, and say what came of it."""

    def listen(event: events.Event) -> None:
        """Hear what happens: what tuning says of itself are sentences with figures beside them."""
        match event:
            case Prepared() | Grown() | Derived():
                print(event.text)
            case events.Evaluated():
                print(f"step {event.step:,}: loss of held-out answers {event.loss:.3f}")

    # What nobody gives is derived from the base; `freeze="embeddings"` and every key of the configuration are keywords.
    run = pylm.finetune(base, dataset=dataset, out=out, max_epochs=epochs, resume="auto", on_event=listen)
    print(f"{run.path}: step {run.step:,}, validation loss {run.val_loss}")

    # Through the template that the run was tuned with, where one wrote its examples.
    print(pylm.generate(run.path, "say red cat", preset="greedy", max_tokens=20).text())


if __name__ == "__main__":
    if not 4 <= len(sys.argv) <= 5 or not Path(sys.argv[2]).is_file():
        sys.exit("usage: python examples/finetune.py RUN EXAMPLES.jsonl TUNED [EPOCHS]")
    main(*sys.argv[1:4], *map(float, sys.argv[4:]))
