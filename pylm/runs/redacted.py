"""Texts without what tells who made them: paths, the user's name, the machine's."""

from __future__ import annotations

import getpass
import re
import socket
from typing import Any

__all__ = ["redacted"]

# two parts or more, or from the root, the home or the folder above on; the last part stays
PATH = re.compile(r"(?<![\w/.~])(?:~|\.{1,2})?/?(?:[\w.\-+@%]+/)+([\w.\-+@%]*)|(?<![\w/.~])/([\w.\-+@%]+)")


def redacted(value: Any) -> Any:
    """Return a value, and all that it holds, without names and without the folders of paths."""
    if isinstance(value, str):
        text = PATH.sub(lambda found: f"…/{found[1] or found[2] or ''}", value)
        for name, stand_in in ((_user(), "[user]"), (socket.gethostname(), "[host]")):
            if len(name) > 1:
                text = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", stand_in, text)
        return text
    if isinstance(value, dict):
        return {key: redacted(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [redacted(one) for one in value]
    return value


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return ""  # a number without a name
