"""Heads normalised and rotated, q and k in one launch, straight from the packed projection."""
