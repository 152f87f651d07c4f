// Elements are made of names and texts alone: nothing on this board reads a text as markup.

const SVG = "http://www.w3.org/2000/svg";

/** An element; attributes whose name starts with "on" are listeners, false and null leave one out. */
export const h = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);

/** The same for a part of a drawing. */
export const s = (tag, attributes, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === false || value === null || value === undefined) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** What an address of the board answers, and its tag, which changes when the answer does. */
export async function ask(address) {
  const answer = await fetch(address, { cache: "no-cache" });
  const value = await answer.json();
  if (!answer.ok) throw Object.assign(new Error(value.error), { status: answer.status });
  return { value, tag: `${address} ${answer.headers.get("ETag")}` };
}

/**
 * Ask again and again, two seconds after an answer, or longer where answers take long; show what is
 * new, until show is not false. Returns a function that asks at once. A page that nobody sees asks nothing.
 */
export function poll(address, show) {
  let [seen, round, timer] = [null, 0, 0];
  async function once() {
    clearTimeout(timer);
    const mine = ++round;
    const began = performance.now();
    if (!document.hidden) {
      try {
        const { value, tag } = await ask(address());
        if (mine !== round) return;
        trouble("", once);
        if (tag !== seen && show(value) !== false) seen = tag;
      } catch (error) {
        if (mine !== round) return;
        trouble(error.status ? error.message : "The board does not answer; asking again.", once);
      }
    }
    timer = setTimeout(once, Math.max(2000, 5 * (performance.now() - began)));
  }
  document.addEventListener("visibilitychange", once);
  once();
  return once;
}

const troubles = new Map();

/** Say what is wrong with something, at the foot of the page; nothing, where it has come right. */
export function trouble(text, of = "page") {
  if (text) troubles.set(of, text);
  else troubles.delete(of);
  const place = document.getElementById("trouble");
  const all = [...new Set(troubles.values())].join(" ");
  if (place.textContent !== all) place.textContent = all;
}

/** The page's heading, its title, and the line below. */
export function head(title, ...meta) {
  document.getElementById("title").textContent = title;
  document.title = `${title} · Collimate board`;
  document.getElementById("meta").replaceChildren(...meta.filter(Boolean));
}

export const runAddress = (name) => `/runs/${encodeURIComponent(name)}`;

export const status = (text) => h("span", { class: `status ${text}` }, text);

/** A number to so many significant digits; a dash where it is not known. */
export function number(value, digits = 4) {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e6)) {
    const [mantissa, exponent] = value.toExponential(digits - 2).split("e");
    return `${Number(mantissa)}e${Number(exponent)}`.replaceAll("-", "−");
  }
  return Number(value.toPrecision(digits)).toLocaleString("en", { maximumSignificantDigits: digits }).replace("-", "−");
}

export const count = (value) => (value === null || value === undefined ? "–" : value.toLocaleString("en"));

/**
 * Rows of a list by key: arrows, j and k, Home and End move; "/" goes to the filter.
 * items() gives what takes the focus; beyond(step) is told of a move past either end.
 */
export function listKeys(items, filter, beyond = () => {}) {
  document.addEventListener("keydown", (event) => {
    const target = event.target;
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    if (target === filter && event.key === "ArrowDown") filter.blur();
    else if (target.matches("input:not([type=checkbox]), [role=tab], svg")) return;
    if (event.key === "/" && filter.checkVisibility()) {
      event.preventDefault();
      filter.focus();
      return;
    }
    const all = items();
    const line = target.closest("tr");
    const at = line ? all.findIndex((item) => item.closest("tr") === line) : -1;
    const to = { ArrowDown: at + 1, j: at + 1, ArrowUp: at - 1, k: at - 1, Home: 0, End: all.length - 1 }[event.key];
    if (to === undefined || !all.length) return;
    event.preventDefault();
    if (to < 0 && at >= 0) beyond(-1);
    else if (to >= all.length) beyond(1);
    else all[Math.max(to, 0)].focus();
  });
}

/** Headings that sort: columns are {name, title, note}, without a name not to be sorted by; sort(name) is told. */
export function sortHeadings(columns, state, sort) {
  return h("tr", {}, columns.map((column) => {
    const here = state.sort === column.name;
    const order = here ? (state.descending ? "descending" : "ascending") : null;
    return h("th", { scope: "col", class: column.class, "aria-sort": order },
      !column.name ? h("span", { class: column.hidden && "hidden" }, column.title)
        : h("button", { type: "button", class: "sort", title: column.note, onclick: () => sort(column.name) },
          column.title, h("span", { "aria-hidden": "true" }, here ? (state.descending ? " ▼" : " ▲") : "")));
  }));
}
