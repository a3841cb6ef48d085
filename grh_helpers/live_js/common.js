const NS = "http://www.w3.org/2000/svg";
// JupyterLab would take the arrow keys of an element without this attribute for itself.
const KEYS = {"data-lm-suppress-shortcuts": "true"};
function el(name, attrs, parent, text) {
  const svg = name === "svg" || parent.namespaceURI === NS;
  const e = svg ? document.createElementNS(NS, name) : document.createElement(name);
  for (const a in attrs) e.setAttribute(a, attrs[a]);
  if (text !== undefined) e.textContent = text;
  return parent.appendChild(e);
}
function slider(root, name, min, max, value, say, draw) {
  const label = el("label", {style: "display:flex;gap:.6em;align-items:center;margin:.4em 0"}, root);
  el("span", {style: "min-width:8.5em"}, label, name);
  const input = el("input", {type: "range", min, max, value, style: "flex:1;min-width:0", ...KEYS}, label);
  const shown = el("span", {style: "min-width:4.5em;text-align:right", "aria-hidden": "true"}, label);
  const tell = () => { shown.textContent = say(+input.value); input.setAttribute("aria-valuetext", say(+input.value)); };
  input.addEventListener("input", () => { tell(); draw(); });
  tell();
  return {get: () => +input.value, set: v => { input.value = v; tell(); }};
}
function button(root, name, act) {
  const b = el("button", {type: "button", style: "padding:.3em .8em;font:inherit", ...KEYS}, root, name);
  b.addEventListener("click", act);
  return b;
}
// A place that says what is shown: to the eye, to a screen reader, and as the picture's name.
function status(root) {
  const style = "display:block;margin:.4em 0;min-height:3em";
  const out = el("output", {"aria-live": "polite", style}, root), svg = root.querySelector("svg");
  return text => { out.textContent = text; svg.setAttribute("aria-label", text); };
}
// Read the configuration and put an empty drawing, x, y, width and height of which are given, in
// place of the still picture, which was made from it: all that it needs stands in attributes.
function begin(root, x, y, w, h) {
  const width = Math.round(w * 24 / 11), height = Math.round(h * 24 / 11);
  root.dataset.ready = "1";
  root.textContent = "";
  root.style.maxWidth = width + "px";
  const look = {"font-family": "sans-serif", "font-size": 8, fill: "#111", role: "group"};
  const style = "width:100%;height:auto;display:block;background:#fff;border-radius:6px";
  const svg = el("svg", {viewBox: [x, y, w, h].join(" "), width, height, ...look, style}, root);
  return {...JSON.parse(root.dataset.config), svg};
}
function start(name, widget) {
  document.querySelectorAll(`[data-grh="${name}"]:not([data-ready])`).forEach(widget);
}
