"""Models out and in: the files of other programs, and a certificate of what was compared."""
