"""Runs while they go on: on a terminal, as lines, as a page."""
