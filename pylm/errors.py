"""Every error that pylm raises on purpose: one sentence, and a hint that says what to do next."""

from __future__ import annotations

__all__ = [
    "CheckError",
    "CheckpointError",
    "ConfigError",
    "DataError",
    "KernelError",
    "PylmError",
    "TokenizerError",
    "UsageError",
]


class PylmError(Exception):
    """What went wrong and where; the command line prints it after `error:` and `hint` after `hint:`."""

    exit_code = 1

    def __init__(self, message: str, hint: str | None = None) -> None:
        """Keep `message` and `hint` apart, so that each is printed in its place."""
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __reduce__(self) -> tuple[type[PylmError], tuple[str, str | None]]:
        """Cross a process border whole: Exception's own way drops the hint."""
        return type(self), (self.message, self.hint)


class UsageError(PylmError):
    """The caller asked for something that cannot be."""

    exit_code = 2


class ConfigError(UsageError):
    """A key, a value or a combination of the configuration is wrong."""


class DataError(PylmError):
    """A file or its contents are not what they should be."""


class TokenizerError(PylmError):
    """A tokenizer, its files or its training failed."""


class CheckpointError(PylmError):
    """A checkpoint is missing, damaged or foreign."""


class KernelError(PylmError):
    """A native kernel is missing or cannot serve what it was asked for."""


class CheckError(PylmError):
    """A check that was asked for said no."""

    exit_code = 3
