// The blocks of a report (collimate/report/_blocks.py), in the report's own markup.

import { h } from "/static/dom.js";
import { chart } from "/static/chart.js";

const half = (block) => (block.half ? " half" : "");
const note = (text) => text && h("p", { class: "note" }, text);
const heading = (block) => block.title && h("h3", {}, block.title);

const KINDS = {
  prose: (block) =>
    h("div", { class: `prose ${block.tone}${half(block)}` }, heading(block),
      block.sentences.map((sentence) => h("p", { dir: "auto" }, sentence))),

  tiles: (block) =>
    h("dl", { class: "tiles" }, block.tiles.map((tile) =>
      h("div", {}, h("dt", {}, tile.label), h("dd", { class: "big" }, tile.value), tile.note && h("dd", { class: "note" }, tile.note)))),

  facts: (block) => {
    const rows = h("dl", { class: `facts${block.code ? " code" : ""}${block.two ? " two" : ""}` },
      block.rows.map((row) => h("div", {}, h("dt", {}, row.label),
        h("dd", {}, h("bdi", {}, row.value), row.note && [" ", h("span", { class: "note" }, row.note)]))));
    return block.folded
      ? h("details", { class: "card" }, h("summary", {}, block.title), rows)
      : h("div", { class: `card${half(block)}` }, heading(block), rows, note(block.note));
  },

  table: (block) =>
    h("div", { class: `card${half(block)}` }, heading(block),
      h("div", { class: "scroll", role: "region", tabindex: "0", "aria-label": block.title },
        h("table", {},
          h("thead", {}, h("tr", {}, block.columns.map((column) => h("th", { scope: "col" }, column)))),
          h("tbody", {}, block.rows.map((row) => h("tr", {}, row.map((cell, index) =>
            index ? h("td", {}, cell) : h("th", { scope: "row" }, h("bdi", {}, cell)))))))),
      note(block.note)),

  chart: (block) =>
    h("figure", { class: `card${half(block)}` }, heading(block), chart(block),
      block.caption.length > 0 && h("figcaption", { class: "note" }, block.caption.join(" "))),

  bars: (block) => {
    const track = (...parts) => h("div", { class: "track" }, parts);
    const at = (tag, styles, ...text) => {
      const element = h(tag, {}, ...text);
      Object.assign(element.style, styles);
      return element;
    };
    const ticks = () => block.ticks.map(([place]) => at("u", { left: `${place}%` }));
    const axis = track(block.ticks.map(([place, said]) => at("span", { left: `${place}%` }, said)));
    axis.classList.add("axis");
    return h("figure", { class: "card half" }, h("h3", {}, block.chart.title),
      h("div", { class: "bars", role: "img", "aria-label": block.chart.summary },
        block.rows.map((row) => [h("bdi", {}, row.name), track(ticks(),
          at("i", { left: `${row.low}%`, width: `${row.high - row.low}%`, color: `var(--${row.colour})` }),
          at("b", { left: `${row.middle}%`, color: `var(--${row.colour})` }))]),
        h("span", {}), axis));
  },

  legend: (block) =>
    h("div", { class: "card" }, h("ul", { class: "names" }, block.keys.map((key) => h("li", {}, swatch(key.colour, key.dash), key.name))), note(block.note)),

  writings: (block) =>
    h("div", { class: "writings" }, note(block.note), block.items.map((item, index) =>
      h("article", { class: "card", "aria-label": `Sample ${index + 1}` }, h("h3", {}, `Sample ${index + 1}`),
        h("p", { class: "label" }, "Prompt"), text("Prompt", item.prompt),
        h("div", { class: "answers" }, item.answers.map(([label, said]) =>
          h("div", {}, h("p", { class: "label" }, label),
            said === null ? h("p", { class: "missing" }, "not sampled")
              : said.trim() === "" ? h("p", { class: "missing" }, "empty: the model ended at once")
                : text(label, said))))))),
};

export const text = (label, said) => h("pre", { dir: "auto", tabindex: "0", "aria-label": label }, said);

/** A line of a legend: its colour (a CSS variable, or the name of one) and its dash. */
export function swatch(colour, dash = "solid") {
  const element = h("span", { class: "swatch", "aria-hidden": "true" });
  element.style.borderTopStyle = { solid: "solid", dash: "dashed" }[dash] ?? "dotted";
  element.style.borderTopColor = colour.startsWith("var(") ? colour : `var(--${colour})`;
  return element;
}

/** Make `place` show these blocks; those that are as before stay, with their focus and scroll. */
export function showBlocks(place, blocks) {
  const known = blocks.filter((block) => block.kind in KINDS);
  known.forEach((block, index) => {
    const content = JSON.stringify(block);
    const old = place.children[index];
    if (old?.content === content) return;
    const fresh = KINDS[block.kind](block);
    fresh.content = content;
    if (old?.open) fresh.open = true;
    if (old) old.replaceWith(fresh);
    else place.append(fresh);
  });
  while (place.children.length > known.length) place.lastElementChild.remove();
}
