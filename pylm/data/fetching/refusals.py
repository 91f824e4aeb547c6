"""What the Hub's refusals mean, in one sentence each, with the nearest name where one is wrong."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from pylm.data.fetching.access import shown
from pylm.errors import DataError, PylmError, did_you_mean

if TYPE_CHECKING:
    from pylm.data.fetching.client import Refused
    from pylm.data.fetching.hub import Hub

__all__ = ["explained", "no_file"]


def explained(hub: Hub, kind: str, id: str, revision: str, refused: Refused) -> PylmError:
    """Return the error that says why the Hub refuses, by its X-Error-Code."""
    page = f"{hub.endpoint}/{'datasets/' if kind == 'dataset' else ''}{id}"
    if refused.code == "GatedRepo":
        return DataError(
            f"hub:{id} is gated: its publisher gives it to those who accept its terms",
            f"accept them at {page}, make a token at {hub.endpoint}/settings/tokens, and set HF_TOKEN to it",
        )
    if refused.code == "RevisionNotFound":
        near = did_you_mean(revision, _revisions(hub, kind, id))
        return DataError(f"hub:{id} has no revision {revision}", near or f"its revisions are at {page}/commits/main")
    if refused.code == "EntryNotFound":
        return DataError(f"hub:{id} has no file at {shown(refused.url)}", f"its files are at {page}/tree/main")
    if refused.code == "RepoNotFound":
        near = did_you_mean(id, _repositories(hub, kind, id))
        return DataError(f"the Hub has no {kind} {id} that you may see", near or _private(hub, id))
    if refused.status == 401 and hub.client.has_token:
        return DataError(f"the Hub does not take HF_TOKEN (it answered 401 for hub:{id})", "has it expired?")
    said = f" ({refused.message})" if refused.message else ""
    return DataError(f"hub:{id} is not given out: the Hub answered {refused.status}{said}", f"look at {page}")


def no_file(name: str, path: str, paths: Sequence[str]) -> DataError:
    """Return the error for a file or folder that a commit does not have, the nearest named."""
    folders = {"/".join(one.split("/")[:depth]) for one in paths for depth in range(1, one.count("/") + 1)}
    some = ", ".join(sorted({one.split("/")[0] for one in paths})[:8])
    near = did_you_mean(path, [*paths, *folders])
    return DataError(f"{name} has no {path}", near or (f"it has {some}" if some else "it has no files"))


def _private(hub: Hub, id: str) -> str:
    if hub.client.has_token:
        return "is it spelled so, and may HF_TOKEN's owner see it?"
    return "is it spelled so? a private one needs HF_TOKEN"


def _repositories(hub: Hub, kind: str, id: str) -> Iterable[str]:
    """Return repositories whose names have this one's, or its beginning: ends are typed wrong more often."""
    word = id.rpartition("/")[2]
    for part in dict.fromkeys((word, word[: max(3, len(word) * 2 // 3)])):
        answer = _asked(hub, f"{hub.endpoint}/api/{kind}s?search={quote(part)}&limit=100")
        if found := [one["id"] for one in answer or [] if isinstance(one, dict) and isinstance(one.get("id"), str)]:
            return found
    return []


def _revisions(hub: Hub, kind: str, id: str) -> Iterable[str]:
    answer = _asked(hub, f"{hub.endpoint}/api/{kind}s/{id}/refs")
    groups = [answer.get(group) or [] for group in ("branches", "tags")] if isinstance(answer, dict) else []
    return [str(ref.get("name")) for group in groups for ref in group if isinstance(ref, dict)]


def _asked(hub: Hub, url: str) -> Any:
    """Return an answer that only a hint would be made of: None where there is none."""
    from pylm.data.fetching.client import Refused

    try:
        return hub.client.json(url, "a hint")[0]
    except (Refused, PylmError):
        return None
