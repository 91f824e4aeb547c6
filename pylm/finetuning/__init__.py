"""Tuning a trained model on examples: `pylm.finetune`, which is `pylm finetune`."""
