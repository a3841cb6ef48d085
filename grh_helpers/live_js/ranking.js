// pictures: 32 characters each, one per two pixels, each in 8 greys, from the lowest row up, first
// the queries; digits: their labels; queries: how many; methods, bits: to choose from; found: per
// query, method and bits the first ten in groups [distance, how many have it, how many of these
// are right, pictures]; for exact search one list, the distances being -cosines; ap: the same for
// average precision, if it is to be told.
const BITMAP = "data:image/bmp;base64,Qk1rAAAAAAAAAEsAAAAMAAAACAAIAAEABAAAAAAkJCRJSUltbW2SkpK2trbb29v///8AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
start("ranking", function (root) {
  const c = begin(root, 0, 0, 240, 128), CELL = 38, now = {query: 0, method: 1, bits: 1};
  const byte = v => String.fromCharCode((v >> 3) * 16 + v % 8);
  const pixels = i => [...c.pictures.slice(32 * i, 32 * i + 32)].map(pair => byte(pair.charCodeAt() - 63));
  const image = i => BITMAP + btoa(pixels(i).join(""));
  function choice(name, labels, pictures) {
    const row = el("div", {role: "group", "aria-label": name, style: "display:flex;flex-wrap:wrap;gap:.3em;align-items:center;margin:.4em 0"}, root);
    el("span", {style: "min-width:3.8em"}, row, name);
    return labels.map((label, i) => {
      const b = button(row, pictures ? "" : label, () => { now[name] = i; draw(); });
      b.style.padding = ".3em .5em";  // all choices of a row beside each other on a phone
      if (pictures) el("img", {src: image(i), alt: label, width: 32, height: 32, style: "display:block;padding:0"}, b);
      return b;
    });
  }
  const buttons = {
    query: choice("query", [...c.digits].slice(0, c.queries).map((digit, i) => `query ${i + 1}, a picture of a ${digit}`), true),
    method: choice("method", c.methods), bits: choice("bits", c.bits)};
  const say = status(root);
  c.svg.setAttribute("text-anchor", "middle");
  const picture = (i, x, y, width) => el("image", {href: image(i), x, y, width, height: width}, c.svg);
  const words = (x, y, text) => el("text", {x, y}, c.svg, text);
  function draw() {
    const digit = c.digits[now.query], lists = c.found[now.query][now.method], exact = lists.length < 2;
    const length = exact ? 0 : now.bits, groups = lists[length], shown = [];
    for (const name in buttons) buttons[name].forEach((b, i) => {
      b.setAttribute("aria-pressed", i === now[name]);
      b.style.border = `3px solid ${i === now[name] ? "#0072B2" : "transparent"}`;
      b.disabled = name === "bits" && exact;
    });
    c.svg.textContent = "";
    words(24, 34, "query");
    picture(now.query, 4, 40, 40);
    words(24, 90, digit);
    groups.forEach(([distance, n, , ...items]) => items.forEach((i, k) => {
      const place = shown.push(c.digits[i]) - 1, x = 50 + CELL * (place % 5), y = place < 5 ? 0 : 64;
      if (k === 0 || place === 5) {  // a heading over each group, again where it goes on below
        const cells = Math.min(items.length - k, 5 - place % 5), middle = x + CELL * cells / 2;
        words(middle, y + 8, exact ? `cos ${(-distance).toFixed(2)}` : `dist. ${distance}`);
        if (!exact) words(middle, y + 17, `${cells} of ${n}`);
        el("path", {d: `M${x + 2} ${y + 19.5}h${CELL * cells - 4}`, stroke: "#111", "stroke-width": .8}, c.svg);
      }
      picture(i, x + 4, y + 23, 30);
      const wrong = c.digits[i] !== digit;
      words(x + 19, y + 62, wrong ? c.digits[i] + " wrong" : c.digits[i]);
      if (wrong) el("rect", {x: x + 3, y: y + 22, width: 32, height: 32, rx: 6, fill: "none", stroke: "#D55E00", "stroke-width": 2.5, "data-wrong": ""}, c.svg);
    }));
    const right = shown.filter(label => label === digit).length;
    const method = exact ? "Exact search" : `${c.methods[now.method]} with ${c.bits[now.bits]} bits`;
    say(`${method}: ${right} of the first ten show the digit of the query, ${digit}. In order: ${shown.join(", ")}.` + measures(groups, right, length));
  }
  // What other orders of the ties would give: only of the last group some are not shown.
  function measures(groups, right, length) {
    if (!c.ap) return "";
    const [, n, r, ...items] = groups[groups.length - 1], s = items.length;
    const before = groups.slice(0, -1).reduce((sum, group) => sum + group[2], 0);
    const low = before + Math.max(0, s - n + r), high = before + Math.min(s, r), mean = before + s * r / n;
    const others = low === high ? "in any order of the ties" :
      `in this order of the ties, ${low / 10} to ${high / 10} in others, ${(mean / 10).toFixed(2)} in expectation`;
    return ` Precision at 10: ${right / 10} ${others}. Average precision: ${c.ap[now.query][now.method][length].toFixed(2)}.`;
  }
  draw();
});
