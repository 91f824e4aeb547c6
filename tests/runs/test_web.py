"""`pylm watch --web`: what the server answers, to whom, and that it goes on where a browser was."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pylm.cli import run
from pylm.runs.watching.web import Server
from tests.runs.made import line_of, made_run

HOSTILE = "</script><script>alert(1)</script>\n\ndata: x"


@contextmanager
def serving(*runs: Path, **more: Any) -> Iterator[Server]:
    with Server(runs, interval=0.02, **more) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def asked(
    server: Server, path: str = "/", host: str | None = None, **headers: str
) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=20)
    named = {"Host": host} if host is not None else {}
    connection.request(
        "GET", path, headers={**named, **{name.replace("_", "-"): value for name, value in headers.items()}}
    )
    return connection, connection.getresponse()


def event(response: http.client.HTTPResponse) -> dict[str, str]:
    """The next event with data."""
    found: dict[str, str] = {}
    while True:
        line = response.readline().decode().rstrip("\n")
        if not line and "data" in found:
            return found
        name, _, value = line.partition(": ")
        if name:
            found[name] = value


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = made_run(tmp_path / "a", lines=[line_of(step, 3 / step) for step in range(1, 6)])
    (made / "samples.jsonl").write_text(json.dumps({"step": 5, "prompt": "Once", "text": HOSTILE}) + "\n")
    return made


def test_the_page_allows_its_own_scripts_and_its_own_server(path: Path) -> None:
    with serving(path) as server:
        connection, response = asked(server)
        text = response.read().decode()
        connection.close()
    assert response.status == 200 and response.headers["X-Content-Type-Options"] == "nosniff"
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1]  # type: ignore[index]
    assert "default-src 'none'" in policy and "connect-src 'self'" in policy and "unsafe" not in policy
    scripts = re.findall(r"<script>(.*?)</script>", text, re.S)
    assert len(scripts) == 3
    assert all(base64.b64encode(hashlib.sha256(one.encode()).digest()).decode() in policy for one in scripts)
    assert "innerHTML" not in scripts[1] + scripts[2] and "alert" not in text


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:80", 200),
        ("127.0.0.1", 200),
        ("[::1]:9", 200),
        ("evil.example", 403),
        ("127.0.0.1.evil.example:80", 403),
    ],
)
def test_only_this_machine_is_answered(path: Path, host: str, status: int) -> None:
    with serving(path) as server:
        assert server.server_address[0] == "127.0.0.1"
        for where in ("/", "/events?x=tokens"):
            connection, response = asked(server, where, host)
            assert response.status == status
            connection.close()


@pytest.mark.parametrize("where", ["/../../etc/passwd", "/a/metrics.jsonl", "//etc/passwd", "/favicon.ico"])
def test_no_path_is_one_of_the_disk(path: Path, where: str) -> None:
    with serving(path) as server:
        connection, response = asked(server, where)
        assert response.status == 404 and b"there is / and /events" in response.read()
        connection.close()


def test_events_go_on_where_a_browser_was_and_after_another_start(path: Path) -> None:
    with serving(path) as server:
        connection, response = asked(server, "/events?x=tokens")
        assert response.headers["Content-Type"] == "text/event-stream"
        first = event(response)
        shown = json.loads(first["data"])
        assert first["retry"] == "2000"
        assert [panel["title"] for panel in shown["panels"]] == [
            *("loss over tokens", "grad_norm over tokens", "tokens_per_second over tokens"),
        ]
        assert shown["panels"][0]["lines"][0]["data"] == [[64, 128, 192, 256, 320], [3, 1.5, 1, 0.75, 0.6]]
        assert shown["runs"][0]["sample"]["text"] == HOSTILE and "step 5" in shown["runs"][0]["figures"]
        with (path / "metrics.jsonl").open("a") as file:
            file.write(json.dumps(line_of(6, 0.5)) + "\n")
        second = event(response)
        assert len(json.loads(second["data"])["panels"][0]["lines"][0]["data"][0]) == 6
        connection.close()
    assert first["id"] != second["id"]
    with serving(path) as server:  # whoever has seen all of it is sent what comes, and nothing before
        connection, response = asked(server, "/events?x=tokens", Last_Event_ID=second["id"])
        with (path / "metrics.jsonl").open("a") as file:
            file.write(json.dumps(line_of(7, 0.4)) + "\n")
        assert len(json.loads(event(response)["data"])["panels"][0]["lines"][0]["data"][0]) == 7
        connection.close()
        connection, response = asked(server, "/events", Last_Event_ID=second["id"])  # of another axis: all of it
        assert "loss over steps" in event(response)["data"]
        connection.close()
        connection, response = asked(server, "/events?x=nonsense")
        assert response.status == 400
        connection.close()


@pytest.mark.parametrize("host", ["0.0.0.0", "127.0.0.1"])
def test_whoever_does_not_know_the_token_is_told_nothing(path: Path, host: str) -> None:
    with serving(path, host=host, token="s3cret" if host == "127.0.0.1" else None) as server:
        token = server.address.partition("?token=")[2]
        assert token == server.token and (host == "127.0.0.1" or len(token) >= 20)
        for where, given, status in (
            *(("/", "", 401), ("/", "?token=", 401), ("/", f"?token={token[:-1]}", 401), ("/events", "?x=steps", 401)),
            *(
                ("/", f"?token={token}", 200),
                ("/events", f"?x=steps&token={token}", 200),
                ("/no", f"?token={token}", 404),
            ),
        ):
            connection, response = asked(server, where + given, "any.example")
            assert response.status == status, (where, given)
            if status == 401:
                assert b"asks for its token" in (body := response.read()) and token.encode() not in body
            connection.close()
    with serving(path) as server:
        assert server.token is None  # this machine's own page asks for none


def test_the_words_of_the_page_are_words_of_the_page_alone(
    path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for words in (["--port", "8080"], ["--host", "0.0.0.0"], ["--token", "x"]):
        assert run(["watch", str(path), *words]) == 2
        assert f"{words[0]} is of the page" in capsys.readouterr().err
    shown = []
    monkeypatch.setenv("PYLM_TOKEN", "of the/environment")
    monkeypatch.setattr(Server, "serve_forever", lambda self: shown.append(self.address))
    assert run(["watch", str(path), "--web"]) == 0 and run(["watch", str(path), "--web", "--token", "own"]) == 0
    assert [one.partition("?")[2] for one in shown] == ["token=of%20the/environment", "token=own"]
    monkeypatch.delenv("PYLM_TOKEN")
    assert run(["watch", str(path), "--web", "--host", "no.such.host.invalid"]) == 2
    assert "of no.such.host.invalid cannot be had" in capsys.readouterr().err


def test_a_port_that_somebody_has_is_a_sentence(
    path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert run(["watch", str(path), "--web", "--port", port]) == 2
        assert f"port {port} cannot be had" in capsys.readouterr().err
    assert run(["watch", str(path), "--web", "--port", "99999"]) == 2
    assert "port 99999 cannot be had" in capsys.readouterr().err
