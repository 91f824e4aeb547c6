"""Recipes: steps that are commands, each run once for what it is made of, and gone on with wherever it was stopped."""
