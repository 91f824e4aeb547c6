"""When it is tried again: which answers, how long between, when it is given up."""

from __future__ import annotations

import pytest

from pylm.data.fetching import Hub, open_url
from pylm.data.fetching.patience import asked_to_wait
from pylm.errors import DataError
from tests.support.hub_server import HubServer

LIMITED = {"RateLimit": '"api";r=0;t=55', "RateLimit-Policy": '"fixed window";"api";q=500;w=300'}


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        (LIMITED, 56.0),
        (LIMITED | {"Retry-After": "7"}, 56.0),
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, None),
        ({"RateLimit": "nonsense"}, None),
        ({}, None),
    ],
)
def test_how_long_an_answer_asks_to_wait(headers: dict[str, str], seconds: float | None) -> None:
    assert asked_to_wait(headers) == seconds


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
@pytest.mark.parametrize("match", ["revision", "tree", "resolve", "blobs"])
def test_answers_that_pass_are_waited_for(
    status: int, match: str, hub: Hub, server: HubServer, content: bytes, waits: list[float]
) -> None:
    server.add("org/name", {"a.bin": content})
    server.fault(match, status=status, times=3)
    assert hub.repository("dataset", "org/name").file("a.bin").read(10, 1000) == content[10:1010]
    assert waits == [1, 2, 4]


def test_it_waits_as_long_as_it_is_asked_to(hub: Hub, server: HubServer, waits: list[float]) -> None:
    server.add("org/name", {"a.bin": b"x"})
    server.fault("revision", status=429, headers=LIMITED)
    server.fault("tree", status=429, headers={"Retry-After": "7"})
    server.fault("resolve", status=503, headers={"Retry-After": "0"})
    assert hub.repository("dataset", "org/name").file("a.bin").read(0, 1) == b"x"
    assert waits == [56, 7, 0]


def test_it_gives_up_after_five_times(hub: Hub, server: HubServer, waits: list[float]) -> None:
    server.add("org/name", {"a.bin": b"x"})
    server.fault("resolve", status=503, times=-1)
    with pytest.raises(DataError, match="a.bin could not be fetched: 127.0.0.1 answered 503 Service Unavailable"):
        hub.repository("dataset", "org/name").file("a.bin").read(0, 1)
    assert waits == [1, 2, 4, 8]
    assert len([path for path in server.paths() if "resolve" in path]) == 5


def test_who_asks_for_an_hour_is_not_waited_for(hub: Hub, server: HubServer, waits: list[float]) -> None:
    server.add("org/name", {"a.bin": b"x"})
    server.fault("revision", status=429, headers={"Retry-After": "3600"}, times=-1)
    with pytest.raises(DataError, match="hub:org/name could not be fetched") as caught:
        hub.repository("dataset", "org/name")
    assert waits == [] and caught.value.hint == "try again in 1 h: what is here already is kept"


def test_a_server_that_is_gone(hub: Hub, server: HubServer, waits: list[float]) -> None:
    url = server.add_plain("a.txt", b"text")
    file = open_url(url, client=hub.client)
    server.fault("a.txt", drop=True, times=3)  # the first is of a connection that was used before
    assert file.read(0, 4) == b"text"
    assert waits == [1, 2]
    server.fault("a.txt", drop=True, times=-1)
    with pytest.raises(DataError, match="a.txt could not be fetched: 127.0.0.1: ") as caught:
        file.read(0, 4)
    assert caught.value.hint == "try again later: what is here already is kept"
