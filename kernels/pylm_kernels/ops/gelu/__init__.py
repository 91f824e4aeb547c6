"""The activation gelu."""
