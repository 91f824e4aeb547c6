"""Text to better text: what goes, why, and the same decisions again with other thresholds."""
