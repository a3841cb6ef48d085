// points: pairs of numbers from -4 to 4; names: a letter each; circles: which of them are circles,
// the others being squares; runs: by the α from which on they are these, the codes of all points
// (of LSH, then after step A and step B of each round) and the lines as [normal, intercept] per bit
// (of LSH, then of each round); alpha: at the start, which is after step A of the first round.
start("alpha_and_rounds", function (root) {
  const c = begin(root, 0, -55, 330, 110), U = 12, W = 110, from = Object.keys(c.runs);
  const last = c.runs[from[0]][0].length - 1, written = i => (i / 20).toFixed(2);
  const stage = s => s ? `${Math.ceil(s / 2)}${s % 2 ? "A" : "B"}` : "LSH";
  const alpha = slider(root, "α", 0, 19, Math.round(20 * c.alpha), written, () => draw());
  const round = slider(root, "round and step", 0, last, 1, stage, () => draw());
  const say = status(root);
  function draw() {
    const [every, lines] = c.runs[from.filter(a => a <= alpha.get() / 20).pop()], s = round.get(), codes = every[s];
    const before = every[Math.max(s - 1, 0)], flips = [];
    c.svg.textContent = "";
    lines[Math.floor(s / 2)].forEach(([u, v, b], k) => {
      const panel = el("svg", {x: k * W, y: -W / 2, width: W, height: W, viewBox: `${-W / 2} ${-W / 2} ${W} ${W}`}, c.svg);
      el("rect", {x: 1 - W / 2, y: 1 - W / 2, width: W - 2, height: W - 2, fill: "none", stroke: "#bbb"}, panel);
      const n = Math.hypot(u, v) || 1, x = -b * u / n / n * U, y = b * v / n / n * U, far = 3 * W / n;
      const ends = {x1: x - v * far, y1: y - u * far, x2: x + v * far, y2: y + u * far};
      for (const end in ends) ends[end] = ends[end].toFixed(1);
      el("line", {...ends, stroke: "#D55E00", "stroke-width": 1.2}, panel);
      el("text", {x: 4 - W / 2, y: 11 - W / 2}, panel, `bit ${k + 1}`);
      const changed = [];
      c.points.forEach(([px, py], i) => {
        const fill = codes[i][k] === "1" ? "#0072B2" : "#fff", look = {fill, stroke: "#111", "stroke-width": .8};
        const X = px * U, Y = -py * U;
        el("rect", {x: X - 3.8, y: Y - 3.8, width: 7.6, height: 7.6, rx: c.circles[i] ? 3.8 : 0, ...look}, panel);
        el("text", {x: X, y: Y - 9, "text-anchor": "middle"}, panel, c.names[i]);
        if (codes[i][k] === before[i][k]) return;
        changed.push(c.names[i]);
        el("circle", {cx: X, cy: Y, r: 7.5, fill: "none", stroke: "#D55E00", "stroke-width": 1.6, "data-flip": ""}, panel);
      });
      if (changed.length) flips.push(`${changed.join(", ")} in bit ${k + 1}`);
    });
    const what = s ? `round ${Math.ceil(s / 2)}, step ${s % 2 ? "A" : "B"}` : "the bits of LSH";
    const change = !s ? "" : flips.length ? `: flipped are ${flips.join("; ")}` : ": no bit flips";
    say(`α = ${written(alpha.get())}, ${what}${change}. Codes: ` +
      codes.map((code, i) => `${c.names[i]} ${code}`).join(", ") + ".");
  }
  draw();
});
