"""The surroundings of every Triton kernel: how it is launched and configured, and how it is interpreted on a CPU."""
