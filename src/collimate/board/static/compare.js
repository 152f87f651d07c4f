// Several runs side by side, live.

import { h, head, poll, runAddress } from "/static/dom.js";
import { showBlocks } from "/static/blocks.js";

export function showComparison(main) {
  head("Comparison");
  const place = h("div", { class: "blocks" });
  main.replaceChildren(place);
  poll(() => `/api/compare${location.search}`, (value) => {
    head("Comparison", ...value.runs.map((name) => h("a", { class: "part", href: runAddress(name) }, h("bdi", {}, name))));
    showBlocks(place, value.blocks);
  });
}
