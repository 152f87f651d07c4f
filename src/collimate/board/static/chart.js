// The report's figures (plotly's format, of which it uses lines, marks, error bars, one fill and
// level lines) drawn as SVG. Colours are CSS variables, so that dark mode needs no second drawing.

import { h, number, s } from "/static/dom.js";
import { swatch } from "/static/blocks.js";

const SYMBOLS = {
  circle: "M-4,0a4,4 0 1,0 8,0a4,4 0 1,0 -8,0",
  square: "M-4,-4h8v8h-8z",
  diamond: "M0,-5.5L5.5,0L0,5.5L-5.5,0z",
  "triangle-up": "M0,-5L5,4H-5z",
  cross: "M-1.5,-5h3v3.5h3.5v3h-3.5v3.5h-3v-3.5h-3.5v-3h3.5z",
  star: "M0,-6L1.6,-1.9L6,-1.9L2.4,0.8L3.7,5L0,2.5L-3.7,5L-2.4,0.8L-6,-1.9L-1.6,-1.9z",
};
const DASHES = { dash: "7 4", dot: "2 3", dashdot: "7 3 2 3", longdash: "14 5", longdashdot: "14 4 2 4" };
const EDGE = { top: 26, right: 12, bottom: 36, left: 48 };

/** A chart with its legend, and a line that tells the values under the pointer or the arrow keys. */
export function chart(block) {
  const { data, layout } = block.figure;
  const svg = s("svg", { role: "img", "aria-label": `${block.summary} Arrow keys read the values.`, tabindex: "0" });
  const readout = h("p", { class: "readout", "aria-live": "polite" });
  const named = data.filter((trace) => trace.name && trace.showlegend !== false);
  const keys = layout.showlegend && named.map((trace) => h("li", {}, swatch(colourOf(trace), trace.line?.dash), plain(trace.name)));
  let scales = null;
  let at = null;

  function draw(width) {
    scales = scalesOf(data, layout, width, svg.clientHeight || 260);
    svg.setAttribute("viewBox", `0 0 ${width} ${scales.height}`);
    svg.replaceChildren(axes(scales, layout), ...data.map((trace) => drawn(trace, scales)), s("line", { class: "cursor" }));
    if (at !== null) read(at);
  }

  function read(x) {
    at = x;
    const known = named.map((trace) => [trace, nearest(trace.x, x)]).filter(([trace, i]) => i >= 0 && trace.y[i] !== null);
    if (!known.length) return;
    const here = known.map(([trace, i]) => trace.x[i]).reduce((a, b) => (Math.abs(b - x) < Math.abs(a - x) ? b : a));
    readout.textContent = `${plain(layout.xaxis.title.text)} ${number(here)}: ${known.map(([trace, i]) => `${plain(trace.name)} ${number(trace.y[i])}`).join(", ")}`;
    const [cursor, left] = [svg.querySelector(".cursor"), scales.x(here)];
    for (const [name, value] of Object.entries({ x1: left, x2: left, y1: EDGE.top, y2: scales.height - EDGE.bottom })) cursor.setAttribute(name, value);
  }

  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    if (scales) read(scales.back(((event.clientX - box.left) / box.width) * scales.width));
  });
  svg.addEventListener("keydown", (event) => {
    const [low, high] = scales.xs;
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key] * ((high - low) / (event.shiftKey ? 10 : 100));
    const to = { Home: low, End: high }[event.key] ?? (at ?? low) + step;
    if (Number.isNaN(to)) return;
    event.preventDefault();
    read(Math.min(Math.max(to, low), high));
  });
  const frame = h("div", { class: "plot" }, keys && h("ul", { class: "names" }, keys), svg, readout);
  new ResizeObserver(([entry]) => entry.contentRect.width && draw(Math.round(entry.contentRect.width))).observe(frame);
  return frame;
}

const colourOf = (trace) => (trace.mode === "markers" ? (trace.marker?.line?.color ?? trace.marker?.color) : trace.line?.color) ?? "var(--ink)";

/** The report writes names for plotly, which reads these three entities. */
const plain = (text) => text.replaceAll("&lt;", "<").replaceAll("&gt;", ">").replaceAll("&amp;", "&");

function nearest(xs, x) {
  let best = -1;
  for (let i = 0; i < xs.length; i++) if (best < 0 || Math.abs(xs[i] - x) < Math.abs(xs[best] - x)) best = i;
  return best;
}

function scalesOf(data, layout, width, height) {
  const xs = range(data.flatMap((trace) => trace.x), layout.xaxis.rangemode === "tozero" ? [0] : []);
  const levels = (layout.shapes ?? []).map((shape) => shape.y0).filter((y) => typeof y === "number");
  const ends = data.flatMap((trace) => [
    ...trace.y,
    ...(trace.error_y?.array ?? []).map((up, i) => trace.y[i] + up),
    ...(trace.error_y?.arrayminus ?? []).map((down, i) => trace.y[i] - down),
  ]);
  const [low, high] = range(ends, [...levels, ...(layout.yaxis.rangemode === "tozero" ? [0] : [])]);
  const pad = (high - low) * 0.05;
  const ys = [low === 0 ? 0 : low - pad, high + pad];
  const inner = { width: width - EDGE.left - EDGE.right, height: height - EDGE.top - EDGE.bottom };
  return {
    width, height, xs, ys,
    x: (value) => EDGE.left + ((value - xs[0]) / (xs[1] - xs[0])) * inner.width,
    y: (value) => EDGE.top + ((ys[1] - value) / (ys[1] - ys[0])) * inner.height,
    back: (left) => xs[0] + ((left - EDGE.left) / inner.width) * (xs[1] - xs[0]),
  };
}

/** The smallest and the largest finite value; never the same. */
function range(values, also) {
  let [low, high] = [Infinity, -Infinity];
  for (const value of [...values, ...also]) {
    if (typeof value !== "number" || !Number.isFinite(value)) continue;
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  if (low > high) return [0, 1];
  return low < high ? [low, high] : [low - Math.max(Math.abs(low) * 0.1, 1e-9), high + Math.max(Math.abs(high) * 0.1, 1e-9)];
}

/** Round numbers in a range, about as many as there is room for. */
function ticks([low, high], room) {
  const rough = (high - low) / Math.max(room, 2);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((m) => m * power).find((size) => size >= rough);
  const first = Math.ceil(low / step);
  return Array.from({ length: Math.max(Math.floor(high / step) - first + 1, 0) }, (_, i) => Number(((first + i) * step).toPrecision(12)));
}

function axes(scales, layout) {
  const bottom = scales.height - EDGE.bottom;
  const right = scales.width - EDGE.right;
  return s("g", { class: "axes", "aria-hidden": "true" },
    ticks(scales.ys, scales.height / 45).map((value) => [
      s("line", { class: "grid", x1: EDGE.left, x2: right, y1: scales.y(value), y2: scales.y(value) }),
      s("text", { x: EDGE.left - 6, y: scales.y(value) + 4, "text-anchor": "end" }, number(value, 3)),
    ]),
    ticks(scales.xs, scales.width / 90).map((value) => s("text", { x: scales.x(value), y: bottom + 16, "text-anchor": "middle" }, number(value, 4))),
    (layout.shapes ?? []).map((shape) => s("line", { class: "level", x1: EDGE.left, x2: right, y1: scales.y(shape.y0), y2: scales.y(shape.y1) })),
    s("line", { class: "axis", x1: EDGE.left, x2: right, y1: bottom, y2: bottom }),
    s("text", { x: right, y: scales.height - 4, "text-anchor": "end" }, plain(layout.xaxis.title.text)),
    s("text", { x: 0, y: 11 }, plain(layout.yaxis.title.text)));
}

function drawn(trace, scales) {
  const colour = colourOf(trace);
  const group = s("g", { class: "trace", opacity: trace.opacity });
  group.style.color = colour;
  if (trace.mode.includes("lines")) {
    const path = pathOf(trace, scales);
    if (trace.fill === "tozeroy" && trace.x.length) {
      const [first, last, zero] = [scales.x(trace.x[0]), scales.x(trace.x.at(-1)), scales.y(0)];
      group.append(s("path", { class: "area", d: `M${first},${zero}${path.replaceAll("M", "L")}L${last},${zero}z` }));
    } else {
      group.append(s("path", { class: "line", d: path, "stroke-width": trace.line?.width ?? 2, "stroke-dasharray": DASHES[trace.line?.dash] }));
    }
  }
  if (trace.mode.includes("markers")) {
    trace.x.forEach((x, i) => {
      if (x === null || trace.y[i] === null) return;
      const [left, up, down] = [scales.x(x), trace.error_y?.array[i] ?? 0, trace.error_y?.arrayminus[i] ?? 0];
      if (up || down) group.append(s("line", { class: "interval", x1: left, x2: left, y1: scales.y(trace.y[i] - down), y2: scales.y(trace.y[i] + up) }));
      group.append(s("path", { class: "mark", d: SYMBOLS[trace.marker?.symbol] ?? SYMBOLS.circle, transform: `translate(${left} ${scales.y(trace.y[i])})` }));
    });
  }
  return group;
}

function pathOf(trace, scales) {
  let [path, pen] = ["", "M"];
  trace.x.forEach((x, i) => {
    if (x === null || trace.y[i] === null) return void (pen = "M"); // a gap stays a gap
    path += `${pen}${scales.x(x).toFixed(1)},${scales.y(trace.y[i]).toFixed(1)}`;
    pen = "L";
  });
  return path;
}
