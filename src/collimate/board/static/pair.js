// One pair: both answers, each token with its log-ratio as a colour, an underline and a number.

import { h, number } from "/static/dom.js";
import { text } from "/static/blocks.js";

const STEPS = 4; // shades on either side of none

export function showPair(pair, closed) {
  const readout = h("p", { class: "readout", role: "status" }, "Point at a token, or move among them with the arrow keys.");
  const heading = h("h2", { class: "visible", id: "pair-title" }, `Pair ${pair.index}`);
  const dialog = h("dialog", { "aria-labelledby": "pair-title" },
    h("div", { class: "dialog-head" }, heading, h("button", { type: "button", onclick: () => dialog.close() }, "Close")),
    pair.suspect && h("p", { class: "prose warn" }, pair.suspect),
    h("dl", { class: "numbers" }, Object.entries(pair.numbers).map(([name, value]) =>
      h("div", {}, h("dt", {}, name.replaceAll("_", " ")), h("dd", {}, number(value))))),
    h("p", { class: "label" }, "Prompt"), text("Prompt", pair.prompt),
    legend(pair), readout,
    h("div", { class: "answers" }, pair.answers.map((answer) => tokens(answer, pair, readout))),
    pair.left_out > 0 && h("p", { class: "note" }, `${pair.left_out} more tokens are not shown.`));
  dialog.addEventListener("close", () => {
    dialog.remove();
    closed();
  });
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  document.body.append(dialog);
  dialog.showModal();
  dialog.querySelector(".tokens")?.focus({ preventScroll: true });
}

/** An answer's tokens; one of them is current, told by the line above and moved by the arrow keys. */
function tokens(answer, pair, readout) {
  const spans = answer.tokens.map((token, i) => h("span", { class: `token ${shade(answer.values[i], pair.scale)}` }, token === "" ? "⋯" : token));
  const place = h("div", { class: "tokens", tabindex: "0", role: "group", dir: "auto", "aria-label": `${answer.label}: ${answer.tokens.join("")}` }, spans);
  let at = -1;

  function read(to) {
    spans[at]?.classList.remove("current");
    at = Math.min(Math.max(to, 0), spans.length - 1);
    if (at < 0) return;
    spans[at].classList.add("current");
    spans[at].scrollIntoView({ block: "nearest" });
    readout.textContent = `${answer.label}, token ${at + 1} of ${spans.length}, “${answer.tokens[at]}”: ${pair.unit} ${number(answer.values[at])}`;
  }

  place.addEventListener("pointerover", (event) => event.target !== place && read(spans.indexOf(event.target)));
  place.addEventListener("keydown", (event) => {
    const to = { ArrowRight: at + 1, ArrowDown: at + 10, ArrowLeft: at - 1, ArrowUp: at - 10, Home: 0, End: spans.length }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    read(to);
  });
  const known = answer.values.filter((value) => value !== null);
  const total = known.length ? number(known.reduce((a, b) => a + b, 0)) : "–";
  return h("div", {}, h("p", { class: "label" }, `${answer.label}: ${spans.length} tokens, ${pair.unit} ${total}`), place);
}

/** The class of a value: none, or one of four shades up or down. */
function shade(value, scale) {
  if (value === null) return "unknown";
  const step = Math.min(Math.round((Math.abs(value) / scale) * STEPS), STEPS);
  return step === 0 ? "" : `${value > 0 ? "up" : "down"}-${step}`;
}

function legend(pair) {
  const steps = [-4, -3, -2, -1, 0, 1, 2, 3, 4];
  return h("p", { class: "scale note" }, `${pair.unit} of a token: `, number(-pair.scale, 2), " ",
    steps.map((step) => h("span", { class: `token ${step === 0 ? "" : `${step > 0 ? "up" : "down"}-${Math.abs(step)}`}`, "aria-hidden": "true" }, step === 0 ? "0" : step === -4 ? "less" : step === 4 ? "more" : "  ")),
    " ", number(pair.scale, 2), " nats; underlined: lost more than half of the scale.");
}
