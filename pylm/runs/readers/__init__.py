"""Runs that other tools wrote down, as what a run of pylm gives: metrics by name and step, and a configuration."""
