"""What continuations are worth after contexts: each context is read once, and so is what several begin with."""

from pylm.evaluation.scoring.encoding import PREFIXES, Pair
from pylm.evaluation.scoring.scorer import Score, Scorer

__all__ = ["PREFIXES", "Pair", "Score", "Scorer"]
