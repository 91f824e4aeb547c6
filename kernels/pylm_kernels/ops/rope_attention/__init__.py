"""Attention with its rotary positions: forward, and a deterministic backward that writes the packed gradient."""
