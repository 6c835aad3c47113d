// The explorer's page in headless Chromium. PAGE: the page that real runs made; LONG: one whose only
// scenario has 10,000 steps; SHOTS: the folder that keeps a screenshot of each scenario.
import assert from "node:assert/strict";
import { mkdirSync, readFileSync, statSync } from "node:fs";
import { createRequire } from "node:module";
import { after, before, test } from "node:test";
import { fileURLToPath, pathToFileURL } from "node:url";
import { inflateSync } from "node:zlib";

const root = new URL("../../", import.meta.url);
const require = createRequire(new URL("build/web/", root));
const { chromium } = require("playwright-core");
const { default: Ajv } = require("ajv");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

const PAGE = process.env.PAGE;
const LONG = process.env.LONG;
const SHOTS = process.env.SHOTS;
const LAPTOP = { width: 1280, height: 720 };

const html = readFileSync(PAGE, "utf8");
const packed = (id, text = html) => {
  const found = new RegExp(`<script type="application/octet-stream" id="${id}">([^<]*)</script>`).exec(text);
  return JSON.parse(inflateSync(Buffer.from(found[1], "base64")).toString());
};
const info = packed("page-info");
const scenarios = info.scenarios.map((each) => ({ ...each, steps: packed(`scenario-${each.id}`) }));

let browser;
const complaints = [];
const requests = [];

before(async () => {
  mkdirSync(SHOTS, { recursive: true });
  browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox"] });
});
after(async () => browser?.close());

/** A new page at a place in the explorer, once it shows something. */
async function open(place = "", options = {}, file = PAGE) {
  const page = await browser.newPage({ viewport: LAPTOP, reducedMotion: "reduce", ...options });
  page.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("request", (request) => requests.push(request.url()));
  await page.goto(pathToFileURL(file).href + place);
  await page.waitForSelector("html[data-step]");
  return page;
}
const stepShown = (page) => page.evaluate(() => Number(document.documentElement.dataset.step));

/** The picture as text: everything it says, in order. */
const told = (page) => page.evaluate(() =>
  [...document.querySelectorAll("#picture-a button, #picture-a p, #picture-a path.link")]
    .map((each) => `${[...each.classList].sort().join(" ")}|${each.getAttribute("aria-label") ?? ""}|${each.textContent}`).sort().join("\n"));

test("the file is one, and under 3 MB", () => {
  const size = statSync(PAGE).size;
  console.log(`# ${(size / 1e6).toFixed(3)} MB, ${scenarios.length} scenarios, ${scenarios.reduce((sum, each) => sum + each.steps.length, 0)} steps`);
  assert.ok(size < 3e6, `${size} bytes`);
  assert.doesNotMatch(html.replace(/<script type="application\/octet-stream"[^]*?<\/script>/g, ""), /(src|href)="(?!#|data:)/);
});

test("the data is as the schema says", () => {
  const schema = JSON.parse(readFileSync(new URL("tools/explore/schema/page.schema.json", root), "utf8"));
  const valid = new Ajv({ allErrors: false, strict: false }).compile(schema);
  assert.ok(valid({ ...info, scenarios }), JSON.stringify(valid.errors));
});

test("every event is explained, and has its source", () => {
  for (const { id, steps } of scenarios)
    for (const { event } of steps) {
      if (["mark", "begin", "end"].includes(event)) continue;
      const known = info.events[event];
      assert.ok(known?.sentence, `${id}: ${event} has no sentence`);
      assert.ok(known.literature, `${id}: ${event} has no name in the literature`);
      assert.ok(known.sources.length > 0, `${id}: ${event} has no source lines`);
    }
});

for (const { id, steps } of scenarios) {
  test(`${id} steps to its end and back`, async () => {
    const page = await open(`#${id}/1`);
    await page.focus("#stage");
    const first = await told(page);
    // Forward one by one; where it is long, then in leaps.
    const each = Math.min(steps.length - 1, 150);
    for (let i = 0; i < each; i++) await page.keyboard.press("ArrowRight");
    assert.equal(await stepShown(page), each + 1);
    await page.keyboard.press("End");
    assert.equal(await stepShown(page), steps.length);
    const last = await told(page);
    assert.equal(await page.locator("#picture-a .proc").count() > 0 || last.includes("no"), true);
    await page.keyboard.press("Home");
    assert.equal(await told(page), first, "the first step looks different after going there and back");
    await page.keyboard.press("End");
    assert.equal(await told(page), last, "the last step looks different the second time");
    await page.close();
  });
}

test("a step looks the same from the URL, stepped to, and stepped back to", async () => {
  const { id, steps } = scenarios.find((each) => each.id === "fork-write") ?? scenarios[0];
  const middle = Math.ceil(steps.length / 2);
  const direct = await open(`#${id}/${middle}`);
  const picture = await told(direct);
  await direct.focus("#stage");
  await direct.keyboard.press("End");
  while ((await stepShown(direct)) > middle) await direct.keyboard.press("ArrowLeft");
  assert.equal(await told(direct), picture);
  await direct.evaluate((place) => (location.hash = place), `#${id}/1`);
  await direct.waitForSelector('html[data-step="1"]');
  await direct.evaluate((place) => (location.hash = place), `#${id}/${middle}`);
  await direct.waitForSelector(`html[data-step="${middle}"]`);
  assert.equal(await told(direct), picture);
  await direct.close();
});

test("the ledgers shown add up to what the programs read in /proc", async () => {
  const printing = scenarios.filter((each) => !["exec", "cmd"].includes(each.id));
  assert.ok(printing.length > 0);
  for (const { id, printed, steps } of printing) {
    assert.ok(printed.end?.faults > 0, `${id}: the program printed no counters`);
    // Beside itself, so that the columns are those of whole families.
    const page = await open(`#${id}~${id}/99999`);
    assert.match(await page.locator("#step-a .step-number").textContent(), new RegExp(`^Step ${steps.length} of ${steps.length}$`));
    const shown = new Map(await page.evaluate(() => [...document.querySelectorAll("#ledger tbody tr")].map((row) =>
      [row.querySelector("th").textContent, Number(row.querySelector("td span").textContent.replaceAll(",", ""))])));
    assert.ok(shown.get("faults") > 0, `${id}: the ledger shown is empty`);
    for (const [counter, value] of Object.entries(printed.end))
      assert.equal(shown.get(counter) ?? 0, value - (printed.begin[counter] ?? 0), `${id}: ${counter}`);
    await page.close();
  }
});

test("main events leave out the others, and show what these changed", async () => {
  const { id, steps } = scenarios.find((each) => each.id === "fork-exec") ?? scenarios[0];
  const main = (step) => info.events[step.event]?.main ?? true;
  const wanted = steps.map((step, i) => i + 1).filter((n) => n === 1 || n === steps.length || main(steps[n - 1]));
  const page = await open(`#${id}/1/main`);
  await page.focus("#stage");
  const seen = [1];
  while (seen.at(-1) !== steps.length) {
    await page.keyboard.press("ArrowRight");
    seen.push(await stepShown(page));
    assert.ok(seen.at(-1) > seen.at(-2));
  }
  assert.deepEqual(seen, wanted);
  const last = await told(page);
  await page.selectOption("#detail", "all");
  assert.equal(await stepShown(page), steps.length);
  assert.equal((await told(page)).replaceAll(/ changed|, changed by this step/g, ""), last.replaceAll(/ changed|, changed by this step/g, ""));
  await page.close();
});

test("a write after fork parts one page of the two address spaces", async () => {
  const { id, steps } = scenarios.find((each) => each.id === "fork-write");
  const wrote = steps.findIndex((step) => step.event === "mark" && String(step.args.text).startsWith("child: buffer"));
  const later = steps.findIndex((step, i) => i > wrote && step.event === "mark");
  const page = await open(`#${id}/${wrote + 1}`);
  assert.equal(await page.locator("#picture-a .column.left .chip.writable.changed").count(), 0);
  await page.screenshot({ path: `${SHOTS}/fork-write-before.png` });
  await page.evaluate((place) => (location.hash = place), `#${id}/${later + 1}`);
  await page.waitForSelector(`html[data-step="${later + 1}"]`);
  assert.ok((await page.locator("#picture-a .card.anons").count()) > 0, "the pages not written to are drawn once, shared");
  assert.ok((await page.locator("#picture-a .column.right .chip.writable").count()) > 0, "the child's copy is writable");
  assert.ok((await page.locator("#picture-a .column.left .chip.protected").count()) > 0, "the parent's is still write-protected");
  await page.screenshot({ path: `${SHOTS}/fork-write-after.png` });
  await page.close();
});

test("a vfork parent is shown blocked, in words too, and lends its address space", async () => {
  const { id, steps } = scenarios.find((each) => each.id === "vfork-exec");
  const exec = steps.findIndex((step) => step.event === "mark" && step.args.text === "#exec");
  const page = await open(`#${id}/${exec + 1}`);
  assert.match(await page.locator(".proc.blocked .how").textContent(), /BLOCKED .* until \d+ lets go/);
  assert.match(await page.locator("#picture-a .ghost").textContent(), /One vmspace, two processes/);
  assert.equal(await page.locator("#picture-a section.vm").count(), 1, "one vmspace is drawn");
  assert.equal(await page.locator("path.link.waits").count(), 1);
  await page.screenshot({ path: `${SHOTS}/vfork-exec-blocked.png` });
  await page.close();
});

test("two scenarios are compared in step, with the difference of their ledgers", async () => {
  const page = await open("#fork-exec~vfork-exec/1");
  await page.focus("#stage");
  const phases = await page.locator("#phases button").allTextContents();
  assert.ok(phases.includes("exec"), `phases: ${phases}`);
  while (!(await page.locator("#step-a .step-title").textContent()).match(/^exec$/)) await page.keyboard.press("PageDown");
  assert.equal(await page.locator("#step-b .step-title").textContent(), "exec", "both are at the same phase");
  await page.screenshot({ path: `${SHOTS}/compare-exec.png` });
  await page.keyboard.press("End");
  await page.screenshot({ path: `${SHOTS}/compare-end.png` });
  const heads = await page.locator("#ledger thead th").allTextContents();
  assert.deepEqual(heads.slice(-1), ["difference"]);
  const rows = await page.evaluate(() => [...document.querySelectorAll("#ledger tbody tr")].map((row) => [...row.querySelectorAll("th, td span")].map((cell) => cell.textContent)));
  assert.ok(rows.length > 3);
  const number = (text) => Number(text.replaceAll(",", "").replace("−", "-").replace("=", "0"));
  for (const [counter, a, b, apart] of rows) assert.equal(number(b) - number(a), number(apart), counter);
  assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), "nothing is wider than a small laptop");
  await page.close();
});

test("the keyboard does everything", async () => {
  const page = await open(`#${scenarios[0].id}/3`);
  await page.focus("#stage");
  const press = async (key, step) => {
    await page.keyboard.press(key);
    assert.equal(await stepShown(page), step, key);
  };
  await press("ArrowRight", 4);
  await press("ArrowLeft", 3);
  await press("Home", 1);
  await press("ArrowLeft", 1);
  await page.keyboard.press("Space");
  assert.equal(await page.getAttribute("#play", "aria-pressed"), "true");
  await page.waitForSelector('html[data-step="2"]');
  await page.keyboard.press("Space");
  assert.equal(await page.getAttribute("#play", "aria-pressed"), "false");
  await page.focus("#slider");
  const at = await stepShown(page);
  await press("ArrowRight", at + 1);
  await page.keyboard.press("?");
  assert.ok(await page.locator("#help").evaluate((dialog) => dialog.open));
  await page.keyboard.press("Escape");
  assert.ok(await page.locator("#help").evaluate((dialog) => !dialog.open));
  const theme = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  await page.keyboard.press("t");
  assert.notEqual(await page.evaluate(() => getComputedStyle(document.body).backgroundColor), theme);
  await page.close();
});

test("a run of pages opens down to one PTE's bits, by the keyboard alone", async () => {
  const { id } = scenarios.find((each) => each.id === "fork-64m") ?? scenarios[0];
  const page = await open(`#${id}/1`);
  const chip = page.locator("#picture-a .column.left .chip.writable").last();
  await chip.focus();
  await page.keyboard.press("Enter");
  for (let depth = 0; depth < 8 && (await page.locator("#inspector .bits tr").count()) === 0; depth++) {
    await page.locator("#inspector .parts button").first().focus();
    await page.keyboard.press("Enter");
  }
  const bits = await page.locator("#inspector .bits tr").allTextContents();
  assert.ok(bits.some((bit) => /^0P1/.test(bit)), `bits: ${bits}`);
  assert.ok(bits.some((bit) => /^1R\/W1/.test(bit)), `bits: ${bits}`);
  assert.match(await page.locator("#inspector dl").textContent(), /level 4.*level 1/s);
  await page.screenshot({ path: `${SHOTS}/pte.png` });
  await page.keyboard.press("Escape");
  assert.ok(await page.locator("#inspector").isHidden());
  await page.close();
});

test("a screen reader hears each step, and nothing is without a name", async () => {
  const page = await open(`#${scenarios[0].id}/2`);
  const live = page.locator("#spoken");
  assert.equal(await live.getAttribute("aria-live"), "polite");
  const before = await live.textContent();
  await page.keyboard.press("ArrowRight");
  assert.notEqual(await live.textContent(), before);
  for (const colorScheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme });
    await page.evaluate(axe);
    const { violations } = await page.evaluate(() => axe.run(document, { runOnly: ["wcag2a", "wcag2aa"] }));
    assert.deepEqual(violations.map(({ id, nodes }) => `${colorScheme} ${id}: ${nodes[0].html.slice(0, 160)} ${nodes[0].failureSummary}`), []);
  }
  await page.close();
});

test("a screenshot of each scenario is kept, and it fits a small laptop", async () => {
  for (const { id, steps } of scenarios) {
    const page = await open(`#${id}/${Math.ceil(steps.length * 0.6)}`);
    assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth && document.documentElement.scrollHeight <= innerHeight), id);
    await page.screenshot({ path: `${SHOTS}/${id}.png` });
    await page.close();
  }
  const page = await open(`#${scenarios[0].id}/20`, { colorScheme: "dark" });
  await page.screenshot({ path: `${SHOTS}/dark.png` });
  await page.close();
});

test("it opens in a second and steps in 50 ms with 10,000 events", async () => {
  // Processor time of the page's own thread, so that a busy machine does not matter.
  const page = await browser.newPage({ viewport: LAPTOP, reducedMotion: "reduce" });
  const cdp = await page.context().newCDPSession(page);
  await cdp.send("Performance.enable", { timeDomain: "threadTicks" });
  const spent = async () => (await cdp.send("Performance.getMetrics")).metrics.find((each) => each.name === "TaskDuration").value * 1000;
  await page.goto(pathToFileURL(LONG).href);
  await page.waitForSelector("html[data-step]");
  const opening = await spent();
  const length = await page.evaluate(() => Number(document.getElementById("slider").max) + 1);
  assert.ok(length >= 10_000, `${length} steps`);
  const stepping = async (step, times) => {
    const start = await spent();
    for (let i = 0; i < times; i++) await page.evaluate(step);
    return ((await spent()) - start) / times;
  };
  const key = (name) => `document.body.dispatchEvent(new KeyboardEvent("keydown", { key: "${name}", bubbles: true })); document.body.getBoundingClientRect()`;
  const forward = await stepping(key("ArrowRight"), 50);
  const end = await stepping(key("End"), 1);
  const back = await stepping(key("ArrowLeft"), 50);
  console.log(`# opens in ${opening.toFixed(0)} ms, a step takes ${forward.toFixed(1)} ms, back ${back.toFixed(1)} ms, to the end of ${length} steps ${end.toFixed(0)} ms (processor time)`);
  assert.ok(opening < 1000, `opens in ${opening} ms`);
  assert.ok(forward < 50 && back < 50, `steps in ${forward} and ${back} ms`);
  await page.close();
});

test("no error was logged and nothing was requested", () => {
  assert.deepEqual(complaints, []);
  const page = fileURLToPath(pathToFileURL(PAGE));
  assert.deepEqual(requests.filter((url) => !(url.startsWith("file:") && url.split("#")[0] === pathToFileURL(page).href) && !url.startsWith("data:")), []);
});
