// points: pairs of numbers from -5 to 5; names: a letter each; normals: of all lines, in the order
// in which they are added; lines: how many at the start.
const COLOURS = ["#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#999999"];
start("turning_lines", function (root) {
  const c = begin(root, -110, -110, 220, 220), U = 20, LIMIT = 5, at = c.points.map(p => p.slice());
  const lines = el("g", {stroke: "#444"}, c.svg), dots = el("g", {}, c.svg);
  const points = at.map((p, i) => {
    const g = el("g", {tabindex: 0, role: "button", "aria-roledescription": "movable point",
      style: "cursor:grab", ...KEYS}, dots);
    el("circle", {r: 12, fill: "transparent"}, g);
    const dot = el("circle", {r: 4, stroke: "#222", "stroke-width": .6}, g);
    const text = el("text", {x: 6, y: -5, style: "user-select:none"}, g);
    function move(x, y) {
      const inside = v => Math.max(-LIMIT, Math.min(LIMIT, Math.round(v * 4) / 4));
      at[i] = [inside(x), inside(y)];
      draw(i);
    }
    g.addEventListener("keydown", e => {
      const step = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1]}[e.key];
      if (!step) return;
      e.preventDefault();
      e.stopPropagation();
      move(at[i][0] + step[0] / 4, at[i][1] + step[1] / 4);
    });
    g.addEventListener("pointerdown", e => { g.setPointerCapture(e.pointerId); g.focus(); e.preventDefault(); });
    g.addEventListener("touchstart", e => e.preventDefault(), {passive: false});  // else the page scrolls
    g.addEventListener("pointermove", e => {
      if (!g.hasPointerCapture(e.pointerId)) return;
      const p = new DOMPoint(e.clientX, e.clientY).matrixTransform(c.svg.getScreenCTM().inverse());
      move(p.x / U, -p.y / U);
    });
    return {g, dot, text};
  });
  const turn = slider(root, "turn the lines", -90, 90, 0, v => v + "°", () => draw());
  const count = slider(root, "number of lines", 1, c.normals.length, c.lines, String, () => draw());
  button(root, "start again", () => {
    c.points.forEach((p, i) => { at[i] = p.slice(); });
    turn.set(0); count.set(c.lines); draw();
  });
  const say = status(root);
  function draw(moved) {
    const a = turn.get() * Math.PI / 180, k = count.get(), cos = Math.cos(a), sin = Math.sin(a);
    // Unturned, the normals stay whole numbers, so that a point on a line is exactly on it.
    const normals = c.normals.slice(0, k).map(([u, v]) => a ? [u * cos - v * sin, u * sin + v * cos] : [u, v]);
    lines.textContent = "";
    normals.forEach(([u, v]) => {
      const s = 2 * LIMIT * U / Math.hypot(u, v);
      el("line", {x1: (-v * s).toFixed(1), y1: (-u * s).toFixed(1), x2: (v * s).toFixed(1), y2: (u * s).toFixed(1)}, lines);
    });
    const codes = at.map(([x, y]) => normals.map(([u, v]) => u * x + v * y >= 0 ? "1" : "0").join(""));
    const size = {};
    codes.forEach(code => { size[code] = (size[code] || 0) + 1; });
    const keys = Object.keys(size).sort();
    points.forEach(({g, dot, text}, i) => {
      g.setAttribute("transform", `translate(${(at[i][0] * U).toFixed(1)} ${(-at[i][1] * U).toFixed(1)})`);
      g.setAttribute("aria-label", `point ${c.names[i]} at (${at[i].join(", ")}), code ${codes[i]}`);
      dot.setAttribute("fill", COLOURS[keys.indexOf(codes[i]) % COLOURS.length]);
      text.textContent = `${c.names[i]} ${codes[i]}`;
    });
    const n = keys.length, largest = Math.max(...Object.values(size));
    say((moved === undefined ? "" : `Point ${c.names[moved]} at (${at[moved].join(", ")}) has the code ${codes[moved]}. `) +
      `${k} ${k > 1 ? "lines" : "line"}, turned by ${turn.get()}°: ${n} of ${2 * k} regions hold points; ` +
      `the largest bucket holds ${largest} of ${at.length}.`);
  }
  draw();
});
