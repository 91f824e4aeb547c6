"""A short story of a library in many languages, written for these tests: text that no rule may take for rubbish."""

from pathlib import Path

# a line each: code, text
_LINES = Path(__file__).with_name("stories.txt").read_text(encoding="utf-8").splitlines()
STORIES: dict[str, str] = dict(line.split(" ", 1) for line in _LINES)
