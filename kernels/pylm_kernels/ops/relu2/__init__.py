"""The activation relu2."""
