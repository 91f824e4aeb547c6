"""What is known by name: datasets, where they lie, how they are read, and on whose terms."""

from pylm.data.catalogue.entries import Entry, Fact, Part
from pylm.data.catalogue.naming import all_terms, dataset, elsewhere, entry, is_known, names, public_name

__all__ = ["Entry", "Fact", "Part", "all_terms", "dataset", "elsewhere", "entry", "is_known", "names", "public_name"]
