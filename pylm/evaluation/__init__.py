"""What a model is worth: its losses on text that it was not trained on."""
