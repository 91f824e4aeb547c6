"""The page and the report in a browser: live, started anew, alone, legible, narrow, unmoved by text."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pylm.runs.plot import plot
from pylm.runs.report import report
from pylm.runs.watching.web import Server, _Handler
from tests.runs.browser import Page, page_of
from tests.runs.made import line_of, made_run

HERE = Path(__file__).parent
AXE = HERE.parents[1] / ".venv" / "axe" / "axe.min.js"
HOSTILE = "</p></script><script>window.struck = 1; alert(1)</script><img src=x onerror='window.struck = 2'>"
LOOKS = [(1200, False), (1200, True), (390, False), (390, True)]
POINTS = "(typeof charts !== 'undefined' && charts[0]?.panel.lines.find((one) => !one.faint).data[0].length)"
WHITE = """(() => {
  const canvas = charts[0].plot.ctx.canvas;
  const bytes = charts[0].plot.ctx.getImageData(0, 0, canvas.width, canvas.height).data;
  return bytes.filter((one, at) => at % 4 === 0 && Math.min(one, ...bytes.subarray(at + 1, at + 4)) > 250).length;
})()"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with page_of(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture(autouse=True)
def afresh(page: Page) -> None:
    page.call("Page.navigate", url="about:blank")
    page.until("location.href === 'about:blank'")
    page.events.clear()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A run with all that is shown: samples that attack, incidents, evaluations, a resume, long names."""
    made = made_run(tmp_path / "a-run-with-a-name-that-is-much-longer-than-a-phone-is-wide-and-has-no-blank")
    (made / "samples.jsonl").write_text(
        "".join(json.dumps({"step": step, "prompt": "Once", "text": HOSTILE + "w" * 300}) + "\n" for step in (5, 40))
    )
    incident = {"step": 7, "kind": "spike", "loss": None, "documents": [{"text": HOSTILE}]}
    (made / "incidents.jsonl").write_text(json.dumps(incident) + "\n")
    found = {"task": HOSTILE, "metric": "acc", "value": 0.25, "stderr": 0.01, "checkpoint": "step_40"}
    (made / "evaluations.jsonl").write_text(json.dumps(found) + "\n")
    (made / "resumes.jsonl").write_text(
        json.dumps({"step": 20, "time": "2026-01-01", "removed": [line_of(21, 9.0)]}) + "\n"
    )
    return made


@contextmanager
def serving(*runs: Path, port: int = 0, token: str | None = None) -> Iterator[Server]:
    with Server(runs, port, interval=0.05, token=token) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def added(run: Path, step: int) -> None:
    with (run / "metrics.jsonl").open("a") as file:
        file.write(json.dumps(line_of(step, 1.0)) + "\n")


def is_sound(page: Page, width: int) -> None:
    """A page on which nothing is lost: no complaint, nothing wider than the window, every text can be read."""
    assert page.complaints == []
    assert page.value("window.struck") is None
    assert page.value("document.documentElement.scrollWidth") <= width
    assert page.value((HERE / "legible.js").read_text()) == []
    if AXE.exists():
        page.value(AXE.read_text() + "; 0")
        wrong = page.value("axe.run({resultTypes: ['violations']}).then((all) => all.violations.map((one) => "
                           "[one.id, one.nodes.map((node) => node.html.slice(0, 120))]))")  # fmt: skip
        assert wrong == []


def test_a_page_follows_a_run_and_a_server_that_starts_anew(
    page: Page, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, answer = [], _Handler._events

    def noted(self: _Handler, x: str) -> None:
        seen.append(self.headers.get("Last-Event-ID"))
        answer(self, x)

    monkeypatch.setattr(_Handler, "_events", noted)
    with serving(path) as server:
        port, address = server.server_address[1], server.address
        page.open(address)
        assert page.until(POINTS) == 40 and page.value("state.textContent") == "live"
        added(path, 41)
        page.until(f"({POINTS}) === 41")
        assert "step 41" in page.value("document.getElementById('runs').innerText")
    page.until("state.textContent === 'waiting for the server'")
    added(path, 42)
    with serving(path, port=port):
        page.until(f"({POINTS}) === 42 && state.textContent === 'live'")
        page.value("axis.value = 'tokens'; axis.dispatchEvent(new Event('change'))")
        page.until("charts[0].panel.x === 'tokens'")
    assert seen[0] is None and seen[1] is not None and seen[1].startswith("steps:")
    assert set(page.asked_for) == {address, f"{address}events?x=steps", f"{address}events?x=tokens"}
    assert page.complaints == []


def test_a_page_hands_its_token_on(page: Page, path: Path) -> None:
    with serving(path, token="of & all = kinds") as server:
        page.open(server.address)
        assert page.until(POINTS) == 40 and page.value("state.textContent") == "live"


@pytest.mark.parametrize(("width", "dark"), LOOKS)
def test_the_page_is_legible_wide_and_narrow_light_and_dark(page: Page, path: Path, width: int, dark: bool) -> None:
    with serving(path, path.parent / path.name) as server:
        page.open(server.address, width=width, dark=dark)
        page.until(POINTS)
        assert HOSTILE[:20] in page.value("document.getElementById('runs').innerText")  # as text
        is_sound(page, width)
        assert not dark or page.value(WHITE) == 0, "points have the colour of their line, not that of paper"


@pytest.mark.parametrize(("width", "dark"), LOOKS)
def test_the_report_opens_without_a_network(page: Page, path: Path, width: int, dark: bool) -> None:
    address = report(path).resolve().as_uri()
    page.call("Network.emulateNetworkConditions", offline=True, latency=0, downloadThroughput=0, uploadThroughput=0)
    try:
        page.open(address, width=width, dark=dark)
        assert page.asked_for == [address]
        is_sound(page, width)
        shown = "[...document.querySelectorAll('article')].filter((one) => !one.hidden).map((one) => one.dataset.step)"
        assert page.value(shown) == ["40"]
        page.value("at.value = 0; at.dispatchEvent(new Event('input'))")
        assert page.value(shown) == ["5"] and HOSTILE in page.value("document.querySelector('article').textContent")
    finally:
        page.call(
            "Network.emulateNetworkConditions", offline=False, latency=0, downloadThroughput=-1, uploadThroughput=-1
        )


@pytest.mark.parametrize(("width", "dark"), LOOKS)
def test_a_plot_is_a_page_of_its_own(page: Page, path: Path, width: int, dark: bool) -> None:
    address = plot(path, out=path.parent / "plot.html").resolve().as_uri()
    page.open(address, width=width, dark=dark)
    page.until("document.querySelectorAll('canvas').length")
    assert page.asked_for == [address]
    is_sound(page, width)


def test_what_cannot_be_read_is_found(page: Page, tmp_path: Path) -> None:
    """The judge of legibility finds what is planted: it could not fail else."""
    (tmp_path / "bad.html").write_text(
        "<title>t</title><p style='color: #999'>pale</p><p style='opacity: .5'>thin</p><p>well</p><input><svg></svg>"
    )
    page.open((tmp_path / "bad.html").as_uri())
    found = page.value((HERE / "legible.js").read_text())
    assert [one.split(": ")[-1] for one in found[:2]] == ["pale", "thin"] and len(found) == 5
