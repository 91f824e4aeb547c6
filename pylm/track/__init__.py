"""Track 0: what a machine makes of a text in a given time, in bits per byte of text that was held back."""

from pylm.track.measure import Entry, measure

__all__ = ["Entry", "measure"]
