"""A tokenizer of the Hub: `hub:ORG/NAME`, fetched and verified by pylm's own fetcher."""

import pytest

from pylm.errors import DataError, TokenizerError, UsageError
from pylm.tokenizer import Tokenizer
from tests.data.getting.conftest import texts


@pytest.fixture
def files(tmp_path):
    (tmp_path / "text.txt").write_text("\n".join(texts(50)))
    Tokenizer.train([tmp_path / "text.txt"], 300, progress=None).save(tmp_path / "tok")
    return {path.name: path.read_bytes() for path in (tmp_path / "tok").iterdir()}


def test_a_tokenizer_of_the_hub_is_fetched_once(files, server, tmp_path):
    sha = server.add("org/model", {**files, "model.safetensors": b"w" * 9000}, kind="model", large=False)
    mine = Tokenizer.load(tmp_path / "tok")
    tok = Tokenizer.load("hub:org/model")
    assert tok.identity == mine.identity and tok.encode("once upon") == mine.encode("once upon")
    assert not any("safetensors" in path for path in server.paths())
    asked = len(server.seen)
    assert Tokenizer.load(f"hub:org/model@{sha}").identity == mine.identity
    assert Tokenizer.load("hub:org/model", offline=True).identity == mine.identity
    assert len(server.seen) == asked


def test_what_is_no_tokenizer_is_said(server):
    server.add("org/model", {"config.json": b"{}"}, kind="model")
    with pytest.raises(TokenizerError, match="there is no tokenizer in hub:org/model@"):
        Tokenizer.load("hub:org/model")
    with pytest.raises(UsageError, match="hub:model is no tokenizer of the Hub"):
        Tokenizer.load("hub:model")
    with pytest.raises(DataError):
        Tokenizer.load("hub:org/other")
