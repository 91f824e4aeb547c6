"""What a caller gave of the configuration: a preset, files and single keys, in the order in which they win."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pylm.config.cascade import Resolved, Setting

__all__ = ["Given"]

PROJECT_FILE = "pylm.yaml"


@dataclass(frozen=True)
class Given:
    """A configuration that is not yet resolved, as a command line or a call gives it."""

    section: str | None
    preset: str | None = None
    files: tuple[str, ...] = ()
    settings: tuple[tuple[str, Any, str], ...] = ()

    def with_default(self, key: str, value: Any, origin: str) -> Given:
        """Add what an option of the command's own sets, such as `--data DIR`; keys that were typed win."""
        return replace(self, settings=((key, value, origin), *self.settings))

    def resolve(self, *, project_file: bool = True) -> Resolved:
        """Resolve the configuration; `pylm.yaml` here is read where neither a preset nor a file was named."""
        from pylm.config.cascade import resolve  # pydantic takes longer than `pylm train` may be silent

        return resolve(*self._asked(project_file))

    def names(self, key: str) -> bool:
        """Return whether anything that was given names a key."""
        from pylm.config.cascade import layers

        return any(setting.key == key for layer in layers(*self._asked(True)) for setting in layer)

    def _asked(self, project_file: bool) -> tuple[str | None, str | None, tuple[str, ...], list[Setting]]:
        from pylm.config.cascade import Setting

        files = self.files
        if project_file and self.preset is None and not files and Path(PROJECT_FILE).is_file():
            files = (PROJECT_FILE,)
        return self.section, self.preset, files, [Setting(*setting) for setting in self.settings]
