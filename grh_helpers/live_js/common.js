const NS = "http://www.w3.org/2000/svg";
function el(name, attrs, parent) {
  const svg = ["svg", "g", "line", "circle", "rect", "text", "path"].includes(name);
  const e = svg ? document.createElementNS(NS, name) : document.createElement(name);
  for (const a in attrs) e.setAttribute(a, attrs[a]);
  if (parent) parent.appendChild(e);
  return e;
}
// JupyterLab would take the arrow keys of an element without this attribute for itself.
const KEYS = {"data-lm-suppress-shortcuts": "true"};
function slider(root, name, min, max, step, value, say, draw) {
  const label = el("label", {style: "display:flex;gap:.6em;align-items:center;margin:.4em 0"}, root);
  el("span", {style: "min-width:8.5em"}, label).textContent = name;
  const input = el("input", {type: "range", min, max, step, value, style: "flex:1;min-width:0", ...KEYS}, label);
  const shown = el("span", {style: "min-width:4.5em;text-align:right", "aria-hidden": "true"}, label);
  const tell = () => { shown.textContent = say(+input.value); input.setAttribute("aria-valuetext", say(+input.value)); };
  input.addEventListener("input", () => { tell(); draw(); });
  tell();
  return {get: () => +input.value, set: v => { input.value = v; tell(); }};
}
function button(root, name, act) {
  const b = el("button", {type: "button", style: "padding:.3em .8em;font:inherit", ...KEYS}, root);
  b.textContent = name;
  b.addEventListener("click", act);
}
function status(root) {
  return el("output", {"aria-live": "polite", style: "display:block;margin:.4em 0;min-height:3em"}, root);
}
function begin(root) {
  const config = JSON.parse(root.dataset.config), alt = root.querySelector("img").alt;
  root.dataset.ready = "1";
  root.textContent = "";
  const style = "width:100%;height:auto;display:block;background:#fff;border-radius:6px";
  config.svg = el("svg", {viewBox: config.view, role: "group", "aria-label": alt, style}, root);
  return config;
}
function start(name, widget) {
  document.querySelectorAll(`[data-grh="${name}"]:not([data-ready])`).forEach(widget);
}
