"use strict";
// Listens to the server and draws what it sends; all that a model or a run has written goes in as text.
const axis = document.getElementById("axis"), state = document.getElementById("state");
let source, shape = "", charts = [];

function element(name, text, parent) {
  const made = document.createElement(name);
  made.textContent = text;
  parent.append(made);
  return made;
}

function showPanels(panels) {
  const fresh = JSON.stringify(panels.map((panel) => [panel.title, panel.x, panel.lines.map((line) => line.label + line.faint)]));
  if (fresh !== shape) {
    for (const chart of charts) chart.plot.destroy();
    document.getElementById("charts").replaceChildren();
    charts = panels.map(draw);
    shape = fresh;
    return;
  }
  panels.forEach((panel, number) => {
    Object.assign(charts[number].panel, panel);
    charts[number].plot.setData(joined(panel));
  });
}

function showRuns(runs) {
  const place = document.getElementById("runs");
  place.replaceChildren();
  for (const run of runs) {
    element("h2", run.name, place);
    element("p", run.figures.join(" · "), place);
    if (run.phases) element("p", "time: " + run.phases, place);
    if (run.sample) element("p", `wrote at step ${run.sample.step}: ${run.sample.prompt ?? ""}${run.sample.text ?? ""}`, place);
    if (run.incident) element("p", `${run.incidents} ${run.incidents === 1 ? "incident" : "incidents"}, the last at step ${run.incident.step}: ${run.incident.kind}`, place);
  }
}

function listen() {
  source?.close();
  const asked = new URLSearchParams({ x: axis.value }), token = new URLSearchParams(location.search).get("token");
  if (token) asked.set("token", token);
  source = new EventSource("/events?" + asked);
  source.onopen = () => { state.textContent = "live"; };
  source.onerror = () => { state.textContent = "waiting for the server"; };
  source.onmessage = (event) => {
    const shown = JSON.parse(event.data);
    showPanels(shown.panels);
    showRuns(shown.runs);
  };
}
axis.addEventListener("change", listen);
listen();
