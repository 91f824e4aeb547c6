"use strict";
// Draws the panels that the page holds: uPlot's lines, gaps where there is no number, marks where a run was resumed.
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function marks(panel) {
  return (plot) => {
    const { ctx, bbox } = plot;
    ctx.save();
    ctx.strokeStyle = colour("--ink");
    ctx.globalAlpha = 0.5;
    ctx.setLineDash([2, 3]);
    for (const [place] of panel.cuts) {
      const x = plot.valToPos(place, "x", true);
      ctx.beginPath(); ctx.moveTo(x, bbox.top); ctx.lineTo(x, bbox.top + bbox.height); ctx.stroke();
    }
    ctx.globalAlpha = 1;
    ctx.setLineDash([]);
    for (const line of panel.lines) {
      ctx.strokeStyle = line.colour;
      for (const place of line.broken) {
        const x = plot.valToPos(place, "x", true), y = bbox.top + 6;
        ctx.beginPath(); ctx.moveTo(x - 4, y - 4); ctx.lineTo(x + 4, y + 4);
        ctx.moveTo(x + 4, y - 4); ctx.lineTo(x - 4, y + 4); ctx.stroke();
      }
    }
    ctx.restore();
  };
}

// the lines over all places of any of them; where one has no number of its own it goes on, where it says null it breaks
function joined(panel) {
  return uPlot.join(panel.lines.map((line) => line.data), panel.lines.map((line) => line.data.map(() => 1)));
}

function drawn(panel, place) {
  const axis = { stroke: colour("--ink"), grid: { stroke: colour("--grid"), width: 1 }, ticks: { stroke: colour("--grid"), width: 1 } };
  const series = panel.lines.map((line) => ({
    label: line.label + (line.faint ? " (as it was)" : ""), stroke: line.colour, alpha: line.faint ? 0.35 : 1,
    width: line.faint ? 1 : 1.6, dash: line.dashed ? [6, 3] : undefined, points: { show: line.data[0].length <= 40, fill: line.colour },
  }));
  return new uPlot({
    width: place.clientWidth, height: 380, padding: [null, 32, null, null], axes: [{ ...axis, label: panel.x }, { ...axis, size: 64 }],
    scales: { x: { time: false }, y: panel.log ? { distr: 3 } : {} },
    series: [{ label: panel.x }, ...series], hooks: { draw: [marks(panel)] },
  }, joined(panel), place);
}

function draw(panel) {
  const title = document.createElement("h2"), place = document.createElement("div");
  title.textContent = panel.title;
  document.getElementById("charts").append(title, place);
  const plot = drawn(panel, place), picture = plot.ctx.canvas;
  picture.setAttribute("role", "img");
  picture.setAttribute("aria-label", panel.title);
  addEventListener("resize", () => plot.setSize({ width: place.clientWidth, height: 380 }));
  return { panel, plot };
}

const still = document.getElementById("panels");
if (still) JSON.parse(still.textContent).forEach(draw);
