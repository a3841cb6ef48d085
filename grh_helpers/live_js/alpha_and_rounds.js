start("alpha_and_rounds", function (root) {
  const c = begin(root), U = c.unit, W = c.panel, bits = c.runs[0].lines[0].length;
  const stages = c.runs[0].codes.length;
  const stage = s => s ? `${Math.ceil(s / 2)}${s % 2 ? "A" : "B"}` : "LSH";
  const alpha = slider(root, "α", 0, c.alphas.length - 1, 1, c.alpha, i => c.alphas[i].toFixed(2), () => draw());
  const round = slider(root, "round and step", 0, stages - 1, 1, c.stage, stage, () => draw());
  const out = status(root);
  function draw() {
    const run = c.runs[c.which[alpha.get()]], s = round.get(), codes = run.codes[s];
    const before = run.codes[Math.max(s - 1, 0)], flips = [];
    c.svg.textContent = "";
    for (let k = 0; k < bits; k++) {
      const panel = el("g", {transform: `translate(${k * W + W / 2} 0)`}, c.svg);
      const clip = el("svg", {x: -W / 2, y: -W / 2, width: W, height: W, viewBox: `${-W / 2} ${-W / 2} ${W} ${W}`}, panel);
      el("rect", {x: 1 - W / 2, y: 1 - W / 2, width: W - 2, height: W - 2, fill: "none", stroke: "#bbb"}, clip);
      const [u, v, b] = run.lines[Math.floor(s / 2)][k], n = Math.hypot(u, v) || 1;
      const x = -b * u / n / n * U, y = b * v / n / n * U, dx = v / n * 3 * W, dy = u / n * 3 * W;
      el("line", {x1: x - dx, y1: y - dy, x2: x + dx, y2: y + dy, stroke: "#D55E00", "stroke-width": 1.2}, clip);
      el("text", {x: 4 - W / 2, y: 11 - W / 2, "font-size": 8, fill: "#111"}, clip).textContent = `bit ${k + 1}`;
      const changed = [];
      c.points.forEach(([px, py], i) => {
        const fill = codes[i][k] === "1" ? "#0072B2" : "#fff", look = {fill, stroke: "#111", "stroke-width": .8};
        const X = px * U, Y = -py * U;
        if (c.round[i]) el("circle", {cx: X, cy: Y, r: 4, ...look}, clip);
        else el("rect", {x: X - 3.6, y: Y - 3.6, width: 7.2, height: 7.2, ...look}, clip);
        el("text", {x: X, y: Y - 9, "font-size": 8, "text-anchor": "middle", fill: "#111"}, clip).textContent = c.names[i];
        if (codes[i][k] === before[i][k]) return;
        changed.push(c.names[i]);
        el("circle", {cx: X, cy: Y, r: 7.5, fill: "none", stroke: "#D55E00", "stroke-width": 1.6, "data-flip": ""}, clip);
      });
      if (changed.length) flips.push(`${changed.join(", ")} in bit ${k + 1}`);
    }
    const what = s ? `round ${Math.ceil(s / 2)}, step ${s % 2 ? "A" : "B"}` : "the bits of LSH";
    const change = !s ? "" : flips.length ? `: flipped are ${flips.join("; ")}` : ": no bit flips";
    out.textContent = `α = ${c.alphas[alpha.get()].toFixed(2)}, ${what}${change}. Codes: ` +
      codes.map((code, i) => `${c.names[i]} ${code}`).join(", ") + ".";
  }
  draw();
});
