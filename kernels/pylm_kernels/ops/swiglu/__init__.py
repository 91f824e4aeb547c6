"""The activation swiglu."""
