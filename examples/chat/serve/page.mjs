// Chats on page.html in a real browser, with the server behind it:
//
//     cargo build --release -p gradus-examples --features chat --example chat
//     node examples/chat/serve/page.mjs target/release/examples/chat MODEL [--screenshots DIR]
//
// MODEL is any model that can converse and writes more than a few words, such as one that `chat -- create` has just made. It needs
// node 18 or newer and Chromium (or Chrome: its path in the environment variable CHROME), and nothing else. Where there is no
// browser it says so and ends with 0.

import { spawn, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

const [program, model] = process.argv.slice(2);
const flag = process.argv.indexOf("--screenshots");
const pictures = flag > 0 ? process.argv[flag + 1] : null;
const candidates = [process.env.CHROME, "chromium", "chromium-browser", "google-chrome", "google-chrome-stable",
  "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"].filter(Boolean);
const browser = candidates.find((name) => spawnSync(name, ["--version"]).status === 0);
if (!browser) {
  console.log("skipped: there is no Chromium here (set CHROME to the path of one)");
  process.exit(0);
}

const server = spawn(program, ["serve", "--model", model, "--port", "0"], { stdio: ["ignore", "pipe", "inherit"] });
const url = await new Promise((resolve, reject) => {
  let printed = "";
  server.stdout.on("data", (text) => {
    printed += text;
    const [, found] = printed.match(/^listening on (http:.*)$/m) ?? [];
    if (found) resolve(found);
  });
  server.on("exit", () => reject(new Error(`the server ended: ${printed}`)));
});

// ---- The browser --------------------------------------------------------------------------------------------------

const profile = mkdtempSync(join(tmpdir(), "gradus-page-"));
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
      const { resolve, reject, method } = waiting.get(id);
      waiting.delete(id);
      error ? reject(new Error(`${method}: ${error.message}`)) : resolve(result);
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
  const { result, exceptionDetails } = await call("Runtime.evaluate", { expression, returnByValue: true, awaitPromise: true });
  if (exceptionDetails) throw new Error(`${expression}: ${exceptionDetails.exception?.description}`);
  return result.value;
}

/** Waits until an expression is true. */
async function until(expression) {
  for (let tries = 0; !(await evaluate(expression)); tries++) {
    if (tries > 6000) throw new Error(`never: ${expression}`);
    await sleep(10);
  }
}

const text = (id) => evaluate(`document.getElementById(${JSON.stringify(id)}).textContent`);
const focused = () => evaluate("document.activeElement.id || document.activeElement.className || document.activeElement.tagName");

async function press(key, modifiers = 0) {
  const codes = { Tab: 9, Enter: 13, Escape: 27, " ": 32, ArrowLeft: 37, ArrowRight: 39, End: 35, Home: 36 };
  const writes = key === "Enter" ? "\r" : key === " " ? " " : undefined;
  const event = { key, code: key === " " ? "Space" : key, windowsVirtualKeyCode: codes[key], modifiers, text: writes };
  await call("Input.dispatchKeyEvent", { type: writes ? "keyDown" : "rawKeyDown", ...event });
  await call("Input.dispatchKeyEvent", { type: "keyUp", ...event, text: undefined });
}

/** Goes to an element with the Tab key, as somebody without a mouse does. */
async function tabTo(what, modifiers = 0) {
  for (let presses = 0; presses < 60; presses++) {
    if ((await focused()) === what) return true;
    await press("Tab", modifiers);
  }
  return false;
}

/** Types over what stands in the field that has the focus. */
async function write(value) {
  await evaluate("document.activeElement.select()");
  if (value) await call("Input.insertText", { text: value });
  else await evaluate("document.activeElement.value = ''");
}

async function open({ scheme = "light", width = 1200, height = 900 } = {}) {
  await call("Emulation.setEmulatedMedia", { features: [{ name: "prefers-color-scheme", value: scheme }] });
  await call("Emulation.setDeviceMetricsOverride", { width, height, deviceScaleFactor: 1, mobile: width < 600 });
  const done = new Promise((resolve) => (loaded = resolve));
  await call("Page.navigate", { url });
  await done;
  await until("document.getElementById('model').textContent !== 'the model'");
}

async function picture(name) {
  if (!pictures) return;
  const { data } = await call("Page.captureScreenshot");
  mkdirSync(pictures, { recursive: true });
  writeFileSync(join(pictures, `${name}.png`), Buffer.from(data, "base64"));
}

// ---- The checks ---------------------------------------------------------------------------------------------------

let [checks, failures] = [0, 0];

function check(what, holds, seen = "") {
  checks++;
  if (!holds) failures++;
  console.log(`${holds ? "ok  " : "FAIL"} ${what}${holds || seen === "" ? "" : `: ${seen}`}`);
}

const idle = "!document.getElementById('send').disabled";
const replies = () => evaluate("[...document.querySelectorAll('[role=listbox]')].map((list) => list.textContent)");

/** Sends a message with the keyboard and waits for all of the reply. */
async function say(message) {
  await tabTo("message");
  await write(message);
  await press("Enter");
  await until(`${idle} && document.getElementById('message').value === ''`);
}

async function set(field, value) {
  check(`Tab leads to ${field}`, await tabTo(field));
  await write(value);
}

async function conversation() {
  await set("max_tokens", "12");
  await set("seed", "7");
  await say("Hello <b>there</b>");
  const [first] = await replies();
  check("the model replies", first.length > 0, await text("problem"));
  check("what was written is text", await evaluate("document.querySelector('.said').textContent === 'Hello <b>there</b>' && !document.querySelector('.said b')"));
  const tokens = await evaluate("document.querySelectorAll('.token').length");
  check("as many tokens as were asked for, or an end", tokens === 12 || (await text("status")).includes("came to its end"), tokens);
  check("the line below says how many", (await text("status")).startsWith(`${tokens} tokens`), await text("status"));

  check("Tab leads back to the tokens", await tabTo("token", 8));
  await press("Home");
  const shown = () => evaluate("[...document.querySelectorAll('#alternatives tbody tr')].map((row) => row.textContent)");
  const rows = await shown();
  check("a token shows its alternatives", rows.length === 8 || rows.length === 9, rows.length);
  check("one of them was chosen", rows.filter((row) => row.endsWith("chosen")).length === 1, rows.join(" | "));
  const cells = await evaluate("[...document.querySelectorAll('#alternatives tbody .share')].map((cell) => cell.textContent)");
  const shares = cells.slice(0, 8).map((cell) => parseFloat(cell));
  check("the likeliest come first", shares.every((share, at) => at === 0 || share <= shares[at - 1]), shares.join(" "));
  check("they are shares of a whole", shares.reduce((a, b) => a + b) <= 100.5);
  const selected = () => evaluate("[...document.querySelectorAll('.token')].findIndex((token) => token.ariaSelected === 'true')");
  await press("ArrowRight");
  await press("ArrowRight");
  check("arrow keys lead to the next tokens", (await selected()) === 2 && String(await shown()) !== String(rows), await selected());
  await press("End");
  check("and End to the last", (await selected()) === tokens - 1, await selected());
  const one = await evaluate("[...document.querySelectorAll('.token')].filter((token) => token.tabIndex === 0).length");
  check("all tokens of a reply are one stop of the Tab key", one === 1, one);

  await say("And now?");
  check("the conversation goes on", (await replies()).length === 2);
  check("Tab leads to taking back", await tabTo("undo"));
  await press(" ");
  check("the last turn is gone, and its text can be sent again", (await replies()).length === 1 && (await evaluate("document.getElementById('message').value")) === "And now?");
  check("Tab leads to beginning again", await tabTo("clear"));
  await press(" ");
  check("nothing is left", (await replies()).length === 0 && (await focused()) === "message");
  await say("Hello <b>there</b>");
  check("the same seed says the same", (await replies())[0] === first, (await replies())[0]);
  await set("seed", "8");
  await tabTo("clear", 8);
  await press(" ");
  await say("Hello <b>there</b>");
  check("another seed says something else", (await replies())[0] !== first);
}

async function stopping() {
  await set("max_tokens", "");
  await set("seed", "7");
  await tabTo("message");
  await write("Go on");
  await press("Enter");
  await until("document.querySelectorAll('[role=listbox]:last-child .token').length > 2");
  await press("Escape");
  await until(idle);
  check("Escape stops a reply", (await text("status")).includes("was stopped"), await text("status"));
  check("and leads back to the message", (await focused()) === "message");
  await until("fetch('/health').then((response) => response.json()).then((health) => health.running === 0)");
  check("the server has its place back", true);
}

async function mistakes() {
  await set("temperature", "5");
  await say("Hello");
  check("what the server refuses is said", (await text("problem")).includes("temperature"), await text("problem"));
  await set("temperature", "0.8");
  await set("max_tokens", "3");
  await say("Hello");
  check("and forgotten when it works", (await text("problem")) === "" && (await replies()).at(-1).length > 0, await text("problem"));
  await tabTo("message");
  const before = (await replies()).length;
  await write("  ");
  await press("Enter");
  check("an empty message is not sent", (await replies()).length === before && (await evaluate(idle)));
}

/** Every text against what is behind it. The tint of a token counts at its strongest. */
async function contrast(scheme) {
  const low = await evaluate(`(() => {
    const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    const light = (colors) => {
      canvas.clearRect(0, 0, 1, 1);
      for (const color of colors) { canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1); }
      const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].map((x) => (x / 255 <= 0.04045 ? x / 255 / 12.92 : ((x / 255 + 0.055) / 1.055) ** 2.4));
      return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const low = new Set();
    for (const node of document.querySelectorAll("body *")) {
      const own = [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim());
      if (!own || !node.checkVisibility() || node.disabled || node.tagName === "SCRIPT") continue;
      const behind = [];
      for (let at = node; at; at = at.parentElement) behind.unshift(getComputedStyle(at).backgroundColor);
      const [x, y] = [light([...behind, getComputedStyle(node).color]), light(behind)].sort((p, q) => q - p);
      if ((x + 0.05) / (y + 0.05) < 4.5) low.add(node.tagName + "." + node.className + " " + ((x + 0.05) / (y + 0.05)).toFixed(2));
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
  await open();
  check("the title names the model", (await evaluate("document.title")).endsWith(": chat") && (await text("model")) !== "the model");
  check("the message has the focus", (await focused()) === "message", await focused());
  const named = await evaluate("[...document.querySelectorAll('input, textarea')].every((field) => field.labels.length === 1)");
  check("every field has a label", named);
  await conversation();
  await picture("light");
  check("nothing else was asked of anybody", requests.every((request) => request.startsWith(url) || request.startsWith("data:")), requests.join(" "));
  check("no problem in the console", problems.length === 0, problems.join(" | "));
  await stopping();
  await mistakes();
  // The browser itself notes the answer with status 400, which was asked for.
  check("no other problem in the console", problems.every((problem) => problem.includes("400")), problems.join(" | "));
  for (const scheme of ["light", "dark"]) {
    await open({ scheme, width: 380, height: 800 });
    await tabTo("message");
    await write("Hello");
    await tabTo("max_tokens");
    await write("8");
    await say("A rather long message, to see where it goes: " + "x".repeat(200));
    await tabTo("token", 8);
    await contrast(scheme);
    const width = await evaluate("document.documentElement.scrollWidth");
    check(`${scheme}: nothing scrolls sideways on a narrow screen`, width === 380, width);
    await picture(`${scheme}-narrow`);
  }
}

try {
  await run();
} catch (error) {
  check(`to the end: ${error.message}`, false);
} finally {
  const gone = new Promise((resolve) => chromium.once("exit", resolve));
  call("Browser.close").catch(() => {});
  await Promise.race([gone, sleep(5000)]);
  chromium.kill();
  server.kill();
  rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
}
console.log(`${checks - failures} of ${checks} checks passed`);
process.exit(failures > 0 ? 1 : 0);
