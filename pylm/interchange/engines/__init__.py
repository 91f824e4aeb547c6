"""Programs that load what was written, each in a process of its own, with its own settings for exactness."""
