"""What a loader says of itself."""

from pathlib import Path

import numpy as np

from pylm.data import Loader


def test_a_loader_says_what_it_reads_and_where_it_stands(tmp_path: Path) -> None:
    file = tmp_path / "tokens.npy"
    np.save(file, np.arange(1001, dtype=np.uint16))
    loader = Loader(str(file), 10, 4)
    assert repr(loader) == f"<Loader {file}: 100 windows of 10, 4 a batch; at step 0, epoch 0>"
    next(loader)
    assert "; at step 1, epoch 0>" in repr(loader)
    loader.close()
