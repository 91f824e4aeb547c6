"""What is known of a repository that nobody lists: without the network, huggingface_hub may have kept some of it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from pylm.errors import DataError

if TYPE_CHECKING:
    from pylm.data.fetching.remote_file import RemoteFile

__all__ = ["check_unlisted"]

NUMBERED = re.compile(r"(.*?)\d+(-of-(\d+).*)", re.DOTALL)


def check_unlisted(where: str, files: Iterable[RemoteFile], say: Callable[[str], None]) -> None:
    """Refuse files whose names tell that there are others, as `train-00001-of-00004` does; say that there may be more.

    Args:
        where: how a sentence calls the repository.
        files: those that are here.
        say: told what a user should know of those that are taken.
    """
    numbered = Counter(match.groups() for file in files if (match := NUMBERED.fullmatch(file.path)))
    for (before, after, total), here in numbered.items():
        if here < int(total):
            raise DataError(
                f"{where} has {total.lstrip('0')} files {before}…{after}, and {here} of them are here",
                "fetch it where there is a network",
            )
    say(f"{where}: nobody can be asked whether what huggingface_hub has kept of it is all of it")
