"""What is known of a repository that nobody lists: without the network, huggingface_hub may have kept some of it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable

from pylm.errors import DataError

__all__ = ["check_unlisted"]

NUMBERED = re.compile(r"(.*?)\d+(-of-(\d+).*)", re.DOTALL)


def check_unlisted(where: str, paths: Iterable[str], say: Callable[[str], None]) -> None:
    """Refuse files whose names tell that there are others, as `train-00001-of-00004` does; say that there may be more.

    Args:
        where: how a sentence calls the repository.
        paths: of the files that are here.
        say: told what a user should know of those that are taken.
    """
    numbered = Counter(match.groups() for path in paths if (match := NUMBERED.fullmatch(path)))
    for (before, after, total), here in numbered.items():
        if here < int(total):
            raise DataError(
                f"{where} has {total.lstrip('0')} files {before}…{after}, and {here} of them are here",
                "fetch it where there is a network",
            )
    say(f"{where}: nobody can be asked whether what huggingface_hub has kept of it is all of it")
