// The list of runs: sorted, filtered, up to six picked to be compared.

import { count, h, head, listKeys, number, poll, runAddress, sortHeadings, status } from "/static/dom.js";

const MOST = 6;
const COLUMNS = [
  { title: "Compare", hidden: true },
  { name: "name", title: "Run" },
  { name: "status", title: "Status" },
  { name: "method", title: "Method" },
  { name: "step", title: "Steps", class: "minor" },
  { name: "loss", title: "Loss", note: "of the last logged step" },
  { name: "reward_accuracy", title: "Reward accuracy", note: "held-out; [95 % interval]", class: "minor" },
  { name: "likelihood_accuracy", title: "Likelihood accuracy", note: "held-out; [95 % interval]", class: "minor" },
  { name: "created", title: "Started", class: "minor" },
];

export function showRuns(main) {
  const state = { sort: "created", descending: true };
  const picked = new Set();
  let all = [];

  const filter = h("input", { type: "search", id: "filter", placeholder: "Filter by name, method, status", "aria-label": "Filter runs", oninput: draw });
  const compare = h("a", { class: "button", id: "compare" });
  const said = h("p", { class: "note", role: "status" });
  const heads = h("thead", {});
  const body = h("tbody", {});
  main.replaceChildren(
    h("div", { class: "controls" }, filter, compare, h("span", { class: "note keys" }, "/ filter · j k move · Enter open · x pick")),
    said,
    h("div", { class: "card" }, h("div", { class: "scroll", role: "region", tabindex: "-1", "aria-label": "Runs" },
      h("table", { class: "list runs" }, h("caption", { class: "hidden" }, "Runs"), heads, body))));

  function sort(name) {
    state.descending = state.sort === name ? !state.descending : false;
    state.sort = name;
    draw();
    heads.querySelector(`[aria-sort] button`)?.focus();
  }

  function draw() {
    const words = filter.value.toLowerCase().split(/\s+/);
    const shown = all
      .filter((run) => words.every((word) => `${run.name} ${run.status} ${run.method} ${run.model}`.toLowerCase().includes(word)))
      .sort((a, b) => order(a[state.sort], b[state.sort], state.descending) || order(a.name, b.name, false));
    const focused = document.activeElement?.closest("tr")?.dataset.name;
    const kind = document.activeElement?.tagName;
    heads.replaceChildren(sortHeadings(COLUMNS, state, sort));
    body.replaceChildren(...shown.map(row));
    if (focused !== undefined) {
      const again = [...body.rows].find((line) => line.dataset.name === focused);
      again?.querySelector(kind === "INPUT" ? "input" : "a")?.focus();
    }
    said.textContent = shown.length === all.length ? `${count(all.length)} runs` : `${count(shown.length)} of ${count(all.length)} runs`;
    drawCompare();
  }

  function row(run) {
    const box = h("input", { type: "checkbox", "aria-label": `Compare ${run.name}`, disabled: run.status === "unreadable" });
    box.checked = picked.has(run.name);
    box.addEventListener("change", () => pick(run.name, box));
    const line = h("tr", {},
      h("td", {}, box),
      h("th", { scope: "row" }, h("a", { href: runAddress(run.name) }, h("bdi", {}, run.name)), run.error && h("span", { class: "note error", title: run.error }, run.error)),
      h("td", {}, status(run.status)),
      h("td", {}, run.method),
      h("td", { class: "minor" }, steps(run)),
      h("td", {}, number(run.loss)),
      h("td", { class: "minor" }, accuracy(run, "reward_accuracy")),
      h("td", { class: "minor" }, accuracy(run, "likelihood_accuracy")),
      h("td", { class: "minor", title: run.created }, (run.created ?? "").split("T")[0]));
    line.dataset.name = run.name;
    return line;
  }

  function pick(name, box) {
    if (box.checked && picked.size >= MOST) {
      box.checked = false;
      said.textContent = `At most ${MOST} runs are compared: leave one out first.`;
    } else if (box.checked) picked.add(name);
    else picked.delete(name);
    drawCompare();
  }

  function drawCompare() {
    const names = [...picked].filter((name) => all.some((run) => run.name === name));
    compare.textContent = names.length ? `Compare ${names.length}` : "Pick runs to compare";
    if (names.length) compare.href = `/compare?${names.map((name) => `run=${encodeURIComponent(name)}`).join("&")}`;
    else compare.removeAttribute("href");
  }

  const links = () => [...body.querySelectorAll("th a")];
  listKeys(links, filter);
  body.addEventListener("keydown", (event) => {
    if (event.key !== "x") return;
    event.target.closest("tr").querySelector("input").click();
  });

  poll(() => "/api/runs", (value) => {
    all = value.runs;
    head("Runs", h("span", { class: "part" }, value.folder));
    draw();
    if (!all.length) said.textContent = "No run in this folder yet: `collimate train --out` in it makes one, and it appears here.";
  });
}

/** Texts by letters, numbers by size, what is not known last whichever way the list goes. */
function order(a, b, descending) {
  const missing = (x) => x === null || x === undefined;
  if (missing(a) || missing(b)) return missing(a) - missing(b);
  const found = typeof a === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true });
  return descending ? -found : found;
}

function steps(run) {
  if (run.step === null || run.step === undefined) return "–";
  const text = run.steps ? `${count(run.step)} / ${count(run.steps)}` : count(run.step);
  return run.steps && run.status === "running" ? [h("progress", { value: run.step, max: run.steps, "aria-label": "done" }), " ", text] : text;
}

function accuracy(run, name) {
  const interval = run[`${name}_interval`];
  if (run[name] === null || run[name] === undefined) return "–";
  return `${run[name].toFixed(2)}${interval ? ` [${interval[0].toFixed(2)}, ${interval[1].toFixed(2)}]` : ""}`;
}
