"""Several checkpoints of one model become one: averages of weights, a tensor at a time."""
