// One run: the tabs of its report, kept up to date, and its pairs.

import { count, h, head, number, poll, status } from "/static/dom.js";
import { showBlocks } from "/static/blocks.js";
import { showPairs } from "/static/pairs.js";

export function showRun(main, name) {
  const bar = document.getElementById("tabs");
  const strip = h("div", { role: "tablist", "aria-label": "Parts of the run" });
  const progress = h("div", { class: "card progress", hidden: true });
  const panels = new Map();
  let [shown, pairs] = [null, false];
  head(name);
  bar.hidden = false;
  bar.replaceChildren(strip);
  main.replaceChildren(progress);

  function panel(identity, title) {
    if (panels.has(identity)) return panels.get(identity);
    const tab = h("a", { role: "tab", id: `tab-${identity}`, href: `#${identity}`, "aria-controls": identity }, title);
    const place = h("div", { class: "blocks" });
    const section = h("section", { role: "tabpanel", id: identity, tabindex: "0", "aria-labelledby": tab.id }, h("h2", {}, title), place);
    const found = { tab, section, place };
    panels.set(identity, found);
    strip.append(tab);
    main.append(section);
    tab.addEventListener("click", (event) => {
      event.preventDefault(); // following the link would scroll the page
      if (location.hash !== tab.hash) history.pushState(null, "", tab.hash);
      select();
    });
    return found;
  }

  function select() {
    const asked = location.hash.slice(1);
    const chosen = panels.has(asked) ? asked : "summary";
    for (const [identity, { tab, section }] of panels) {
      tab.setAttribute("aria-selected", String(identity === chosen));
      tab.tabIndex = identity === chosen ? 0 : -1;
      section.classList.toggle("shown", identity === chosen);
    }
    if (chosen !== shown) panels.get(chosen)?.tab.scrollIntoView({ block: "nearest", inline: "nearest" });
    shown = chosen;
    if (chosen === "pairs" && !pairs) showPairs(panels.get("pairs").place, name);
    pairs ||= chosen === "pairs";
  }

  strip.addEventListener("keydown", (event) => {
    const tabs = [...panels.values()].map(({ tab }) => tab);
    const here = tabs.indexOf(event.target);
    const next = { ArrowRight: here + 1, ArrowLeft: here - 1, Home: 0, End: -1, " ": here }[event.key];
    if (next === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    const tab = tabs.at(next % tabs.length);
    history.replaceState(null, "", tab.hash);
    select();
    tab.focus();
  });
  for (const event of ["popstate", "hashchange"]) window.addEventListener(event, select);

  poll(() => `/api/runs/${encodeURIComponent(name)}`, (run) => {
    head(name, status(run.status), ...[run.method, run.model].filter(Boolean).map((text) => h("span", { class: "part" }, text)));
    showProgress(progress, run);
    for (const { identity, title, blocks } of run.tabs) {
      const next = { kind: "prose", title: "What to try next", sentences: run.next, tone: "plain", half: false };
      const at = 1 + blocks.findIndex((block) => block.title === "What it came to");
      const all = identity === "summary" && run.next.length ? [...blocks.slice(0, at), next, ...blocks.slice(at)] : blocks;
      showBlocks(panel(identity, title).place, all);
    }
    if (run.pairs) panel("pairs", "Pairs");
    select();
  });
}

function showProgress(place, run) {
  place.hidden = run.status !== "running";
  if (place.hidden) return;
  const share = run.steps ? Math.min(run.step / run.steps, 1) : null;
  place.replaceChildren(
    h("progress", { max: "1", value: share, "aria-label": "Steps done" }),
    h("span", {}, `step ${count(run.step)}${run.steps ? ` of ${count(run.steps)} (${Math.floor(100 * share)} %)` : ""}`, run.loss === null ? "" : `, loss ${number(run.loss)}`));
}
