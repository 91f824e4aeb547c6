"""Raw text to a trained language model."""
