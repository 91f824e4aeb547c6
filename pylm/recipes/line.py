"""A command line as values: words for a process, and no text for a shell."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

__all__ = ["Line"]

Options = tuple[tuple[str, str | None], ...]


@dataclass(frozen=True)
class Line:
    """A command with its options and arguments; an option whose value is None stands alone."""

    command: str
    options: Options = ()
    arguments: tuple[str, ...] = ()

    def words(self) -> list[str]:
        """Return the words, without `pylm`."""
        return [*self.command.split(), *self._options(), *self.arguments]

    def with_options(self, *more: tuple[str, str | None]) -> Line:
        """Return the line with more options."""
        return replace(self, options=(*self.options, *more))

    def _options(self) -> Iterator[str]:
        for name, value in self.options:
            yield f"--{name}"
            if value is not None:
                yield value
