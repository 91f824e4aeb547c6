"""Files of the Hub by huggingface_hub with hf_xet, where these are installed and asked for."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from pylm.data.fetching.client import Client
from pylm.errors import DataError
from pylm.wording import param

__all__ = ["download_by_xet"]


def download_by_xet(client: Client, endpoint: str, kind: str, id: str, sha: str, path: str, folder: Path) -> Path:
    """Return a file that huggingface_hub has put below a folder, not checked: it looks at sizes only.

    It makes its own connections, from what its environment says of proxies and certificates, and goes on with what
    it has left in the folder.
    """
    client.access.check(endpoint)
    if not (find_spec("huggingface_hub") and find_spec("hf_xet")):
        raise DataError(
            f"{param('xet', True)} needs huggingface_hub and hf_xet, which are not installed",
            "pip install huggingface-hub hf_xet",
        )
    import huggingface_hub
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    were_disabled = are_progress_bars_disabled()
    disable_progress_bars()
    try:
        found = huggingface_hub.hf_hub_download(
            id,
            path,
            repo_type=kind,
            revision=sha,
            local_dir=folder,
            endpoint=endpoint,
            token=client.token_for(endpoint) or False,
            library_name="pylm",
        )
    except Exception as error:  # httpx's, its own, hf_xet's: none of them is in pylm's words
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise DataError(
            f"huggingface_hub could not fetch {path} of hub:{id}: {reason}", f"leave out {param('xet', True)}"
        ) from None
    finally:
        if not were_disabled:
            enable_progress_bars()
    return Path(found)
