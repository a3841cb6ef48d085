// items: code of each item, by its letter, in the order that breaks ties of the budget; hits:
// letters of the right answers; query, radius, budget: at the start.
start("radius_and_budget", function (root) {
  const config = JSON.parse(root.dataset.config), bits = config.query.length, STEP = 52, ROW = 24;
  const c = begin(root, 0, 0, STEP * (bits + 1), 7 * ROW), names = Object.keys(c.items);
  const written = code => code.toString(2).padStart(bits, "0"), read = code => parseInt(code, 2);
  const distance = (a, b) => [...written(a ^ b)].filter(bit => bit === "1").length;
  const radius = slider(root, "radius", 0, bits, c.radius, String, () => draw());
  const budget = slider(root, "budget", 0, names.length, c.budget, String, () => draw());
  const query = slider(root, "query", 0, 2 ** bits - 1, read(c.query), written, () => draw());
  button(root, "start again", () => {
    radius.set(c.radius); budget.set(c.budget); query.set(read(c.query)); draw();
  });
  const say = status(root);
  const list = found => found.length ? `${found.length} (${found.join(", ")})` : "0";
  const hits = found => {
    const n = found.filter(name => c.hits.includes(name)).length;
    return `${n} ${n === 1 ? "hit" : "hits"}`;
  };
  function draw() {
    const q = query.get(), r = radius.get(), at = {}, filled = Array(bits + 1).fill(0);
    const codes = [...Array(2 ** bits).keys()], far = name => distance(read(c.items[name]), q);
    const inside = names.filter(name => far(name) <= r);
    const taken = names.slice().sort((a, b) => far(a) - far(b)).slice(0, budget.get());
    const shell = d => codes.filter(code => distance(code, q) === d).length;
    codes.forEach(code => {
      const d = distance(code, q);
      at[code] = [STEP * (d + .25), ROW * (3.5 + (filled[d]++ - (shell(d) - 1) / 2))];
    });
    c.svg.textContent = "";
    el("rect", {x: 0, y: 0, width: STEP * (r + 1) - 2, height: ROW * 7, fill: "#DCEBF7", "data-ball": r}, c.svg);
    for (let d = 0; d <= bits; d++)
      el("text", {x: STEP * (d + .25), y: ROW * 7 - 4, "text-anchor": "middle"}, c.svg, d ? d : "dist. 0");
    const lines = el("g", {stroke: "#bbb", "stroke-width": .6}, c.svg);
    codes.forEach(a => {
      for (let bit = 1; bit < codes.length; bit *= 2) if (!(a & bit)) {
        const [[x1, y1], [x2, y2]] = [at[a], at[a | bit]];
        el("line", {x1, y1, x2, y2}, lines);
      }
    });
    codes.forEach(code => {
      const [x, y] = at[code], here = names.filter(name => read(c.items[name]) === code);
      const bucket = el("g", {style: "cursor:pointer", "data-code": written(code)}, c.svg);
      const look = {fill: here.length ? "#F5E6A8" : "#fff", stroke: "#111", "stroke-width": code === q ? 2 : .6};
      el("rect", {x: x - 11, y: y - 6, width: 22, height: 12, ...look}, bucket);
      el("text", {x, y: y + 3, "text-anchor": "middle"}, bucket, written(code));
      bucket.addEventListener("click", () => { query.set(code); draw(); });
      here.forEach((name, i) => {
        const X = x + 17.5 + 12 * i, hit = c.hits.includes(name);
        if (taken.includes(name)) el("circle", {cx: X, cy: y, r: 6.6, fill: "#fff", stroke: "#D55E00", "stroke-width": 1.8, "data-taken": name}, c.svg);
        el("rect", {x: X - 4.5, y: y - 4.5, width: 9, height: 9, rx: hit ? 4.5 : 0, fill: hit ? "#0072B2" : "#fff", stroke: "#111", "stroke-width": .6}, c.svg);
        el("text", {x: X, y: y + 2.5, "text-anchor": "middle", fill: hit ? "#fff" : "#111"}, c.svg, name);
      });
    });
    const probes = codes.filter(code => distance(code, q) <= r).length;
    say(`Query ${written(q)}. Radius ${r}: ${probes} of ${codes.length} buckets probed, ` +
      `candidates ${list(inside)}, ${hits(inside)}. Budget ${budget.get()}: candidates ${list(taken)}, ${hits(taken)}` +
      (taken.length ? `, the last at distance ${far(taken[taken.length - 1])}.` : "."));
  }
  draw();
});
