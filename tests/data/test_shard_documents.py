"""Documents of shards against a plain split of their ids, whatever is read at a time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pylm.data import shard_documents as module
from pylm.data.shard_documents import shard_documents
from pylm.errors import DataError

EOT = 7


@pytest.mark.parametrize("piece", [1, 3, 50, 1 << 20])
@pytest.mark.parametrize("indexed", [True, False])
def test_documents_are_those_of_the_ids(
    piece: int, indexed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PIECE", piece)
    chance = np.random.default_rng(piece)
    wanted = []
    for number in range(2):
        documents = [[*chance.integers(8, 50, size=n).tolist(), EOT] for n in (0, 1, 2, 30, 5, 9)]
        documents.append(chance.integers(8, 50, size=4).tolist())  # cut by the end of the shard
        np.array(sum(documents, []), np.uint16).tofile(tmp_path / f"train_0000{number}.bin")
        if indexed:
            starts = np.cumsum([0, *map(len, documents)]).astype(np.uint64)
            starts.tofile(tmp_path / f"train_0000{number}.idx")
        wanted += documents
    assert [ids.tolist() for ids in shard_documents(tmp_path, "train", EOT)] == wanted
    if not indexed:
        with pytest.raises(DataError, match="has no .idx"):
            list(shard_documents(tmp_path, "train", None))
