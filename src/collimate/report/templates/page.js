(() => {
  "use strict";
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const tabs = [...document.querySelectorAll('[role="tab"]')];
  const panels = tabs.map((tab) => document.getElementById(tab.getAttribute("aria-controls")));
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const coarse = window.matchMedia("(pointer: coarse)").matches;
  const drawn = new Set();
  const keys = [...document.querySelectorAll(".legend [data-key]")];

  // Figures name CSS variables where plotly wants colours; only keys that hold a colour are read so.
  function coloured(value, style, key = "") {
    if (Array.isArray(value)) return value.map((item) => coloured(item, style, key));
    if (value !== null && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([k, item]) => [k, coloured(item, style, k)]));
    }
    const name = typeof value === "string" && /color$/.test(key) && /^var\((--[\w-]+)\)$/.exec(value);
    return name ? style.getPropertyValue(name[1]).trim() : value;
  }

  // Plotly takes longer than all the rest of the page, so texts and tabs are there before it is read.
  function readPlotly() {
    const source = document.getElementById("plotly");
    if (window.Plotly || !source) return;
    const script = document.createElement("script");
    script.textContent = source.textContent;
    document.head.append(script);
  }

  function draw(id) {
    readPlotly();
    const style = getComputedStyle(document.documentElement);
    const { data, layout } = coloured(figures[id], style);
    layout.font.family = getComputedStyle(document.body).fontFamily;
    for (const trace of data) {
      const key = keys[trace.meta];
      if (key) trace.visible = key.checked;
    }
    if (coarse) layout.dragmode = false; // a finger on a chart scrolls the page
    drawn.add(id);
    return Plotly.react(id, data, layout, { responsive: true, displayModeBar: false });
  }

  // A chart drawn in a hidden panel would get no width, so each is drawn when its panel is shown.
  function drawPanel(panel) {
    for (const chart of panel.querySelectorAll(".chart")) {
      if (drawn.has(chart.id)) Plotly.Plots.resize(chart);
      else draw(chart.id);
    }
  }

  function select(index) {
    tabs.forEach((tab, i) => {
      tab.setAttribute("aria-selected", String(i === index));
      tab.tabIndex = i === index ? 0 : -1;
      panels[i].classList.toggle("shown", i === index);
    });
    tabs[index].scrollIntoView({ block: "nearest", inline: "nearest" });
    if (window.Plotly) drawPanel(panels[index]);
    else requestAnimationFrame(() => setTimeout(drawShown));
  }

  const drawShown = () => drawPanel(document.querySelector("section.shown"));

  const named = () => Math.max(panels.findIndex((panel) => "#" + panel.id === location.hash), 0);

  tabs.forEach((tab, index) => {
    tab.addEventListener("click", (event) => {
      event.preventDefault(); // following the link would scroll the page
      if (location.hash !== tab.hash) history.pushState(null, "", tab.hash);
      select(index);
    });
    tab.addEventListener("keydown", (event) => {
      const last = tabs.length - 1;
      const next = {
        ArrowRight: index === last ? 0 : index + 1,
        ArrowLeft: index === 0 ? last : index - 1,
        Home: 0,
        End: last,
        " ": index,
      }[event.key];
      if (next === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      history.replaceState(null, "", tabs[next].hash);
      select(next);
      tabs[next].focus();
    });
  });
  window.addEventListener("popstate", () => select(named()));
  window.addEventListener("hashchange", () => select(named()));
  dark.addEventListener("change", () => drawn.forEach(draw));
  for (const key of keys) {
    key.addEventListener("change", () => {
      for (const chart of key.closest("section").querySelectorAll(".chart")) draw(chart.id);
    });
  }
  window.addEventListener("beforeprint", () => panels.forEach(drawPanel));

  document.documentElement.classList.add("scripted");
  select(named());
  (window.requestIdleCallback ?? setTimeout)(readPlotly);
})();
