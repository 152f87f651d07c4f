// The pair explorer: the server sorts and filters, a page of rows is here.

import { ask, count, h, listKeys, number, poll, sortHeadings, trouble } from "/static/dom.js";
import { showPair } from "/static/pair.js";

const COLUMNS = [
  { name: "index", title: "Pair" },
  { name: "displacement", title: "Displacement", note: "change of the chosen answer's log-prob since the start (nats)" },
  { name: "ches", title: "CHES", note: "similarity of the answers' hidden states: the larger, the likelier is displacement" },
  { name: "margin", title: "Margin", note: "h of the method's loss" },
  { name: "length", title: "Length", note: "tokens of both answers" },
  { name: "loss", title: "Loss" },
];
const FILTERS = COLUMNS.slice(1);
const LIMIT = 50;

export function showPairs(place, name) {
  const base = `/api/runs/${encodeURIComponent(name)}/pairs`;
  const asked = new URLSearchParams(location.search);
  const state = { sort: asked.get("sort") ?? "index", descending: asked.get("descending") === "1", offset: Number(asked.get("offset") ?? 0) };
  let found = 0;
  let opened = false;

  const text = field("text", "Text in prompt or answers", { type: "search", id: "filter", placeholder: "Text" });
  const suspect = h("input", { type: "checkbox", name: "suspect", value: "1" });
  suspect.checked = asked.get("suspect") === "1";
  const bounds = FILTERS.map(({ name, title }) =>
    h("fieldset", {}, h("legend", {}, title), ["min", "max"].map((side) => field(`${side}_${name}`, `${title}, ${side === "min" ? "at least" : "at most"}`, { type: "number", step: "any" }))));
  const form = h("form", { class: "filters", onsubmit: (event) => event.preventDefault() },
    text, bounds, h("label", { class: "suspect", hidden: true }, suspect, " suspected of displacement"),
    h("button", { type: "reset" }, "Clear"));
  const said = h("p", { class: "note", role: "status" });
  const heads = h("thead", {});
  const body = h("tbody", {});
  const [back, on] = [h("button", { type: "button", onclick: () => turn(-1) }, "← Previous"), h("button", { type: "button", onclick: () => turn(1) }, "Next →")];
  place.replaceChildren(
    h("details", { class: "card", open: matchMedia("(min-width: 761px)").matches }, h("summary", {}, "Filters"), form),
    h("div", { class: "card" },
      h("div", { class: "pager" }, said, h("span", { class: "note keys" }, "/ text · j k move · Enter open · Esc close"), back, on),
      h("div", { class: "scroll", role: "region", tabindex: "-1", "aria-label": "Pairs" },
        h("table", { class: "list", role: "grid" }, h("caption", { class: "hidden" }, "Pairs"), heads, body))));

  function field(name, label, attributes) {
    const input = h("input", { name, "aria-label": label, ...attributes });
    input.value = asked.get(name) ?? ""; // as an attribute it would be what "Clear" goes back to
    return input;
  }

  function parameters() {
    const given = new URLSearchParams([...new FormData(form)].filter(([, value]) => value !== ""));
    if (state.sort !== "index") given.set("sort", state.sort);
    if (state.descending) given.set("descending", "1");
    if (state.offset) given.set("offset", state.offset);
    return given;
  }

  function changed(offset = 0) {
    state.offset = offset;
    const given = parameters().toString();
    history.replaceState(null, "", `${location.pathname}${given ? `?${given}` : ""}#pairs`);
    again();
  }

  function sort(name) {
    state.descending = state.sort === name ? !state.descending : false;
    state.sort = name;
    changed();
  }

  let typing = 0;
  form.addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(changed, 250);
  });
  form.addEventListener("reset", () => setTimeout(changed));

  function turn(step, then = 0) {
    const offset = state.offset + step * LIMIT;
    if (offset < 0 || offset >= found) return;
    focusNext = then;
    changed(offset);
  }

  let focusNext = null; // the row that has the focus once the next page is there
  function draw(value) {
    const focused = focusNext === null ? [...body.rows].indexOf(document.activeElement) : focusNext;
    const heading = heads.contains(document.activeElement);
    focusNext = null;
    found = value.found;
    if (found && state.offset >= found) return changed(); // fewer than when the address was made
    heads.replaceChildren(sortHeadings([...COLUMNS, { title: "Prompt", class: "excerpt" }], state, sort));
    if (heading) heads.querySelector("[aria-sort] button")?.focus();
    body.replaceChildren(...value.rows.map((row) => {
      const line = h("tr", { tabindex: "-1", title: "Enter opens", onclick: () => open(line, row.index) },
        h("th", { scope: "row" }, count(row.index),
          row.suspect && h("span", { class: "badge", title: row.suspect }, "suspect")),
        FILTERS.map(({ name }) => h("td", {}, number(row[name]))),
        h("td", { class: "excerpt" }, h("bdi", {}, row.prompt)));
      line.dataset.index = row.index;
      return line;
    }));
    if (body.rows[0]) body.rows[0].tabIndex = 0;
    if (focused >= 0) body.rows[Math.min(focused, body.rows.length - 1)]?.focus();
    const last = Math.min(state.offset + LIMIT, found);
    const all = found === value.pairs ? "" : ` (of ${count(value.pairs)} recorded)`;
    said.textContent = found ? `${count(state.offset + 1)} to ${count(last)} of ${count(found)} pairs${all}` : "No pair is like that.";
    if (value.left_out) said.textContent += `; ${count(value.left_out)} more were not recorded`;
    back.disabled = state.offset === 0;
    on.disabled = last >= found;
    suspect.closest("label").hidden = !value.suspects;
    for (const { name } of FILTERS) {
      const [low, high] = value.ranges[name] ?? [null, null];
      form.elements[`min_${name}`].placeholder = low === null ? "–" : number(low, 3);
      form.elements[`max_${name}`].placeholder = high === null ? "–" : number(high, 3);
    }
  }

  async function open(line, index) {
    try {
      const { value } = await ask(`${base}/${index}`);
      trouble("");
      line.focus();
      opened = true;
      showPair(value, () => {
        opened = false;
        [...body.rows].find((row) => row.dataset.index === String(index))?.focus();
      });
    } catch (error) {
      trouble(error.message);
    }
  }

  body.addEventListener("keydown", (event) => {
    const line = event.target.closest("tr");
    if (event.key === "Enter" && line) {
      event.preventDefault();
      open(line, Number(line.dataset.index));
    }
  });
  listKeys(() => (place.checkVisibility() ? [...body.rows] : []), text, (step) => turn(step, step < 0 ? LIMIT - 1 : 0));
  document.addEventListener("keydown", (event) => {
    const step = { PageDown: 1, PageUp: -1 }[event.key];
    if (step && body.contains(event.target)) {
      event.preventDefault();
      turn(step);
    }
  });

  const again = poll(() => `${base}?${new URLSearchParams([...parameters(), ["limit", LIMIT]])}`, (value) => !opened && draw(value));
}
