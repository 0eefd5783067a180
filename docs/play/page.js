"use strict";
// What the page shows. It computes nothing by itself: numbers come from engine.js and gpt.js, the model from model.js.

const $ = (id) => document.getElementById(id);

/** An element with attributes and children, in HTML or, below an SVG, in SVG. */
function element(parent, name, attributes = {}, ...children) {
  const child = document.createElementNS(parent.namespaceURI, name);
  for (const [key, value] of Object.entries(attributes)) child.setAttribute(key, value);
  child.append(...children);
  parent.append(child);
  return child;
}

/** A number in at most seven signs. */
function short(x) {
  if (!Number.isFinite(x)) return Number.isNaN(x) ? "?" : x > 0 ? "∞" : "−∞";
  const size = Math.abs(x);
  const text = size >= 1e6 || (size > 0 && size < 1e-3) ? x.toExponential(1) : String(+(+x.toPrecision(5)).toFixed(4));
  return text.replace("-", "−").replace("e+", "e");
}

const exact = (x) => (Number.isFinite(x) && Math.abs(x) < 1e7 ? x.toFixed(4).replace("-", "−") : short(x));

/** A slider and a field for the same number; `changed` is called when either has a new one. */
function pair(id, changed) {
  const [slider, field] = [$(id), $(`${id}-number`)];
  slider.addEventListener("input", () => {
    field.value = slider.value;
    changed(+slider.value);
  });
  field.addEventListener("input", () => {
    if (field.value === "" || !field.validity.valid) return; // half typed
    slider.value = field.value;
    changed(+field.value);
  });
}

// ---- 1 and 2: the expression --------------------------------------------------------------------------------------

/** The expression of examples/value.rs. */
function expression(a, b) {
  let c = a.add(b);
  let d = a.mul(b).add(b.pow(3));
  c = c.add(c).add(1);
  c = c.add(1).add(c).add(a.neg());
  d = d.add(d.mul(2)).add(b.add(a).relu());
  d = d.add(d.mul(3)).add(b.sub(a).relu());
  const e = c.sub(d);
  const f = e.pow(2);
  return f.div(2).add(f.over(10));
}

// For each value, in the order of creation: its name, how it is made, the sign of its operation, and its place in the
// drawing as a column and a row.
const DRAWING = [
  ["a", "put in", "", 1.2, 0],
  ["b", "put in", "", 3.2, 0],
  ["c₁", "a + b", "+", 1, 1.5],
  ["a·b", "a · b", "×", 2, 1.5],
  ["b³", "b³", "x³", 3, 1.5],
  ["d₁", "a·b + b³", "+", 3, 2.5],
  ["2c₁", "c₁ + c₁", "+", 1, 2.5],
  ["c₂", "2c₁ + 1", "+ 1", 1, 3.5],
  ["c₂+1", "c₂ + 1", "+ 1", 1.6, 4.5],
  ["2c₂+1", "(c₂+1) + c₂", "+", 1, 5.5],
  ["−a", "−a", "−x", 0, 1.5],
  ["c", "(2c₂+1) + (−a)", "+", 1, 6.5],
  ["2d₁", "d₁ · 2", "× 2", 2.25, 3.5],
  ["3d₁", "d₁ + 2d₁", "+", 3, 4.5],
  ["b+a", "b + a", "+", 4, 1.5],
  ["relu(b+a)", "relu(b + a)", "relu", 4, 4.5],
  ["d₂", "3d₁ + relu(b+a)", "+", 3, 5.5],
  ["3d₂", "d₂ · 3", "× 3", 2.25, 6.5],
  ["4d₂", "d₂ + 3d₂", "+", 3, 7.5],
  ["b−a", "b − a", "−", 5, 1.5],
  ["relu(b−a)", "relu(b − a)", "relu", 4, 7.5],
  ["d", "4d₂ + relu(b−a)", "+", 3, 8.5],
  ["e", "c − d", "−", 2, 9.5],
  ["f", "e²", "x²", 2, 10.5],
  ["f/2", "f / 2", "× ½", 1.4, 11.5],
  ["10/f", "10 / f", "10 / x", 2.6, 11.5],
  ["g", "f/2 + 10/f", "+", 2, 12.5],
].map(([name, made, sign, column, row]) => ({ name, made, sign, x: 80 + 142 * column, y: 26 + 82 * row }));

const HALF = { width: 63, height: 22 }; // of a box
const halfOfSign = (sign) => Math.max(10, 4 * sign.length + 5);
const state = { a: -4, b: 2, steps: Infinity }; // Infinity: all of them, and nobody is walking

/** Calculates the expression and takes some steps of its backward pass. */
function calculate({ a, b, steps }) {
  const graph = new Graph();
  const [x, y] = [graph.value(a), graph.value(b)];
  const g = expression(x, y);
  const [all, done] = [graph.nodes.filter((node) => node.operands.length > 0).length, []];
  const pass = graph.backward(g);
  pass.next(); // the start
  while (done.length < Math.min(steps, all)) done.push(pass.next().value);
  const visited = new Set([g, ...done.flatMap(({ terms }) => terms.map(({ operand }) => operand))]);
  return { graph, a: x, b: y, g, all, done, visited };
}

/** The value of g for other inputs. */
const gOf = (a, b) => calculate({ a, b, steps: 0 }).g.data;

/** Draws boxes and edges once. Later only their texts and classes change. */
function draw() {
  const svg = $("graph");
  svg.setAttribute("viewBox", "0 0 930 1076");
  const defs = element(svg, "defs");
  const size = { refX: 7, refY: 4, markerWidth: 8, markerHeight: 8, markerUnits: "userSpaceOnUse" };
  const marker = element(defs, "marker", { id: "arrow", viewBox: "0 0 8 8", orient: "auto", ...size });
  element(marker, "path", { class: "arrow", d: "M0 .5 8 4 0 7.5 1.5 4z" });
  const { graph } = calculate(state);
  const [lines, boxes, terms] = [0, 1, 2].map(() => element(svg, "g"));
  const edges = graph.nodes.map((node, n) => {
    const to = DRAWING[n];
    // Edges into one operation end side by side, in the order in which their operands stand.
    const x = node.operands.map((operand) => DRAWING[operand.place].x);
    const ports = x.map((_, i) => i).sort((i, j) => x[i] - x[j]);
    const twice = node.operands.length === 2 && node.operands[0] === node.operands[1];
    return node.operands.map((operand, i) => {
      const from = DRAWING[operand.place];
      const side = ports.length === 1 ? 0 : ports.indexOf(i) === 0 ? -1 : 1;
      const [x1, y1] = [from.x + (twice ? 16 * side : 0), from.y + HALF.height];
      const [x2, y2] = [to.x + 7 * side, to.y - HALF.height - 10];
      const bend = Math.max(y1, y2 - 46); // straight down, and into the gap above the operation
      const middle = (bend + y2) / 2;
      const d = `M${x1} ${y1}V${bend}C${x1} ${middle} ${x2} ${middle} ${x2} ${y2}`;
      const line = element(lines, "path", { class: "edge", d, "marker-end": "url(#arrow)" });
      const anchor = side < 0 ? "end" : "start";
      const away = halfOfSign(to.sign) + 4;
      const [tx, ty] = [to.x + (side < 0 ? -away : away), to.y - HALF.height - 6];
      return { line, text: element(terms, "text", { class: "share", x: tx, y: ty, "text-anchor": anchor }) };
    });
  });
  const nodes = graph.nodes.map((node, n) => {
    const { name, made, sign, x, y } = DRAWING[n];
    const group = element(boxes, "g", { transform: `translate(${x} ${y})` });
    const title = element(group, "title");
    const { width, height } = HALF;
    element(group, "rect", { class: "box", x: -width, y: -height, width: 2 * width, height: 2 * height, rx: 5 });
    if (sign) {
      const half = halfOfSign(sign);
      element(group, "rect", { class: "op", x: -half, y: -HALF.height - 10, width: 2 * half, height: 18, rx: 9 });
      element(group, "text", { class: "sign", y: -HALF.height + 3 }, sign);
    }
    element(group, "text", { class: "name", y: sign ? 2 : -4 }, name);
    const data = element(group, "text", { class: "data", x: -HALF.width + 6, y: 17 });
    const grad = element(group, "text", { class: "grad", x: HALF.width - 6, y: 17 });
    const row = element($("values").tBodies[0], "tr");
    element(row, "th", { scope: "row" }, name);
    element(row, "td", {}, made);
    const cells = [0, 1, 2].map(() => element(row, "td"));
    return { group, title, data, grad, cells };
  });
  return { nodes, edges };
}

/** Why the slopes of an operation are what they are. */
function reason(node) {
  const x = node.operands[0].data;
  switch (node.op) {
    case "add": return "A sum passes its gradient on unchanged.";
    case "sub": return "A difference passes it on, to its second operand with the sign reversed.";
    case "mul": return "A product passes it on times the other factor.";
    case "neg": return "The minus reverses its sign.";
    case "shift": return "Adding a constant does not change it.";
    case "scale": return `A factor of ${short(node.c)} multiplies it.`;
    case "pow": return node.c === 2 ? "The slope of x² is 2x." : "The slope of x³ is 3x².";
    case "over": return "The slope of 10/x is −10/x².";
    case "relu":
      if (x > 0) return "relu lets it pass, since its operand is positive.";
      return "relu stops it, since its operand is not positive.";
  }
}

/** A step of the backward pass, in words. */
function inWords({ node, terms }, earlier) {
  const { name, made } = DRAWING[node.place];
  const what = name === made ? name : `${name} = ${made}`;
  if (node.grad === 0) return `${what} has the gradient 0: nothing flows through it.`;
  const had = new Set(earlier);
  const gets = terms.map(({ operand, slope, before, share }) => {
    const gets = `${DRAWING[operand.place].name} gets ${short(slope)} × ${short(node.grad)} = ${short(share)}`;
    const sum = `${gets}, which with the ${short(before)} it had makes ${short(before + share)}`;
    const first = !had.has(operand);
    had.add(operand);
    return first ? gets : sum;
  });
  return `${what} has the gradient ${short(node.grad)}. ${reason(node)} So ${gets.join("; ")}.`;
}

let drawing;

/** Shows everything that follows from the state; after a step, it also scrolls to where the step was. */
function showExpression(scroll) {
  const now = calculate(state);
  const { graph, done, all, visited } = now;
  const walking = state.steps !== Infinity;
  const complete = done.length === all;
  const last = walking ? done.at(-1) : undefined;
  $("g").textContent = exact(now.g.data);
  $("dg-da").textContent = visited.has(now.a) ? exact(now.a.grad) : "–";
  $("dg-db").textContent = visited.has(now.b) ? exact(now.b.grad) : "–";
  const more = gOf(state.a + 0.001, state.b);
  const rise = more - now.g.data;
  $("trial").textContent = complete
    ? `Try it: with ${exact(state.a + 0.001)} for a, a thousandth more, g is ${exact(more)}: ` +
      `${exact(Math.abs(rise))} ${rise < 0 ? "less" : "more"}. The gradient predicts ${exact(Math.abs(now.a.grad / 1000))}.`
    : "These are the gradients so far. Until the last step, more may be added to them.";
  $("progress").max = all;
  $("progress").value = done.length;
  $("count").textContent = `${done.length} of ${all} steps`;
  for (const id of ["undo", "reset"]) $(id).setAttribute("aria-disabled", done.length === 0);
  $("all").setAttribute("aria-disabled", !walking); // an inactive button keeps the focus, unlike a disabled one
  const earlier = new Set([now.g, ...done.slice(0, -1).flatMap(({ terms }) => terms.map(({ operand }) => operand))]);
  $("sentence").textContent = last
    ? inWords(last, earlier) + (complete ? " That was the last step: all gradients are complete." : "")
    : walking
      ? "The start: g changes by 1 when g changes by 1. So its gradient is 1."
      : "All gradients are complete. “Step backward” goes through the pass again, one number at a time.";
  const steps = new Map(done.map((step) => [step.node, step]));
  const receives = new Set(!last ? [] : last.terms.map(({ operand }) => operand));
  graph.nodes.forEach((node, n) => {
    const shown = drawing.nodes[n];
    const seen = visited.has(node);
    const current = walking && node === (last ? last.node : now.g);
    const grad = seen ? short(node.grad) : "–";
    const leaf = node.operands.length === 0;
    const classes = { node: true, leaf, waiting: !seen, current, receives: receives.has(node) };
    shown.group.setAttribute("class", Object.keys(classes).filter((name) => classes[name]).join(" "));
    shown.data.textContent = short(node.data);
    shown.grad.textContent = grad;
    const { name, made } = DRAWING[n];
    shown.title.textContent = `${name}: ${made}\ndata ${node.data}\ngradient ${seen ? node.grad : "not known yet"}`;
    const slopes = leaf ? [] : node.slopes();
    const toward = slopes.map((slope, i) => `${DRAWING[node.operands[i].place].name}: ${short(slope)}`).join(", ");
    [short(node.data), grad, toward].forEach((text, i) => (shown.cells[i].textContent = text));
    drawing.edges[n].forEach(({ line, text }, i) => {
      const term = steps.get(node)?.terms[i];
      const here = term && node === last?.node;
      line.setAttribute("class", here ? "edge current" : "edge");
      text.setAttribute("class", here ? "share current" : "share");
      const long = () => `${short(term.slope)} × ${short(node.grad)} = ${short(term.share)}`;
      text.textContent = !term ? "" : here ? long() : short(term.share);
      if (here) text.parentNode.append(text); // above the others
    });
  });
  if (scroll && walking) follow(DRAWING[(last?.node ?? now.g).place]);
}

/** Brings a box into view, in the page and in the graph's own scrolling frame. */
function follow({ x, y }) {
  const [svg, frame] = [$("graph"), $("scroll")];
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  const behavior = still ? "instant" : "smooth";
  const scale = svg.getBoundingClientRect().width / svg.viewBox.baseVal.width;
  frame.scrollTo({ left: x * scale - frame.clientWidth / 2, behavior });
  const top = svg.getBoundingClientRect().top + y * scale;
  const [first, end] = [$("bar").offsetHeight + 100, innerHeight - 110]; // the bar sticks to the top
  if (top < first || top > end) scrollBy({ top: top - (first + end) / 2, behavior });
}

function startExpression() {
  drawing = draw();
  pair("a", (a) => ((state.a = a), showExpression()));
  pair("b", (b) => ((state.b = b), showExpression()));
  const go = (id, steps) => $(id).addEventListener("click", () => {
    if ($(id).getAttribute("aria-disabled") === "true") return;
    state.steps = steps();
    showExpression(true);
  });
  const { all } = calculate(state);
  go("step", () => (state.steps < all ? state.steps + 1 : 1)); // after the last comes the first again
  go("undo", () => Math.min(state.steps, all) - 1);
  go("reset", () => 0);
  go("all", () => Infinity);
  showExpression();
}

// ---- 3 and 4: the names model -------------------------------------------------------------------------------------

const percent = (p) => (100 * p).toFixed(p < 0.0995 ? 1 : 0);
const letters = [...MODEL.vocab];
letters[MODEL.bos] = "."; // BOS: before the first letter and after the last
const longest = MODEL.context - 1;
const names = { text: "", temperature: 1, topK: letters.length, random: generator(42), thrown: null };

/** The tokens of the beginning of a name, BOS first. */
const tokensOf = (text) => [MODEL.bos, ...[...text].map((letter) => MODEL.vocab.indexOf(letter))];

/** What the model says about what comes next: by itself, and as it is drawn. */
function nextLetter(text) {
  const { logits, attention } = gpt(MODEL, tokensOf(text));
  return { own: softmax(logits.at(-1)), drawn: sampling(logits.at(-1), names.temperature, names.topK), attention };
}

/** Shows everything that follows from the typed text and the settings. */
function showNames() {
  const { own, drawn, attention } = nextLetter(names.text);
  const top = Math.max(...own, ...drawn);
  $("bars").replaceChildren();
  letters.forEach((letter, token) => {
    const item = element($("bars"), "li");
    const [here, itself] = [drawn, own].map((p) => (100 * p[token]).toFixed(2));
    item.title = `${letter === "." ? "the end" : letter}: ${here} % (the model itself: ${itself} %)`;
    element(item, "span", { class: "percent" }, drawn[token] >= 0.005 ? percent(drawn[token]) : "");
    const column = element(item, "span", { class: "column" });
    element(column, "i", { class: "drawn" }).style.setProperty("--p", drawn[token] / top);
    element(column, "i", { class: "own" }).style.setProperty("--own", own[token] / top);
    element(item, "span", { class: "letter" }, letter);
  });
  showLine(names.thrown ?? { probabilities: drawn });
  const full = [...names.text].length >= longest;
  $("draw").setAttribute("aria-disabled", full);
  $("finish").setAttribute("aria-disabled", full);
  showAttention(attention);
}

/** Probabilities end to end, and where a dart has landed. */
function showLine({ probabilities, dart, token }) {
  const room = $("line").clientWidth; // in pixels
  $("line").replaceChildren();
  probabilities.forEach((p, n) => {
    const part = element($("line"), "span", { class: n === token ? "hit" : "" }, p * room > 11 ? letters[n] : "");
    part.style.flexBasis = `${100 * p}%`;
  });
  if (dart !== undefined) element($("line"), "b", { class: "dart" }).style.left = `${100 * dart}%`;
}

/** A table of shades for each head, and a sentence about where it looks from the last letter. */
function showAttention(attention) {
  const shown = [".", ...names.text];
  const size = shown.length > 12 ? "heat crowded" : shown.length > 8 ? "heat many" : "heat";
  const place = (at) => (at === 0 ? "the start" : `“${shown[at]}”, letter ${at}`);
  $("heads").className = shown.length > 8 ? "heads long" : "heads";
  $("heads").replaceChildren();
  $("words").replaceChildren();
  attention.forEach((heads, layer) => heads.forEach((looks, head) => {
    const name = (MODEL.n_layer > 1 ? `Layer ${layer + 1}, head ` : "Head ") + (head + 1);
    const table = element($("heads"), "table", { class: size });
    table.style.setProperty("--cell", `${Math.max(1.1, 2.6 - 0.1 * shown.length)}rem`);
    element(table, "caption", {}, name);
    const top = element(element(table, "thead"), "tr");
    element(top, "td", { class: "ahead" });
    shown.forEach((letter) => element(top, "th", { scope: "col" }, letter));
    const body = element(table, "tbody");
    looks.forEach((row, query) => {
      const line = element(body, "tr");
      element(line, "th", { scope: "row" }, shown[query]);
      shown.forEach((_, key) => {
        if (key > query) return element(line, "td", { class: "ahead" });
        const cell = element(line, "td", { class: row[key] > 0.605 ? "strong" : "" }, (100 * row[key]).toFixed(0));
        cell.style.setProperty("--p", row[key]);
        cell.dataset.p = row[key];
        cell.title = `${name}: after reading ${place(query)}, ${percent(row[key])} % on ${place(key)}`;
      });
    });
    const last = looks.at(-1);
    const most = last.indexOf(Math.max(...last));
    const looksAt = `it looks most at ${place(most)} (${percent(last[most])} %).`;
    element($("words"), "li", {}, `${name}: after reading ${place(shown.length - 1)}, ${looksAt}`);
  }));
}

/** Takes a typed text: what the model has no letter for, or no room, is left out, and said so. */
function type(text, from) {
  const typed = [...text.toLowerCase()];
  const known = typed.filter((letter) => MODEL.vocab.includes(letter));
  names.text = known.slice(0, longest).join("");
  names.thrown = null;
  $("drawn").textContent = "";
  const unknown = typed.filter((letter) => !MODEL.vocab.includes(letter));
  const notes = [];
  if (unknown.length > 0) {
    notes.push(`The model has no letter “${unknown[0]}”: it knows ${MODEL.vocab[0]} to ${MODEL.vocab.at(-1)}.`);
  }
  const full = known.length >= longest ? [`${longest} letters fill its context.`] : [];
  $("name-note").textContent = [...notes, ...full].join(" ");
  for (const id of ["name", "attention-name"]) {
    if (id !== from || text !== names.text) $(id).value = names.text;
  }
  showNames();
}

/** Throws a dart at the probabilities of what follows a text. */
function throwDart(text) {
  const { drawn: probabilities } = nextLetter(text);
  const dart = names.random();
  return { probabilities, dart, token: choose(probabilities, dart) };
}

function startNames() {
  const count = Object.values(MODEL.params).flat(2).length;
  const number = (x) => x.toLocaleString("en");
  $("about").textContent =
    `The GPT of chapters 4 to 6: ${number(count)} parameters, trained on ${MODEL.data}. Over all ${number(MODEL.names)} ` +
    `names of that file its mean loss is ${MODEL.loss.toFixed(2)} nats a token; with equal probabilities it would be ` +
    `${Math.log(letters.length).toFixed(2)}. Type the beginning of a name, and see what it expects.`;
  for (const id of ["top-k", "top-k-number"]) {
    $(id).max = letters.length;
    $(id).value = letters.length;
  }
  for (const id of ["name", "attention-name"]) $(id).addEventListener("input", () => type($(id).value, id));
  const set = (setting) => (value) => {
    names[setting] = value;
    type(names.text);
  };
  pair("temperature", set("temperature"));
  pair("top-k", set("topK"));
  $("seed").addEventListener("input", () => {
    if ($("seed").value === "" || !$("seed").validity.valid) return;
    names.random = generator(+$("seed").value);
    $("names").replaceChildren();
    $("drawn").textContent = "";
  });
  $("draw").addEventListener("click", () => {
    if ($("draw").getAttribute("aria-disabled") === "true") return;
    const before = names.text;
    const thrown = throwDart(before);
    const { dart, token } = thrown;
    const what = token === MODEL.bos ? "the end of the name" : `“${letters[token]}”`;
    if (token !== MODEL.bos) type(before + letters[token]);
    const when = before ? `After “${before}”` : "At the start";
    $("drawn").textContent = `${when} the dart lands at ${dart.toFixed(2)}: ${what}.`;
    names.thrown = thrown; // the line shows what the dart was thrown at
    showNames();
  });
  $("finish").addEventListener("click", () => {
    if ($("finish").getAttribute("aria-disabled") === "true") return;
    let text = names.text;
    while ([...text].length < longest) {
      const { token } = throwDart(text);
      if (token === MODEL.bos) break;
      text += letters[token];
    }
    const item = element($("names"), "li", {});
    element(item, "b", {}, names.text);
    item.append(text.slice(names.text.length));
    while ($("names").children.length > 40) $("names").firstChild.remove();
    $("drawn").textContent = `A name: ${text}`;
  });
  const first = [..."mar"].every((letter) => MODEL.vocab.includes(letter)) ? "mar" : MODEL.reference[3].beginning;
  type(first);
}

startExpression();
startNames();
