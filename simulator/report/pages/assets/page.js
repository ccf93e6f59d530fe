"use strict";
(() => {
  const views = [];
  const text = (id) => document.getElementById(id);
  const specs = text("panels") ? JSON.parse(text("panels").textContent) : [];
  const config = text("config") ? JSON.parse(text("config").textContent) : {};
  const options = { mode: "vega-lite", renderer: "svg", actions: false, logLevel: 1, config, tooltip: { theme: "custom", disableDefaultStyle: true } };

  // Small panels, one a deployment: as many in a row as have room, each as wide as that leaves.
  const inRows = (spec, width) => {
    const beside = Math.max(1, Math.floor(width / 230)), columns = Math.min(beside, 6);
    const each = Math.floor((width - 8) / columns) - 52;
    const facet = { ...spec.facet, header: { ...spec.facet.header, labelLimit: each } };
    return { ...spec, columns, facet, spec: { ...spec.spec, width: each } };
  };
  const sized = (spec, panel) => spec.facet ? inRows(spec, panel.clientWidth)
    : { ...spec, width: "container", autosize: { type: "fit-x", contains: "padding" } };

  const draw = async () => {
    for (const panel of document.querySelectorAll("[data-panel]")) {
      const spec = sized(specs[Number(panel.dataset.panel)], panel);
      views.push((await vegaEmbed(panel, spec, options)).view);
      panel.querySelector("svg").setAttribute("aria-hidden", "true"); // the panel itself is the labeled image
      await new Promise((next) => setTimeout(next));
    }
  };

  const set = (name, value) => Promise.all(views.map((view) => view.signal(name, value).runAsync()));
  const rate = text("rate"), said = text("rate-said"), focus = text("focus");
  const written = (value) => `${Number(Number(value).toPrecision(3)).toLocaleString("en")} requests/s`;
  if (rate) {
    const start = rate.value;
    const moved = () => { said.textContent = written(rate.value); rate.setAttribute("aria-valuetext", written(rate.value)); return set("rate", Number(rate.value)); };
    rate.addEventListener("input", moved);
    text("rate-reset").addEventListener("click", () => { rate.value = start; moved(); });
  }
  if (focus) focus.addEventListener("change", () => set("focus", Number(focus.value)));

  for (const button of document.querySelectorAll(".copy")) {
    button.addEventListener("click", () => {
      const code = button.parentElement.querySelector("pre");
      getSelection().selectAllChildren(code);
      const copied = () => { button.textContent = "Copied"; setTimeout(() => { button.textContent = "Copy"; }, 1500); };
      if (navigator.clipboard) navigator.clipboard.writeText(code.textContent).then(copied, () => {});
      else if (document.execCommand("copy")) copied();
    });
  }
  addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((d) => { d.open = true; }));
  draw().then(() => { document.documentElement.dataset.drawn = String(views.length); });
})();
