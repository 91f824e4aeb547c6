"""Fused operations for language models, on whatever machine this is."""
