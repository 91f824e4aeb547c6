"""The table of commands: `pylm --help` is printed from it and imports none of them."""

from __future__ import annotations

# name: ("module:object", what it does in one line), in the order of `pylm --help`
COMMANDS: dict[str, tuple[str, str]] = {
    "tokenizer": ("pylm.cli.tokenizer:tokenizer", "Train, look at, use and compare tokenizers."),
    "tokenize": ("pylm.cli.tokenize:tokenize", "Turn text into token shards."),
    "data": ("pylm.cli.data:data", "Get datasets; look into token shards and check them."),
    "train": ("pylm.cli.train:train", "Train a model, or go on with one."),
    "finetune": ("pylm.cli.finetune:finetune", "Tune a trained model on examples."),
    "adapter": ("pylm.cli.adapter:adapter", "Merge an adapter with its base, or write it for others."),
    "eval": ("pylm.cli.eval_:eval_", "Say what a model is worth, on text that it has not seen."),
    "plan": ("pylm.cli.plan:plan", "Say what a training will take, and whether it fits."),
    "sample": ("pylm.cli.sample:sample", "Write text with a trained model."),
    "chat": ("pylm.cli.chat:chat", "Talk with a model that was trained on conversations."),
    "runs": ("pylm.cli.runs:runs", "List, show, compare and remove runs."),
    "watch": ("pylm.cli.runs.watch:watch", "Watch runs while they go on."),
    "plot": ("pylm.cli.runs.plot:plot", "Draw metrics of runs as a picture."),
    "compare": ("pylm.cli.runs.compare:compare", "Set runs side by side: more than chance or not."),
    "report": ("pylm.cli.runs.report:report", "Write one page about a run."),
    "soup": ("pylm.cli.soup_:soup_", "Make one checkpoint of several: an average of their weights."),
    "recipe": ("pylm.cli.recipe:recipe", "Run steps that are commands, each once; unkillable."),
    "export": ("pylm.cli.export_:export_", "Write a checkpoint as other programs read it."),
    "import": ("pylm.cli.import_:import_", "Make a checkpoint of a model of another program."),
    "verify": ("pylm.cli.verify:verify", "Check a run's checkpoints, every byte of them."),
    "checkpoint": ("pylm.cli.checkpoint:checkpoint", "Make one checkpoint of what several ranks wrote."),
    "why": ("pylm.cli.why:why", "Show what a step of a run was trained on."),
    "demo": ("pylm.cli.demo:demo", "Show the whole way on stories that are written here."),
    "bench": ("pylm.cli.bench:bench", "Measure what this machine makes of a text."),
    "config": ("pylm.cli.config:config", "Show, describe and import configurations."),
    "doctor": ("pylm.cli.doctor:doctor", "Look at this machine: what is missing, and how to mend it."),
    "completion": ("pylm.cli.completion:completion", "Print the completion script for bash, zsh or fish."),
}
