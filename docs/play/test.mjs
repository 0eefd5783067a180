// Plays with index.html in a real browser, from a file, and compares what it shows with micrograd's figures and with
// those of the Rust model: `node docs/play/test.mjs`. It needs node 18 or newer and Chromium (or Chrome: its path in the
// environment variable CHROME), and nothing else. Where there is no browser it says so and ends with 0.
//
//     node docs/play/test.mjs --screenshots DIR     also takes pictures, in light and dark, wide and narrow
//
// It speaks the DevTools protocol over two pipes, so no port is opened.

import { spawn, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const flag = process.argv.indexOf("--screenshots");
const pictures = flag > 0 ? process.argv[flag + 1] : null;
const candidates = [process.env.CHROME, "chromium", "chromium-browser", "google-chrome", "google-chrome-stable",
  "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"].filter(Boolean);
const browser = candidates.find((name) => spawnSync(name, ["--version"]).status === 0);
if (!browser) {
  console.log("skipped: there is no Chromium here (set CHROME to the path of one)");
  process.exit(0);
}

const profile = mkdtempSync(join(tmpdir(), "gradus-play-"));
const page = new URL("index.html", import.meta.url).href;

// ---- The browser --------------------------------------------------------------------------------------------------

const chromium = spawn(browser, ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run",
  "--remote-debugging-pipe", `--user-data-dir=${profile}`, "about:blank"], { stdio: ["ignore", "ignore", "ignore", "pipe", "pipe"] });
const [toBrowser, fromBrowser] = [chromium.stdio[3], chromium.stdio[4]];
const [waiting, problems, requests] = [new Map(), [], []];
let [session, calls, received, loaded] = [undefined, 0, "", () => {}];

/** Calls a method of the DevTools protocol. */
function call(method, params = {}) {
  const id = ++calls;
  toBrowser.write(`${JSON.stringify({ id, method, params, sessionId: session })}\0`);
  return new Promise((resolve, reject) => waiting.set(id, { resolve, reject, method }));
}

fromBrowser.setEncoding("utf8");
fromBrowser.on("data", (chunk) => {
  const messages = (received + chunk).split("\0");
  received = messages.pop();
  for (const { id, method, params, result, error } of messages.map((message) => JSON.parse(message))) {
    if (id) {
      const call = waiting.get(id);
      waiting.delete(id);
      error ? call.reject(new Error(`${call.method}: ${error.message}`)) : call.resolve(result);
    }
    if (method === "Page.loadEventFired") loaded();
    if (method === "Runtime.exceptionThrown") problems.push(params.exceptionDetails.exception?.description ?? params.exceptionDetails.text);
    if (method === "Runtime.consoleAPICalled") problems.push(`console.${params.type}: ${params.args.map((arg) => arg.value).join(" ")}`);
    if (method === "Log.entryAdded") problems.push(`log: ${params.entry.text}`);
    if (method === "Network.requestWillBeSent") requests.push(params.request.url);
  }
});

/** The value of an expression in the page. */
async function evaluate(expression) {
  const { result, exceptionDetails } = await call("Runtime.evaluate", { expression, returnByValue: true });
  if (exceptionDetails) throw new Error(`${expression}: ${exceptionDetails.exception?.description}`);
  return result.value;
}

const text = (id) => evaluate(`document.getElementById(${JSON.stringify(id)}).textContent`);
const focus = (id) => evaluate(`document.getElementById(${JSON.stringify(id)}).focus()`);

/** Presses and releases a key that writes nothing, or one that does. */
async function press(key, { modifiers = 0 } = {}) {
  const codes = { Tab: 9, Enter: 13, " ": 32, ArrowLeft: 37, ArrowRight: 39, End: 35, Home: 36 };
  const writes = key === "Enter" ? "\r" : key === " " ? " " : undefined;
  const event = { key, code: key === " " ? "Space" : key, windowsVirtualKeyCode: codes[key], modifiers, text: writes };
  await call("Input.dispatchKeyEvent", { type: writes ? "keyDown" : "rawKeyDown", ...event });
  await call("Input.dispatchKeyEvent", { type: "keyUp", ...event, text: undefined });
}

/** Types a text into a field, in place of what is there. */
async function type(id, value) {
  await focus(id);
  await evaluate(`document.getElementById(${JSON.stringify(id)}).select()`);
  await call("Input.insertText", { text: value });
}

async function open({ scheme = "light", width = 1300, height = 900 } = {}) {
  await call("Emulation.setEmulatedMedia", { features: [{ name: "prefers-color-scheme", value: scheme },
    { name: "prefers-reduced-motion", value: "reduce" }] });
  await call("Emulation.setDeviceMetricsOverride", { width, height, deviceScaleFactor: 1, mobile: width < 600 });
  const done = new Promise((resolve) => (loaded = resolve));
  await call("Page.navigate", { url: page });
  await done;
}

/** A picture of the whole page, or of what is in view. */
async function picture(name, whole = true) {
  if (!pictures) return;
  if (whole) await evaluate("scrollTo(0, 0)");
  const { cssContentSize: size } = await call("Page.getLayoutMetrics");
  const clip = { x: 0, y: 0, width: size.width, height: size.height, scale: 1 };
  const { data } = await call("Page.captureScreenshot", whole ? { captureBeyondViewport: true, clip } : {});
  mkdirSync(pictures, { recursive: true });
  writeFileSync(join(pictures, `${name}.png`), Buffer.from(data, "base64"));
}

// ---- The checks ---------------------------------------------------------------------------------------------------

let [checks, failures] = [0, 0];

function check(what, holds, seen = "") {
  checks++;
  if (!holds) failures++;
  console.log(`${holds ? "ok  " : "FAIL"} ${what}${seen === "" ? "" : `: ${seen}`}`);
}

const number = (shown) => Number(shown.replace("−", "-"));
const figures = async () => Promise.all(["g", "dg-da", "dg-db"].map(async (id) => number(await text(id))));
const near = (found, expected, within) => found.length === expected.length && found.every((x, i) => Math.abs(x - expected[i]) <= within);

/** The same expression and its gradients, by central differences. */
function numeric(a, b) {
  const g = (a, b) => {
    const relu = (x) => Math.max(x, 0);
    let [c, d] = [a + b, a * b + b ** 3];
    c = c + c + 1;
    c = c + 1 + c - a;
    d = d + d * 2 + relu(b + a);
    d = d + 3 * d + relu(b - a);
    const f = (c - d) ** 2;
    return f / 2 + 10 / f;
  };
  const eps = 1e-6;
  return [g(a, b), (g(a + eps, b) - g(a - eps, b)) / (2 * eps), (g(a, b + eps) - g(a, b - eps)) / (2 * eps)];
}

async function expression() {
  const known = [24.7041, 138.8338, 645.5773];
  check("g, dg/da and dg/db are micrograd's", near(await figures(), known, 5e-5), (await figures()).join(" "));

  await focus("a");
  await press("ArrowRight");
  const moved = await evaluate("+document.getElementById('a').value");
  check("an arrow key moves a", moved === -3.9 && !near(await figures(), known, 0.1), `a = ${moved}, g = ${await text("g")}`);
  for (const [a, b] of [[1.5, 2], [-0.5, -3], [3, 0.25]]) {
    await type("a-number", String(a));
    await type("b-number", String(b));
    const [found, expected] = [await figures(), numeric(a, b)];
    const close = found.every((x, i) => Math.abs(x - expected[i]) <= 1e-4 + 1e-5 * Math.abs(expected[i]));
    check(`a = ${a}, b = ${b}: as by trying`, close, found.join(" "));
  }
  await type("a-number", "-4");
  await type("b-number", "2");
  check("and back again", near(await figures(), known, 5e-5));
}

async function walk(scheme) {
  await focus("step");
  await press("Enter");
  check("the walk begins", (await text("count")) === "1 of 25 steps", await text("sentence"));
  check("before its last step, a has no gradient yet or not all of it", (await text("dg-da")) !== "138.8338", await text("dg-da"));
  await picture(`${scheme}-step`);
  const sentences = new Set([await text("sentence")]);
  for (let step = 2; step <= 25; step++) {
    await press("Enter");
    sentences.add(await text("sentence"));
    if (step === 20) await picture(`${scheme}-step-20`, false);
  }
  check("25 steps, each with its own sentence", sentences.size === 25 && (await text("count")) === "25 of 25 steps");
  check("the last is c₁ = a + b", (await text("sentence")).startsWith("c₁ = a + b"), await text("sentence"));
  check("the gradients are complete", near(await figures(), [24.7041, 138.8338, 645.5773], 5e-5));
  const terms = await evaluate("[...document.querySelectorAll('#graph .share')].filter((text) => text.textContent).length");
  check("every edge has its term", terms === 39, `${terms} edges`);
  await focus("undo");
  await press(" ");
  check("undo takes a step back", (await text("count")) === "24 of 25 steps", await text("dg-da"));
  await focus("reset");
  await press(" ");
  check("start over", (await text("count")) === "0 of 25 steps" && (await text("dg-da")) === "–", await text("sentence"));
  await focus("all");
  await press(" ");
  check("all", (await text("count")) === "25 of 25 steps");
}

async function letters(scheme) {
  const references = await evaluate("MODEL.reference");
  let [worst, compared] = [0, 0];
  for (const { beginning, probabilities } of references) {
    await type("name", beginning);
    if (beginning === "") await evaluate("type('')"); // an empty text is no input
    const found = await evaluate("nextLetter(names.text).own");
    const titles = await evaluate("[...document.querySelectorAll('#bars li')].map((item) => +item.title.match(/([\\d.]+) %/)[1] / 100)");
    found.forEach((p, i) => (worst = Math.max(worst, Math.abs(p - probabilities[i]))));
    titles.forEach((p, i) => (worst = Math.max(worst, Math.abs(p - probabilities[i]) - 5e-5)));
    compared += found.length;
  }
  check(`probabilities after ${references.length} beginnings are the Rust model's`, worst < 2e-3, `${compared} of them, at most ${worst.toExponential(1)} off`);

  await type("name", "mar");
  const own = await evaluate("nextLetter('mar').own");
  for (const [temperature, k] of [[0.5, 27], [2, 27], [1, 5], [0.7, 3], [0, 27]]) {
    await type("temperature-number", String(temperature));
    await type("top-k-number", String(k));
    const drawn = await evaluate("nextLetter(names.text).drawn");
    const order = own.map((_, i) => i).sort((i, j) => own[j] - own[i]);
    const kept = order.slice(0, temperature === 0 ? 1 : k);
    const powers = own.map((p, i) => (kept.includes(i) ? p ** (1 / (temperature || 1)) : 0));
    const total = powers.reduce((sum, x) => sum + x, 0);
    check(`temperature ${temperature}, top-k ${k}`, near(drawn, powers.map((x) => x / total), 1e-9), `at most ${Math.max(...drawn).toFixed(4)}`);
  }
  await type("temperature-number", "1");
  await type("top-k-number", "27");
  await type("seed", "7");
  const three = async () => {
    await type("seed", "8");
    await type("seed", "7");
    await focus("finish");
    for (let n = 0; n < 3; n++) await press("Enter");
    return evaluate("[...document.querySelectorAll('#names li')].map((item) => item.textContent).join(' ')");
  };
  const [first, second] = [await three(), await three()];
  check("a seed gives the same names again", first === second && first.split(" ").length === 3, first);
  await focus("draw");
  await press("Enter");
  check("a letter is drawn", /^After “mar” the dart lands at/.test(await text("drawn")), await text("drawn"));
  await picture(`${scheme}-drawn`);
  await type("name", "Zoë");
  check("a letter that it does not know is left out, and said so", (await evaluate("names.text")) === "zo", await text("name-note"));
}

async function heads(scheme) {
  for (const name of ["a", "maria", "abcdefghijklmno"]) {
    await type("attention-name", name);
    const sums = await evaluate(`[...document.querySelectorAll(".heat tbody tr")].map((row) =>
      [...row.querySelectorAll("td[data-p]")].reduce((sum, cell) => sum + +cell.dataset.p, 0))`);
    const rows = 4 * (name.length + 1);
    check(`“${name}”: all rows of its heads sum to 1`, sums.length === rows && near(sums, sums.map(() => 1), 1e-9), `${rows} rows`);
    check("the other field has it too", (await evaluate("document.getElementById('name').value")) === name);
  }
  await picture(`${scheme}-long`);
  await type("attention-name", "maria");
}

async function keyboard() {
  const wanted = await evaluate(`[...document.querySelectorAll("input, button, summary, [tabindex='0']")]
    .filter((node) => node.checkVisibility()).map((node) => node.id || node.ariaLabel || node.textContent.slice(0, 30))`);
  const [met, unseen] = [[], []];
  for (let n = 0; n < wanted.length; n++) {
    await press("Tab");
    const { name, outline, size, inside } = await evaluate(`(() => {
      const node = document.activeElement, style = getComputedStyle(node), box = node.getBoundingClientRect();
      return { name: node.id || node.ariaLabel || node.textContent.slice(0, 30), outline: style.outlineStyle, size: parseFloat(style.outlineWidth),
        inside: box.bottom > 0 && box.top < innerHeight };
    })()`);
    met.push(name);
    if (outline === "none" || size < 2 || !inside) unseen.push(name);
  }
  check(`Tab reaches all ${wanted.length} controls, in their order`, met.join() === wanted.join(), met.join() === wanted.join() ? "" : met.join());
  check("each shows that it has the focus", unseen.length === 0, unseen.join());
  const nameless = await evaluate(`[...document.querySelectorAll("input, button, progress")]
    .filter((node) => !(node.labels?.length || node.ariaLabel || node.textContent.trim())).map((node) => node.id)`);
  check("each has a name", nameless.length === 0, nameless.join());
}

/** The contrast of all texts with what is behind them, as WCAG 2.1 defines it. */
async function contrast(scheme) {
  const low = await evaluate(`(() => {
    const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
    const rgba = (color) => {
      canvas.clearRect(0, 0, 1, 1);
      canvas.fillStyle = color;
      canvas.fillRect(0, 0, 1, 1);
      return canvas.getImageData(0, 0, 1, 1).data;
    };
    const light = (color) => {
      const [r, g, b] = [...rgba(color)].map((x) => (x / 255 <= 0.04045 ? x / 255 / 12.92 : ((x / 255 + 0.055) / 1.055) ** 2.4));
      return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const behind = (node) => {
      for (; node; node = node.parentElement) {
        const color = getComputedStyle(node).backgroundColor;
        if (rgba(color)[3] > 250) return color;
        const box = node.closest("svg .node")?.querySelector(node.classList.contains("sign") ? ".op" : ".box");
        if (box) return getComputedStyle(box).fill;
      }
    };
    const low = new Set();
    for (const node of document.querySelectorAll("body *")) {
      const own = [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim());
      if (!own || !node.checkVisibility() || node.closest("[aria-disabled=true], title, noscript")) continue;
      const style = getComputedStyle(node);
      if (parseFloat(style.fontSize) === 0) continue;
      const [x, y] = [light(node.closest("svg") ? style.fill : style.color), light(behind(node))].sort((p, q) => q - p);
      if ((x + 0.05) / (y + 0.05) < 4.5) low.add(node.tagName + "." + (node.getAttribute("class") ?? "") + " " + ((x + 0.05) / (y + 0.05)).toFixed(2));
    }
    return [...low];
  })()`);
  check(`${scheme}: every text has a contrast of at least 4.5`, low.length === 0, low.join(", "));
}

async function run() {
  const { targetInfos } = await call("Target.getTargets");
  const target = targetInfos.find(({ type }) => type === "page");
  session = (await call("Target.attachToTarget", { targetId: target.targetId, flatten: true })).sessionId;
  for (const domain of ["Page", "Runtime", "Log", "Network"]) await call(`${domain}.enable`);
  for (const scheme of ["light", "dark"]) {
    console.log(`\n${scheme}`);
    await open({ scheme });
    const background = await evaluate("getComputedStyle(document.body).backgroundColor");
    check("the page follows it", (background === "rgb(255, 255, 255)") === (scheme === "light"), background);
    await picture(scheme);
    await expression();
    await walk(scheme);
    await letters(scheme);
    await heads(scheme);
    await evaluate("document.querySelectorAll('details').forEach((details) => (details.open = true)), document.getElementById('step').click()");
    await contrast(scheme);
    await picture(`${scheme}-played`);
    await open({ scheme });
    await keyboard();
  }
  for (const scheme of ["light", "dark"]) {
    console.log(`\n${scheme}, 400 pixels wide`);
    await open({ scheme, width: 400, height: 800 });
    const width = await evaluate("document.documentElement.scrollWidth");
    check("nothing but the graph scrolls sideways", width === 400, `${width} pixels`);
    await keyboard();
    await evaluate("scrollTo(0, 0)");
    await picture(`${scheme}-narrow`);
    await focus("step");
    for (let n = 0; n < 4; n++) await press("Enter");
    const [shown, bar] = await evaluate(`[".node.current .box", "#bar"].map((name) => {
      const { left, right, top, bottom } = document.querySelector(name).getBoundingClientRect();
      return { left, right, top, bottom };
    })`);
    check("stepping keeps the buttons and the number in view", bar.top >= 0 && shown.top > bar.bottom && shown.bottom < 800 &&
      shown.left >= 0 && shown.right <= 400, `${bar.bottom.toFixed(0)} < ${shown.top.toFixed(0)}`);
    await picture(`${scheme}-narrow-step`, false);
  }
  console.log("");
  check("no errors in the console", problems.length === 0, problems.join("; "));
  const outside = requests.filter((url) => !/^(file|data):/.test(url));
  check("nothing is loaded from elsewhere", outside.length === 0, `${requests.length} requests, all to files${outside.join()}`);
}

const limit = setTimeout(() => finish(new Error("it takes longer than two minutes")), 120_000);

function finish(error) {
  clearTimeout(limit);
  chromium.once("exit", () => rmSync(profile, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 }));
  chromium.kill();
  if (error) console.log(`FAIL ${error.stack}`);
  console.log(`${checks} checks, ${failures + (error ? 1 : 0)} failed`);
  process.exitCode = failures > 0 || error ? 1 : 0;
}

run().then(() => finish(), finish);
