import { h, head } from "/static/dom.js";
import { showRuns } from "/static/runs.js";
import { showRun } from "/static/run.js";
import { showComparison } from "/static/compare.js";

const main = document.getElementById("main");
const [, kind, name, ...more] = location.pathname.split("/");

if (location.pathname === "/") showRuns(main);
else if (location.pathname === "/compare") showComparison(main);
else if (kind === "runs" && name && !more.length) showRun(main, decoded(name));
else nothing();

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function nothing() {
  head("Nothing here");
  main.replaceChildren(h("p", { class: "prose empty" }, "There is no page at this address. ", h("a", { href: "/" }, "All runs")));
}
