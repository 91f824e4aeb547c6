"""Cross-entropy of x Wᵀ without ever storing the logits."""
