"""The token: to the Hub by https and to nobody else, and never in a text that pylm makes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pylm.data.fetching import Hub, fetch
from pylm.errors import DataError, UsageError
from tests.support.hub_server import CERTIFICATE, HubServer

TOKEN = "hf_VerySecret123"


@pytest.fixture
def tls(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with HubServer(tls=True, token=TOKEN) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server


def test_the_token_goes_to_the_hub_and_not_where_that_redirects_to(
    tls: HubServer, tmp_path: Path, content: bytes
) -> None:
    tls.relative = True
    tls.add("org/gated", {"large.bin": content, "small.txt": b"few"}, gated=True, private=True)
    repository = Hub.from_environment(allow_private=True).repository("dataset", "org/gated")
    fetch(repository.file("large.bin"), tmp_path / "large.bin", piece=100_000)
    assert (tmp_path / "large.bin").read_bytes() == content
    assert repository.file("small.txt").read(0, 3) == b"few"
    told = {(seen.host, seen.headers["Authorization"]) for seen in tls.seen}
    assert told == {(tls.host, f"Bearer {TOKEN}"), (tls.elsewhere, None)}
    assert any("resolve-cache" in seen.path for seen in tls.seen)  # a relative redirect keeps it


def test_a_redirect_away_and_back_brings_no_token(tls: HubServer) -> None:
    tls.add("org/name", {"small.txt": b"few"})
    file = Hub.from_environment(allow_private=True).repository("dataset", "org/name").file("small.txt")
    tls.fault("resolve", location=f"{tls.other_url}/away")
    tls.fault("/away", location=f"{tls.url}/files/back")
    tls.add_plain("back", b"few")
    assert file.read(0, 3) == b"few"
    assert [seen.headers["Authorization"] for seen in tls.seen[-3:]] == [f"Bearer {TOKEN}", None, None]


def test_no_token_goes_over_plain_http(server: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    server.add("org/name", {"a.bin": b"x" * 9000, "b.txt": b"few"})
    repository = Hub.from_environment(allow_private=True).repository("dataset", "org/name")
    assert all(file.read(0, 1) for file in repository.files())
    assert len(server.seen) > 4 and not any("Authorization" in seen.headers for seen in server.seen)


def test_the_token_is_in_no_text_and_no_file(tls: HubServer, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    said: list[str] = []
    tls.token = "hf_another"
    tls.add("org/gated", {"a.bin": b"x" * 9000}, gated=True)
    tls.add("org/open", {"a.bin": b"x" * 9000})
    hub = Hub.from_environment(allow_private=True, say=said.append, sleep=lambda seconds: None)
    texts = []
    gated, repository = hub.repository("dataset", "org/gated"), hub.repository("dataset", "org/open")
    file = repository.file("a.bin")
    with pytest.raises(DataError) as caught:
        gated.file("a.bin").read(0, 1)
    texts += [str(caught.value), str(caught.value.hint), repr(caught.value)]
    tls.fault("resolve", status=401, times=1)
    with pytest.raises(DataError, match="the Hub does not take HF_TOKEN") as caught:
        file.read(0, 1)
    texts += [str(caught.value), repr(caught.value)]
    tls.fault("blobs", drop=True, times=-1)
    with pytest.raises(DataError) as caught:
        fetch(file, tmp_path / "a.bin")
    texts += [str(caught.value), *said, *map(repr, (hub, hub.client, hub.client.access, repository, file))]
    texts += capfd.readouterr()
    kept = [path.read_text(errors="replace") for path in tmp_path.rglob("*") if path.is_file()]
    assert not any(TOKEN in text or "secret-" in text for text in [*texts, *kept])


@pytest.mark.parametrize("token", ["hf_a\nX-Evil: 1", "hf_a b", "hf_ü"])
def test_what_is_no_token_is_not_shown(token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(UsageError, match="HF_TOKEN is no token") as caught:
        Hub.from_environment()
    assert token not in str(caught.value)
