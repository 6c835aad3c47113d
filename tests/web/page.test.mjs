// The explorer's page in headless Chromium. PAGE: the page that real runs made; LONG: one whose only
// scenario has 10,000 steps; SHOTS: the folder that keeps a screenshot of each scenario.
//
// Opening a page costs more than all that a test does on it, so most tests share one, and go to their place
// by the URL's fragment as a reader who follows a link does.
import assert from "node:assert/strict";
import { mkdirSync, readFileSync, statSync } from "node:fs";
import { createRequire } from "node:module";
import { after, before, describe, test } from "node:test";
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
// `make test` looks at some scenarios alone where each costs seconds, `make test-web` at all.
const SOME = ["fork-write", "vfork-exec", "wrong-1b"];
const LAPTOP = { width: 1280, height: 720 };

const html = readFileSync(PAGE, "utf8");
const packed = (id, text = html) => {
  const found = new RegExp(`<script type="application/octet-stream" id="${id}">([^<]*)</script>`).exec(text);
  return JSON.parse(inflateSync(Buffer.from(found[1], "base64")).toString());
};
const info = packed("page-info");
const scenarios = info.scenarios.map((each) => ({ ...each, steps: packed(`scenario-${each.id}`) }));
const looked = scenarios.filter(({ id }) => !process.env.SPORK_CUT || SOME.includes(id));

let browser, shared;
const complaints = [];
const requests = [];

before(async () => {
  mkdirSync(SHOTS, { recursive: true });
  browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox"] });
  shared = await open();
});
after(async () => browser?.close());

/** A place with every event for a step, unless it says otherwise. */
const everyEvent = (place) => (/^#[^/]+\/\d+$/.test(place) ? `${place}/all` : place);

/** A new page at a place in the explorer, once it shows something; of a reader who has been there before. */
async function open(place = "", viewport = LAPTOP, more = {}) {
  const page = await browser.newPage({ viewport, reducedMotion: "reduce", ...more });
  await page.addInitScript(() => localStorage.setItem("spork-seen", "yes"));
  page.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("request", (request) => requests.push(request.url()));
  await page.goto(pathToFileURL(PAGE).href + everyEvent(place));
  await page.waitForSelector("html[data-place]");
  return page;
}

/** The shared page at a place, its keyboard focus in the picture; reached as by a link. */
async function at(place, page = shared) {
  await page.evaluate((hash) => {
    document.querySelector("#stage").focus();
    delete document.documentElement.dataset.place;
    if (location.hash === hash) dispatchEvent(new HashChangeEvent("hashchange"));
    else location.hash = hash;
  }, everyEvent(place));
  await page.waitForSelector("html[data-place]");
  return page;
}
const stepShown = (page) => page.evaluate(() => Number(document.documentElement.dataset.step));

/** The picture as text: everything it says, in order. Also a function of the page itself. */
const TOLD = `const told = () => [...document.querySelectorAll("#picture-a button, #picture-a p, #picture-a path.link")]
  .map((each) => [...each.classList].sort().join(" ") + "|" + (each.getAttribute("aria-label") ?? "") + "|" + each.textContent + "|" + (each.getAttribute("d") ?? "")).sort().join(" ; ");`;
const told = (page) => page.evaluate(`(() => { ${TOLD} return told(); })()`);

/**
 * Goes to the end by the arrow key, and back by it and by phases: what the picture does not say again, and the
 * steps at which it shows a page that two may write to.
 */
const THERE_AND_BACK = `(() => {
  ${TOLD}
  const press = (key, shiftKey = false) => document.querySelector("#stage").dispatchEvent(new KeyboardEvent("keydown", { key, shiftKey, bubbles: true }));
  const step = () => Number(document.documentElement.dataset.step);
  const last = Number(document.getElementById("slider").max) + 1;
  const wrong = [];
  const dangers = [];
  const seen = new Map([[1, told()]]);
  for (let n = 2; n <= last; n++) {
    press("ArrowRight");
    if (step() !== n) return { wrong: ["step " + step() + " instead of " + n], dangers };
    if (document.querySelector("#picture-a .chip.danger")) dangers.push(n);
    if (n % 8 === 0 || n > last - 12 || document.querySelector("#step-a .step-title.mark")) seen.set(n, told());
  }
  press("ArrowRight");
  if (step() !== last) wrong.push("beyond the end");
  const same = () => seen.has(step()) && seen.get(step()) !== told() && wrong.push("step " + step() + " looks different on the way back");
  for (let i = 0; i < 16; i++, same()) press("ArrowLeft");
  while (step() > 1) { press("ArrowLeft", true); same(); }
  press("End"); same();
  press("Home"); same();
  return { wrong, dangers };
})()`;

test("the file is one, and under 3 MB", () => {
  const size = statSync(PAGE).size;
  console.log(`# ${(size / 1e6).toFixed(3)} MB, ${scenarios.length} scenarios, ${scenarios.reduce((sum, each) => sum + each.steps.length, 0)} steps`);
  assert.ok(size < 3e6, `${size} bytes`);
  assert.doesNotMatch(html.replace(/<script type="application\/octet-stream"[\s\S]*?<\/script>/g, ""), /(src|href)="(?!#|data:)/);
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

test("an event shows its own counts", () => {
  const counted = {
    commit_charged: ["commit_charged", ({ pages }) => pages], commit_returned: ["commit_returned", ({ pages }) => pages],
    vmspace_forked: ["forks", () => 1], amap_created: ["amaps_made", () => 1],
    amap_destroyed: ["amaps_freed", () => 1], anon_created: ["anons_made", () => 1], map_entry_inherited: ["map_entries_copied", () => 1],
    page_table_made: ["ptps_made", () => 1], page_table_freed: ["ptps_freed", () => 1], pte_removed: ["ptes_removed", ({ entries }) => entries],
    fault_begin: ["faults", () => 1], fault_ahead: ["flt_ahead", ({ pages }) => pages],
  };
  const met = new Set();
  for (const { id, steps } of scenarios) {
    const sums = new Map();
    steps.forEach(({ event, pid, args, set }, i) => {
      const [counter, wanted] = counted[event] ?? [];
      const key = `ledger:${pid}:${counter}`;
      const before = sums.get(key) ?? 0;
      for (const [each, value] of Object.entries(set)) sums.set(each, value);
      if (!counter || i === 0) return;
      met.add(event);
      assert.equal((sums.get(key) ?? 0) - before, wanted(args), `${id}, step ${i + 1}, ${event}: ${counter}`);
    });
  }
  assert.deepEqual([...met].sort(), Object.keys(counted).sort());
});

describe("scenarios", { concurrency: 2 }, () => {
  for (const { id, steps, mistakes } of looked)
    test(`${id} steps to its end and back, and fits a small laptop`, async () => {
      const page = await open(`#${id}/1`);
      const { wrong, dangers } = await page.evaluate(THERE_AND_BACK);
      assert.deepEqual(wrong, []);
      // A page that two may write to, neither knowing of the other, is shown on a wrong kernel and on no other.
      assert.equal(dangers.length > 0, ["wrong-protect", "wrong-1b"].includes(id), `steps ${dangers}`);
      assert.equal(await page.locator("#mistakes").isVisible(), Boolean(mistakes));
      await at(`#${id}/${Math.ceil(steps.length * 0.6)}`, page);
      assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth && document.documentElement.scrollHeight <= innerHeight));
      assert.ok(await page.evaluate(() => document.querySelector("#stage").scrollWidth <= document.querySelector("#stage").clientWidth), "the picture is not wider than its place");
      await page.screenshot({ path: `${SHOTS}/${id}.png` });
      await page.close();
    });
});

test("a step looks the same from the URL as stepped to, and the URL tells it", async () => {
  const { id, steps } = scenarios.find((each) => each.id === "fork-write");
  const middle = Math.ceil(steps.length / 2);
  const page = await at(`#${id}/${middle}`);
  const picture = await told(page);
  await page.keyboard.press("ArrowRight");
  await page.keyboard.press("ArrowRight");
  await page.waitForFunction((hash) => location.hash === hash, `#${id}/${middle + 2}/all`);
  await page.keyboard.press("ArrowLeft");
  await page.keyboard.press("ArrowLeft");
  assert.equal(await told(page), picture);
});

test("the calls shown at the last step are those that the program read in /proc/PID/ledger", async () => {
  const printing = scenarios.filter((each) => !["exec", "cmd"].includes(each.id));
  for (const { id, printed, steps } of printing) {
    const { pid } = steps.findLast((step) => step.event === "end");
    const page = await at(`#${id}/${steps.length}`);
    const shown = await page.evaluate((owner) => [...document.querySelectorAll(`#calls [data-call^="a:call:${owner}:"]`)].map((call) => [
      call.querySelector("summary").textContent,
      Object.fromEntries([...call.querySelectorAll("dl div")].map((row) => [row.querySelector("dt").textContent, Number(row.querySelector("dd").textContent.replaceAll(",", ""))])),
    ]), pid);
    const later = (side, counts) => Object.entries(counts).map(([name, value]) => [`later, in the ${side}: ${name}`, value]);
    const said = printed.calls.map((call) => [
      `/proc/${pid}/ledger ${call.number}: ${call.kind} by ${call.name} ${call.pid}${call.child ? ` → ${call.child} (${call.mode})` : ""}`,
      Object.fromEntries([...Object.entries(call.counters), ...later("parent", call.later_parent), ...later("child", call.later_child)]),
    ]);
    assert.ok(said.some(([title]) => /: (fork|vfork|afork|clone) by/.test(title)), `${id}: ${JSON.stringify(said)}`);
    assert.deepEqual(shown, said, id);
  }
  const calls = scenarios.find((each) => each.id === "fork-write").printed.calls;
  assert.ok(calls.some((call) => call.later_child.write_copied > 0), "the child's write is laid to the fork");
});

test("the counters shown add up to what the programs read in /proc/uvmexp", async () => {
  const printing = scenarios.filter((each) => !["exec", "cmd"].includes(each.id));
  assert.ok(printing.length > 0);
  for (const { id, printed, steps } of printing) {
    assert.ok(printed.end?.faults > 0, `${id}: the program printed no counters`);
    // Beside itself, so that the columns are those of whole families.
    const page = await at(`#${id}~${id}/99999`);
    assert.match(await page.locator("#step-a .step-number").textContent(), new RegExp(`^Step ${steps.length} of ${steps.length}$`));
    const shown = new Map(await page.evaluate(() => [...document.querySelectorAll("#ledger tbody tr")].map((row) =>
      [row.querySelector("th").textContent, Number(row.querySelector("td span").textContent.replaceAll(",", ""))])));
    assert.ok(shown.size > 0, `${id}: the ledger shown is empty`);
    const others = new Map();
    for (const { set } of steps)
      for (const [key, value] of Object.entries(set)) if (key.startsWith("ledger:0:")) others.set(key.slice(9), value);
    for (const [counter, value] of Object.entries(printed.end))
      assert.equal((shown.get(counter) ?? 0) + (others.get(counter) ?? 0), value - (printed.begin[counter] ?? 0), `${id}: ${counter}`);
  }
});

test("main events leave out the others, and show what these changed", async () => {
  const { id, steps } = scenarios.find((each) => each.id === "fork-exec") ?? scenarios[0];
  const main = (step) => (info.events[step.event]?.main ?? true) && !(step.event === "fault_end" && step.args.result === "resolved");
  const wanted = steps.map((_, i) => i + 1).filter((n) => n === 1 || n === steps.length || main(steps[n - 1]));
  const page = await at(`#${id}/1/main`); // what is not /all is the main events
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
});

test("a write after fork parts one page of the two address spaces", async () => {
  const { id, steps } = scenarios.find((each) => each.id === "fork-write");
  const wrote = steps.findIndex((step) => step.event === "mark" && String(step.args.text).startsWith("child: buffer"));
  const later = steps.findIndex((step, i) => i > wrote && step.event === "mark");
  const [parent, child] = [steps[0].pid, steps[wrote].pid].map((pid) => `#picture-a .column[data-pid="${pid}"]`);
  const page = await at(`#${id}/${wrote + 1}`);
  assert.equal(await page.locator(`${parent} .chip.writable.changed`).count(), 0);
  await page.screenshot({ path: `${SHOTS}/fork-write-before.png` });
  await at(`#${id}/${later + 1}`);
  assert.ok((await page.locator("#picture-a .card.anons").count()) > 0, "the pages not written to are drawn once, shared");
  assert.ok((await page.locator(`${child} .chip.writable`).count()) > 0, "the child's copy is writable");
  assert.ok((await page.locator(`${parent} .chip.protected`).count()) > 0, "the parent's is still write-protected");
  await page.screenshot({ path: `${SHOTS}/fork-write-after.png` });
});

test("a vfork parent is shown blocked, in words too, and lends its address space", async () => {
  const { id, steps } = scenarios.find((each) => each.id === "vfork-exec");
  const exec = steps.findIndex((step) => step.event === "mark" && step.args.text === "#exec");
  const page = await at(`#${id}/${exec + 1}`);
  assert.match(await page.locator(".proc.blocked .how").textContent(), /BLOCKED .* until \d+ lets go/);
  assert.match(await page.locator("#picture-a .ghost").textContent(), /One vmspace, two processes/);
  assert.equal(await page.locator("#picture-a section.vm").count(), 1, "one vmspace is drawn");
  assert.equal(await page.locator("path.link.waits").count(), 1);
  await page.screenshot({ path: `${SHOTS}/vfork-exec-blocked.png` });
});

test("two scenarios are compared in step, with the difference of their ledgers", async () => {
  const page = await at("#fork-exec~vfork-exec/1");
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
});

test("the keyboard does everything", async () => {
  const page = await at("#fork-write/3");
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
  const played = await stepShown(page);
  await press("ArrowRight", played + 1);
  await page.keyboard.press("?");
  assert.ok(await page.locator("#help").evaluate((dialog) => dialog.open));
  await page.keyboard.press("Escape");
  assert.ok(await page.locator("#help").evaluate((dialog) => !dialog.open));
  const theme = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  await page.keyboard.press("t");
  assert.notEqual(await page.evaluate(() => getComputedStyle(document.body).backgroundColor), theme);
  await page.keyboard.press("t");
  assert.equal(await page.evaluate(() => getComputedStyle(document.body).backgroundColor), theme);
});

test("a run of pages opens down to one PTE's bits, by the keyboard alone", async () => {
  const { id } = scenarios.find((each) => each.id === "fork-64m") ?? scenarios[0];
  const page = await at(`#${id}/1`);
  const chip = page.locator("#picture-a .column").first().locator(".chip.writable", { hasText: "16,384" });
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
  const same = await page.locator("#picture-a .chip.same-page").allTextContents();
  assert.deepEqual(same, ["w d×16,384", "1 ref×16,384"], "the page's PTE and its anon are marked, and no others");
  await page.screenshot({ path: `${SHOTS}/pte.png` });
  await page.keyboard.press("Escape");
  assert.ok(await page.locator("#inspector").isHidden());
});

test("a screen reader hears each step, and nothing is without a name", async () => {
  const page = await at("#fork-write/2");
  const live = page.locator("#spoken");
  assert.equal(await live.getAttribute("aria-live"), "polite");
  const before = await live.textContent();
  await page.keyboard.press("ArrowRight");
  assert.notEqual(await live.textContent(), before);
  await page.evaluate(axe);
  const { id } = scenarios.find((each) => each.id === "pipeline");
  for (const [place, colorScheme] of [["#fork-write/60", "light"], ["#fork-exec~vfork-exec/40", "light"], [`#${id}/150`, "dark"]]) {
    await page.emulateMedia({ colorScheme });
    await at(place);
    const { violations } = await page.evaluate(() => axe.run(document, { runOnly: ["wcag2a", "wcag2aa"], resultTypes: ["violations"] }));
    assert.deepEqual(violations.map((each) => `${place} ${colorScheme} ${each.id}: ${each.nodes[0].html.slice(0, 160)} ${each.nodes[0].failureSummary}`), []);
  }
  await page.screenshot({ path: `${SHOTS}/dark.png` });
  await page.emulateMedia({ colorScheme: "light" });
});

test("three processes stand side by side, what they share is drawn once, and a column folds to a strip", async () => {
  const { id, steps } = scenarios.find((each) => each.id === "pipeline");
  const all = steps.findIndex((step) => step.event === "mark" && String(step.args.text).startsWith("consumer:"));
  const page = await at(`#${id}/${all + 1}`);
  const pids = await page.locator("#picture-a .column").evaluateAll((columns) => columns.map((column) => Number(column.dataset.pid)));
  assert.equal(pids.length, 3);
  assert.equal(await page.locator("#picture-a section.vm").count(), 3);
  // An anon that all three reference, with a line from each of their amaps, or from the amap that two have.
  const lines = await page.evaluate(() => [...document.querySelectorAll("#picture-a section.card")]
    .map((card) => ({ key: card.dataset.key, text: card.textContent })).filter(({ text }) => text.includes("3 refs")));
  assert.ok(lines.length > 0, "anons of three amaps");
  const linked = await page.evaluate(() => {
    const { __data__: shapes } = { __data__: [...document.querySelectorAll("#picture-a path.link")].map((path) => path.__data__.link) };
    return Object.fromEntries([...document.querySelectorAll("#picture-a section.card.anons")].map((card) =>
      [card.dataset.key, shapes.filter((link) => link.to === card.dataset.key).length]));
  });
  assert.ok(Object.values(linked).some((lines) => lines >= 3), JSON.stringify(linked));
  assert.ok(Object.values(linked).every((lines) => lines >= 2), JSON.stringify(linked));
  await page.screenshot({ path: `${SHOTS}/three-processes.png` });
  const fold = page.locator("#picture-a button.size").nth(1);
  await fold.focus();
  await page.keyboard.press("Enter");
  assert.equal(await page.locator(`#picture-a .column.narrow[data-pid="${pids[1]}"]`).count(), 1);
  // The picture is as large as the page has room for.
  const widths = await page.locator("#picture-a .column").evaluateAll((columns) => columns.map((column) => column.clientWidth));
  assert.ok(widths[1] < widths[0] * 0.65 && widths[1] < widths[2] * 0.65, String(widths));
  assert.ok(await page.evaluate(() => [...document.querySelectorAll("#picture-a path.link")].some((path) => document.querySelector(`#picture-a .column.narrow [data-key="${path.__data__.link.from}"]`))), "lines lead to the strip");
  await page.screenshot({ path: `${SHOTS}/three-processes-folded.png` });
  assert.equal(await fold.getAttribute("aria-expanded"), "false");
  await page.keyboard.press("Enter");
  assert.equal(await page.locator("#picture-a .column.narrow").count(), 0);
});

// ---- For one who sees it first ----

const LECTURE = { width: 1920, height: 1080 };
const DESK = { width: 1366, height: 768 };
const PHONE = { width: 390, height: 844 };

test("the first visit begins with an introduction, and a button brings it back", async () => {
  const context = await browser.newContext({ viewport: DESK });
  const page = await context.newPage();
  await page.goto(pathToFileURL(PAGE).href);
  await page.waitForSelector("#intro[open]");
  const said = await page.locator("#intro").textContent();
  for (const word of ["vmspace", "entry", "amap", "anon", "object", "solid", "dotted", "a198"]) assert.match(said.toLowerCase(), new RegExp(word));
  assert.ok(said.split(/\s+/).length < 260, "it is read in a minute");
  await page.keyboard.press("Enter");
  assert.ok(await page.locator("#intro").evaluate((dialog) => !dialog.open));
  await page.reload();
  await page.waitForSelector("html[data-place]");
  assert.ok(await page.locator("#intro").evaluate((dialog) => !dialog.open), "not at the second visit");
  assert.match(await page.getAttribute("html", "data-place"), /^#[^/]+\/1$/, "the main events are the steps");
  assert.equal(await page.inputValue("#detail"), "main");
  await page.click("#intro-button");
  assert.ok(await page.locator("#intro").evaluate((dialog) => dialog.open));
  await context.close();
});

test("a vfork child's first step says whose address space it runs in, and a fork child's", async () => {
  for (const [id, says] of [["vfork-exec", /runs in the address space of vfork_exec \d+, its parent \(vmspace [0-9a-f]{4}\)/], ["fork-exec", /runs in an address space of its own \(vmspace/]]) {
    const { steps } = scenarios.find((each) => each.id === id);
    const page = await at(`#${id}/${steps.findIndex((step) => step.event === "fork_child_runs") + 1}`);
    assert.match(await page.locator("#step-a .step-sentence").textContent(), says);
  }
});

test("the state of an entry is private, shared with N (needs copy), or a shared mapping", async () => {
  const seen = new Set();
  for (const { id, steps } of scenarios.filter((each) => ["fork-write", "pipeline", "map-shared", "exec"].includes(each.id)))
    for (const part of [0.2, 0.4, 0.6, 0.8]) {
      const page = await at(`#${id}/${Math.ceil(steps.length * part)}`);
      for (const text of await page.locator("#picture-a .badge").allTextContents()) seen.add(text);
    }
  assert.deepEqual([...seen].filter((text) => !/^(private|shared with \d+ \(needs copy\)|shared mapping|wired|fork: (share|none|zero))$/.test(text)), []);
  for (const word of ["private", "shared with 1 (needs copy)", "shared with 2 (needs copy)", "shared mapping"]) assert.ok(seen.has(word), `${word} of ${[...seen]}`);
});

test("the source shows the line that acts, not the EVENT that tells of it, and all of it", async () => {
  const sources = Object.entries(info.events).flatMap(([name, event]) =>
    [...event.sources, ...Object.values(event.cases?.values ?? {}).flatMap((each) => each.sources)].map((source) => ({ name, ...source })));
  for (const { name, file, line, last, text } of sources) {
    const here = text.filter(([n]) => n >= line && n <= last).map(([, each]) => each);
    assert.ok(here.length > 0 && /[;{]/.test(here.join("")), `${name}: ${file}:${line}: ${here}`);
    assert.ok(text.every(([, each]) => !/\b(EVENT|TRACE)\(/.test(each)), `${name}: ${file}:${line}`);
  }
  const page = await open("#fork-write/1", DESK);
  const { steps } = scenarios.find((each) => each.id === "fork-write");
  for (let step = 1; step < steps.length; step += 7) {
    await at(`#fork-write/${step}`, page);
    const cut = await page.evaluate(() => [...document.querySelectorAll("#source code, #source pre")].filter((each) => each.scrollWidth > each.clientWidth + 1).map((each) => each.textContent));
    assert.deepEqual(cut, []);
  }
  await page.close();
});

/** Of what a reader reads: what is cut off, and what lies over another. Also a function of the page itself. */
const CUT = `(() => {
  const shown = (each) => each.getClientRects().length > 0;
  const texts = [...document.querySelectorAll("#picture-a .badge, #picture-a .column:not(.narrow) .name, #picture-a .card-head, #picture-a .head:not(.narrow) .who, #picture-a .head:not(.narrow) .how, #picture-a .column:not(.narrow) .place, #picture-a .chip, text.waits, .about, #phases button, .step-title, .step-sentence")].filter(shown);
  const wrong = texts.filter((each) => each.scrollWidth > each.clientWidth + 1 && getComputedStyle(each).display !== "inline").map((each) => "cut: " + each.textContent);
  for (const box of document.querySelectorAll("#picture-a .vm, #picture-a .card")) if (box.scrollWidth > box.clientWidth + 1) wrong.push("beyond its box: " + box.textContent.slice(0, 40));
  const rects = texts.map((each) => each.getBoundingClientRect());
  for (let i = 0; i < texts.length; i++)
    for (let k = i + 1; k < texts.length; k++) {
      const [a, b] = [rects[i], rects[k]];
      if (texts[i].contains(texts[k]) || texts[k].contains(texts[i])) continue;
      if (Math.min(a.right, b.right) - Math.max(a.left, b.left) > 2 && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 3 && texts[i].closest(".vm, .card, .head, .phases, aside, .view") === texts[k].closest(".vm, .card, .head, .phases, aside, .view"))
        wrong.push(texts[i].textContent + " lies over " + texts[k].textContent);
    }
  return wrong;
})()`;

for (const [name, viewport, projector] of [["1366", DESK, false], ["1920", LECTURE, false], ["the projector", LECTURE, true]])
  test(`no word is cut off or lies over another at ${name}, and each tick has its name`, async () => {
    const page = await open("#fork-write/1", viewport);
    if (projector) await page.click("#projector");
    for (const { id, steps } of looked)
      for (const [part, detail] of [[0.4, ""], [0.8, "/all"]]) {
        await at(`#${id}/${Math.ceil(steps.length * part)}${detail || "/main"}`, page);
        assert.deepEqual(await page.evaluate(CUT), [], `${id} at ${part}`);
        const phases = await page.evaluate(() => [...document.querySelectorAll("#phases button")].map((each, _, all) => {
          const [box, track] = [each.getBoundingClientRect(), document.getElementById("phases").getBoundingClientRect()];
          const tick = each.classList.contains("late") ? box.right : box.left; // it comes down from the name
          const under = all.map((other) => other.getBoundingClientRect()).filter((other) => other.top > box.top + 1);
          return {
            text: each.textContent, inside: box.left >= track.left - 1 && box.right <= track.right + 1 && box.top >= track.top - 1,
            crosses: under.some((other) => other.left + 1 < tick && tick < other.right - 1),
          };
        }));
        assert.equal(phases.length, steps.filter((step) => step.event === "mark" && String(step.args.text).startsWith("#")).length);
        assert.ok(phases.every(({ text, inside, crosses }) => text && inside && !crosses), `${id}: ${JSON.stringify(phases)}`);
      }
    await page.close();
  });

test("in projector mode nothing is smaller than 20 px, and the screen is full", async () => {
  const page = await open("#fork-write/100", LECTURE);
  const smallest = () => page.evaluate(() => Math.min(...[...document.querySelectorAll("body *")]
    .filter((each) => each.getClientRects().length > 0 && !each.closest(".only-read, .skip, label, svg") && [...each.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim()))
    .map((each) => Number.parseFloat(getComputedStyle(each).fontSize))));
  assert.ok((await smallest()) < 20);
  await page.keyboard.press("p");
  for (const place of ["#fork-write/100/main", "#pipeline/200/main", "#fork-exec~vfork-exec/40/main", "#wrong-1b/120/main"]) {
    await at(place, page);
    assert.ok((await smallest()) >= 20, `${place}: ${await smallest()} px`);
    assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth && document.documentElement.scrollHeight <= innerHeight));
  }
  for (const step of [30, 91, 114]) { // the statement that acts is in sight, too
    await at(`#fork-write/${step}/main`, page);
    const [here, box] = await page.evaluate(() => ["#source code.here", "#source-box"].map((each) => document.querySelector(each).getBoundingClientRect().toJSON()));
    assert.ok(here.top >= box.top && here.top + 24 <= box.bottom, `step ${step}: ${JSON.stringify([here, box])}`);
  }
  await at("#fork-write/100/main", page);
  const used = await page.evaluate(() => {
    const [stage, picture] = ["stage", "picture-a"].map((id) => document.getElementById(id).getBoundingClientRect());
    return { width: picture.width / innerWidth, height: (picture.bottom - stage.top) / stage.height };
  });
  assert.ok(used.width > 0.95 && used.height > 0.7, JSON.stringify(used));
  await page.keyboard.press("p");
  assert.ok((await smallest()) < 20);
  await page.close();
});

test("type grows with the room there is, and by the reader's wish", async () => {
  const size = (page, what) => page.locator(what).first().evaluate((each) => Number.parseFloat(getComputedStyle(each).fontSize));
  const page = await open("#fork-write/100", DESK);
  const badge = await size(page, "#picture-a .badge");
  assert.ok(badge > 11, `${badge} px: half of the picture's place is empty`);
  const large = await open("#fork-write/100", LECTURE);
  assert.ok((await size(large, "#picture-a .badge")) > badge * 1.3);
  await large.close();
  const [text, before] = [await size(page, ".step-sentence"), await size(page, "#picture-a .badge")];
  await page.click("#larger");
  await page.keyboard.press("+");
  assert.ok((await size(page, ".step-sentence")) > text * 1.2 && (await size(page, "#picture-a .badge")) > before * 1.2);
  await page.keyboard.press("0");
  assert.equal(await size(page, ".step-sentence"), text);
  await page.close();
});

test("on a phone both processes and the explanation are in reach", async () => {
  const page = await open("#fork-write/100", PHONE);
  assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), "nothing is wider than the phone");
  for (const what of ["#picture-a .column >> nth=0", "#picture-a .column >> nth=1", "#step-a .step-sentence", "#source figcaption >> nth=0"]) {
    await page.locator(what).evaluate((each) => each.scrollIntoView({ block: "center" }));
    const box = await page.locator(what).boundingBox();
    assert.ok(box.x >= 0 && box.x + box.width <= PHONE.width + 1 && box.y + box.height > 0 && box.y < PHONE.height, `${what}: ${JSON.stringify(box)}`);
    const top = await page.evaluate(({ x, y }) => Boolean(document.elementFromPoint(x, y)?.closest("main")), { x: box.x + 8, y: Math.max(box.y, 0) + Math.min(box.height, 200) / 2 });
    assert.ok(top, `${what} is covered`);
  }
  await page.close();
});

test("what goes wrong on wrong kernels is seen: the other's store, and the parent that sleeps on", async () => {
  const said = (id) => scenarios.find((each) => each.id === id).steps.filter((step) => step.event === "mark").map((step) => step.args.text).filter((text) => text.includes("finds")).join("; ");
  assert.match(said("overwrite"), /child: finds 1 in .*parent: finds 1 in/);
  assert.match(said("wrong-protect"), /child: finds 'p' .*parent's store!.*parent: finds 1 in/);
  assert.match(said("wrong-1b"), /child: finds 'p' .*parent's store!.*parent: finds 'c' .*child's store!/);
  const { steps } = scenarios.find((each) => each.id === "wrong-wake");
  const page = await at(`#wrong-wake/${steps.findIndex((step) => step.event === "exec_done") + 1}`);
  assert.match(await page.locator("#picture-a .proc.blocked .how").textContent(), /BLOCKED in vfork/);
  assert.equal(await page.locator("#picture-a section.vm").count(), 2, "the child has an address space of its own by then");
  assert.match(await page.locator("#mistakes").textContent(), /exec forgets that a parent may wait.*vfork_release\(self\);/s);
  assert.ok(await page.locator("#right-kernel").evaluate((link) => link.hash === "#wrong-wake~vfork-exec/1"));
});

test("it opens in three seconds and steps in 50 ms with 10,000 events", async () => {
  // Processor time of the page's own thread, so that a busy machine does not matter.
  const page = await browser.newPage({ viewport: LAPTOP, reducedMotion: "reduce" });
  const cdp = await page.context().newCDPSession(page);
  await cdp.send("Performance.enable", { timeDomain: "threadTicks" });
  const spent = async () => (await cdp.send("Performance.getMetrics")).metrics.find((each) => each.name === "TaskDuration").value * 1000;
  await page.addInitScript(() => localStorage.setItem("spork-seen", "yes"));
  await page.goto(`${pathToFileURL(LONG).href}#fork-64m/1/all`);
  await page.waitForSelector("html[data-step]");
  const opening = await spent();
  const length = await page.evaluate(() => Number(document.getElementById("slider").max) + 1);
  assert.ok(length >= 10_000, `${length} steps`);
  const stepping = async (step, times) => {
    const start = await spent();
    await page.evaluate(`for (let i = 0; i < ${times}; i++) { ${step} }`);
    return ((await spent()) - start) / times;
  };
  const key = (name) => `document.body.dispatchEvent(new KeyboardEvent("keydown", { key: "${name}", bubbles: true })); document.body.getBoundingClientRect()`;
  const forward = await stepping(key("ArrowRight"), 50);
  const end = await stepping(key("End"), 1);
  const back = await stepping(key("ArrowLeft"), 50);
  console.log(`# opens in ${opening.toFixed(0)} ms, a step takes ${forward.toFixed(1)} ms, back ${back.toFixed(1)} ms, to the end of ${length} steps ${end.toFixed(0)} ms (processor time)`);
  assert.ok(opening < 3000, `opens in ${opening} ms`);
  assert.ok(forward < 50 && back < 50, `steps in ${forward} and ${back} ms`);
});

test("no error was logged and nothing was requested", () => {
  assert.deepEqual(complaints, []);
  const page = fileURLToPath(pathToFileURL(PAGE));
  assert.deepEqual(requests.filter((url) => !(url.startsWith("file:") && url.split("#")[0] === pathToFileURL(page).href) && !url.startsWith("data:")), []);
});
