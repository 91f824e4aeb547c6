"""Training: the loop, the schedule, the plan, and the backends that compute."""
