"""Text to better text: what `pylm data clean` removes, and why."""
