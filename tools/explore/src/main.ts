// The page: which scenario, which step, and what the reader does.
import { select } from "d3-selection";
import { align } from "./align.js";
import { loadPage, loadScenario, type PageInfo } from "./data.js";
import { inspect } from "./inspect.js";
import { drawCalls, drawLedger, drawMistakes, drawSource, drawStep, explain, FamilyLedger, ledgerColumn, spoken } from "./panel.js";
import { Picture, type PictureEvents } from "./picture.js";
import { makeScene, type Scene, type Target, type View } from "./scene.js";
import { Timeline } from "./timeline.js";

/** One scenario on the page, and how the reader looks at it. */
class Shown {
  readonly picture: Picture;
  readonly family: FamilyLedger;
  readonly view: View = { narrow: new Map(), folds: new Map(), open: new Set(), most: 3 };
  scene: Scene | null = null;

  constructor(readonly line: Timeline, readonly element: HTMLElement, events: PictureEvents) {
    this.picture = new Picture(element, events);
    this.family = new FamilyLedger(line);
  }
}

function get<T extends HTMLElement>(id: string): T {
  return document.getElementById(id) as T;
}

const PHONE = 700; // pixels, as in style.css
const SIZES = [3, 2.7, 2.4, 2.1, 1.9, 1.7, 1.5, 1.35, 1.2, 1.1, 1]; // of the picture's type

/** What the reader has chosen for good. A page opened from a file may have no storage: then it lasts as long as the page. */
const kept = {
  get(name: string): string | null {
    try {
      return localStorage.getItem(`spork-${name}`);
    } catch {
      return null;
    }
  },
  set(name: string, value: string): boolean {
    try {
      localStorage.setItem(`spork-${name}`, value);
      return true;
    } catch {
      return false;
    }
  },
};

class App {
  private first!: Shown;
  private second: Shown | null = null;
  private all: [number, number][] = []; // every step of both
  private pairs: [number, number][] = []; // those that are shown
  private main = true;
  private zoom = 1; // what the reader makes of the size that fits
  private at = 0;
  private playing: number | undefined;
  private told = ""; // the fragment as it was seen or written last
  private telling: number | undefined; // the URL is to be changed soon
  private looks: { shown: Shown; target: Target }[] = [];
  private loading = 0;
  private drawn = "";

  constructor(private readonly info: PageInfo) {
    this.fillMenus();
    this.listen();
  }

  // ---- Where we are, and the URL ----

  /** #SCENARIO/STEP or #SCENARIO~OTHER/STEP, steps from 1; the main events, or with /all behind it every one. */
  private parse(): { id: string; other: string | null; step: number; main: boolean } {
    const [names = "", step = "1", detail = ""] = decodeURIComponent(location.hash.slice(1)).split("/");
    const [id = "", other = ""] = names.split("~");
    const known = (name: string): boolean => this.info.scenarios.some((each) => each.id === name);
    return { id: known(id) ? id : this.info.scenarios[0]!.id, other: known(other) ? other : null, step: Number.parseInt(step, 10) || 1, main: detail !== "all" };
  }

  async followUrl(): Promise<void> {
    window.clearTimeout(this.telling);
    this.telling = undefined;
    this.told = location.hash;
    const { id, other, step, main } = this.parse();
    this.main = main;
    const same = this.first && this.first.line.scenario.id === id && (this.second?.line.scenario.id ?? null) === other;
    if (same) {
      this.choosePairs();
      this.goTo(step - 1);
    }
    else await this.open(id, other, step - 1);
  }

  async open(id: string, other: string | null, step: number): Promise<void> {
    const turn = ++this.loading;
    const find = (name: string) => this.info.scenarios.find((each) => each.id === name)!;
    const [a, b] = await Promise.all([loadScenario(find(id)), other ? loadScenario(find(other)) : null]);
    if (turn !== this.loading) return; // the reader has chosen again meanwhile
    this.pause();
    document.body.classList.toggle("comparing", b !== null);
    this.looks = [];
    this.first = this.show("a", new Timeline(a));
    this.second = b ? this.show("b", new Timeline(b)) : null;
    get("view-b").hidden = get("step-b").hidden = !b;
    for (const [letter, shown] of [["a", this.first], ["b", this.second]] as const) {
      if (!shown) continue;
      shown.view.most = b || innerWidth <= PHONE ? 2 : 3;
      const about = get(`view-${letter}`).querySelector<HTMLElement>(".about")!;
      const title = document.createElement("b");
      title.textContent = shown.line.scenario.title;
      about.replaceChildren(title, b ? "" : ` ${shown.line.scenario.about}`);
      about.title = shown.line.scenario.about;
    }
    this.all = b ? align(this.first.line, this.second!.line) : this.first.line.scenario.steps.map((_, i) => [i, 0]);
    get<HTMLSelectElement>("scenario").value = id;
    get<HTMLSelectElement>("against").value = other ?? "";
    drawMistakes(b?.mistakes && !a.mistakes ? this.second!.line : this.first.line, get("mistakes"));
    const right = get<HTMLAnchorElement>("right-kernel");
    right.hidden = b !== null || !a.against;
    right.href = `#${id}~${a.against}/1`;
    this.choosePairs();
    this.goTo(step);
    this.fit();
  }

  // ---- The size of type ----

  /**
   * As large as the picture may be without scrolling, at those steps that need most room. Not at each step
   * anew: what is looked at would jump.
   */
  private fit(): void {
    const stage = get("stage");
    const shown = [this.first, ...(this.second ? [this.second] : [])];
    const phone = innerWidth <= PHONE;
    const least = document.documentElement.classList.contains("projector") ? 20 / 11 : 0;
    const size = (picture: number): void => {
      const z = picture * this.zoom;
      document.documentElement.style.setProperty("--picture", String(z));
      for (const each of shown) each.picture.scale = Math.max(z, least) * (phone ? 0.8 : 1);
    };
    const zoom = this.zoom;
    const wish = (by: number): void => {
      this.zoom = by;
      document.documentElement.style.setProperty("--zoom", String(by));
    };
    wish(1);
    size(1);
    const at = this.at;
    if (!phone) {
      const fits = (step: number): boolean => {
        this.visit(step);
        return stage.scrollHeight <= stage.clientHeight && shown.every(({ picture }) => picture.fits());
      };
      // Step by step, each on from the size that the one before needs, and backwards as the steps lie: a way
      // through a long run costs more than a picture.
      let found: number | undefined = SIZES[0];
      for (const step of this.tallest()) {
        found = SIZES.slice(SIZES.indexOf(found!)).find((each) => {
          size(each);
          return fits(step);
        });
        if (found === undefined) break;
      }
      wish(zoom);
      size(found ?? 1);
    } else {
      wish(zoom);
      size(1);
    }
    this.visit(at);
    this.drawPhases();
  }

  /** The steps that need most height, as far as can be told without drawing: a few, from all over the run. */
  private tallest(): number[] {
    const many = Math.min(this.pairs.length, 24);
    const rough = ({ columns, cards }: Scene): number => Math.max(
      ...columns.map((column) => [column.vm, column.making].reduce((sum, vm) => sum + (vm ? 2 : 0) + (vm?.rows ?? [])
        .reduce((rows, row) => rows + 2 + row.chips.length / 4 + row.badges.reduce((size, badge) => size + badge.text.length / 20, 0), 0), column.borrowedFrom ? 3 : 0)),
      ...columns.flatMap((_, gap) => [0, 1, 2].map((lane) => cards.filter((card) => card.gap === gap && card.lane === lane)
        .reduce((sum, card) => sum + 2 + card.chips.length / 3, 0))));
    const seen = Array.from({ length: many }, (_, i) => {
      const step = Math.round((i * (this.pairs.length - 1)) / Math.max(1, many - 1));
      const [a, b] = this.pairs[step]!;
      this.first.line.go(a);
      this.second?.line.go(b);
      return { step, height: Math.max(...[this.first, this.second].map((shown) => (shown ? rough(makeScene(shown.line, shown.view)) : 0))) };
    });
    return seen.sort((a, b) => b.height - a.height).slice(0, 3).map(({ step }) => step).sort((a, b) => b - a);
  }

  private visit(step: number): void {
    this.at = -1;
    this.go(step);
  }

  private changeZoom(by: number): void {
    this.zoom = by === 0 ? 1 : Math.max(0.7, Math.min(3, this.zoom * by));
    this.fit();
  }

  private changeProjector(): void {
    const on = document.documentElement.classList.toggle("projector");
    get("projector").setAttribute("aria-pressed", String(on));
    this.fit();
  }

  /** The steps to show, and with them the slider. */
  private choosePairs(): void {
    const isMain = (line: Timeline, step: number): boolean => explain(this.info, line.scenario.steps[step]!).main;
    this.pairs = !this.main ? this.all : this.all.filter(([a, b], i) => i === 0 || i === this.all.length - 1 ||
      isMain(this.first.line, a) || (this.second !== null && isMain(this.second.line, b)));
    get<HTMLSelectElement>("detail").value = this.main ? "main" : "all";
    get<HTMLInputElement>("slider").max = String(this.pairs.length - 1);
    this.drawPhases();
    this.at = -1;
  }

  /** Where a pair is among all. */
  private number(pair: [number, number]): number {
    return this.main ? this.all.indexOf(pair) : this.at;
  }

  /** Goes to a step of all; to the next one that is shown. */
  private goTo(step: number): void {
    if (!this.main) {
      this.go(step);
      return;
    }
    const found = this.pairs.findIndex((pair) => this.all.indexOf(pair) >= step);
    this.go(found < 0 ? this.pairs.length - 1 : found);
  }

  private show(letter: string, line: Timeline): Shown {
    const element = get(`picture-${letter}`);
    element.replaceChildren();
    const shown: Shown = new Shown(line, element, {
      look: (target) => {
        this.looks.push({ shown, target });
        this.draw();
        get("inspector").scrollIntoView({ block: "nearest" });
      },
      fold: (region, folded) => {
        shown.view.folds.set(region, folded);
        this.draw();
      },
      open: (row) => {
        const key = row.replace(/:more$/, "");
        if (!shown.view.open.delete(key)) shown.view.open.add(key);
        this.draw();
      },
      narrow: (pid, narrow) => {
        shown.view.narrow.set(pid, narrow);
        this.draw();
      },
    });
    return shown;
  }

  go(step: number): void {
    const to = Math.max(0, Math.min(this.pairs.length - 1, step));
    if (to === this.at) return;
    this.at = to;
    const [a, b] = this.pairs[to]!;
    const [beforeA, beforeB] = this.pairs[to - 1] ?? [-1, -1];
    this.first.line.go(a, beforeA);
    this.second?.line.go(b, beforeB);
    this.tellUrl();
    if (to === this.pairs.length - 1) this.pause();
    this.draw();
  }

  /** The fragment for what is shown. */
  private place(): string {
    const names = this.first.line.scenario.id + (this.second ? `~${this.second.line.scenario.id}` : "");
    return `#${names}/${this.number(this.pairs[this.at]!) + 1}${this.main ? "" : "/all"}`;
  }

  /** Not at each of many quick steps: browsers refuse more than a few changes of the URL a second. */
  private tellUrl(): void {
    this.telling ??= window.setTimeout(() => {
      this.telling = undefined;
      if (location.hash !== this.told) return; // the reader has changed it, and an event will say so
      this.told = this.place();
      history.replaceState(null, "", this.told);
    }, 150);
  }

  private phaseSteps(): { step: number; name: string }[] {
    const found = this.first.line.phases.map(({ step, name }) => ({ step: this.pairs.findIndex(([a]) => a >= step), name }));
    return found.filter(({ step }) => step >= 0);
  }

  private goPhase(by: 1 | -1): void {
    const steps = this.phaseSteps().map((phase) => phase.step);
    if (by > 0) this.go(steps.find((step) => step > this.at) ?? this.pairs.length - 1);
    else this.go(steps.reverse().find((step) => step < this.at) ?? 0);
  }

  private play(): void {
    if (this.at === this.pairs.length - 1) this.go(0);
    const tick = (): void => {
      this.go(this.at + 1);
      if (this.playing !== undefined) this.playing = window.setTimeout(tick, Number(get<HTMLSelectElement>("speed").value));
    };
    this.playing = window.setTimeout(tick, 150);
    this.showPlaying();
  }
  private pause(): void {
    window.clearTimeout(this.playing);
    this.playing = undefined;
    this.showPlaying();
  }
  private showPlaying(): void {
    const button = get("play");
    const on = this.playing !== undefined;
    button.textContent = on ? "▮▮ Pause" : "▶ Play";
    button.setAttribute("aria-pressed", String(on));
    button.setAttribute("aria-label", on ? "pause" : "play");
  }

  // ---- Drawing ----

  draw(): void {
    for (const shown of [this.first, this.second]) {
      if (!shown) continue;
      shown.scene = makeScene(shown.line, shown.view);
      shown.picture.draw(shown.scene, shown.line);
    }
    drawStep(this.info, this.first.line, get("step-a"));
    if (this.second) drawStep(this.info, this.second.line, get("step-b"));
    this.drawLedgers();
    drawCalls([this.first.line, ...(this.second ? [this.second.line] : [])], get("calls"));
    drawSource(this.info, this.first.line, get("source"));
    if (document.documentElement.classList.contains("projector")) this.showActing();
    this.drawEvents();
    this.drawInspector();
    get<HTMLInputElement>("slider").value = String(this.at);
    get<HTMLInputElement>("slider").setAttribute("aria-valuetext", `step ${this.at + 1}, ${explain(this.info, this.first.line.step).title}`);
    get("position").textContent = `${this.at + 1} / ${this.pairs.length}`;
    const step = this.place();
    if (step !== this.drawn) get("spoken").textContent = spoken(this.info, this.first.line) + (this.second ? ` Beside it: ${spoken(this.info, this.second.line)}` : "");
    this.drawn = step;
    document.documentElement.dataset["place"] = step;
    document.documentElement.dataset["step"] = String(this.number(this.pairs[this.at]!) + 1); // what a test waits for
  }

  /** In projector mode the source has little height: the statement that acts is to be seen. */
  private showActing(): void {
    const box = get("source-box");
    const here = box.querySelector<HTMLElement>("code.here");
    if (here) box.scrollTop += here.getBoundingClientRect().top - box.getBoundingClientRect().top - box.clientHeight / 3;
  }

  private drawLedgers(): void {
    const table = get("ledger");
    if (this.second) {
      drawLedger([this.first.family.column(this.first.line.scenario.title), this.second.family.column(this.second.line.scenario.title)], table, true);
      return;
    }
    const procs = this.first.scene!.columns.filter((column) => !column.narrow).map((column) => column.proc).filter((proc) => proc !== null);
    drawLedger(procs.map((proc) => ledgerColumn(this.first.line, proc.pid, `${proc.name} ${proc.pid}`)), table, false);
  }

  /** A tick for each phase, with its name, in as many rows as the names need. */
  private drawPhases(): void {
    const last = Math.max(1, this.pairs.length - 1);
    const phases = this.phaseSteps();
    const box = get("phases");
    const nodes = select(box).selectAll<HTMLElement, { step: number; name: string }>("button").data(phases).join("button")
      .attr("type", "button").attr("tabindex", "-1").attr("class", null).attr("aria-label", (phase) => `go to: ${phase.name}`)
      .text((phase) => phase.name).on("click", (_, phase) => this.go(phase.step)).nodes();
    const width = box.clientWidth;
    const rows: number[] = []; // where each row's names begin, from the right: the ticks of those above come down there
    const height = nodes[0]?.offsetHeight ?? 16;
    const places = nodes.map((node, i) => {
      const tick = (width * phases[i]!.step) / last;
      const late = tick + node.offsetWidth > width;
      return { node, left: late ? Math.max(0, tick - node.offsetWidth) : tick, late, row: 0 };
    });
    for (const place of [...places].reverse()) {
      const right = place.left + place.node.offsetWidth + 4;
      const free = rows.findIndex((_, row) => rows.slice(row).every((begin) => right <= begin));
      place.row = free < 0 ? rows.length : free;
      rows[place.row] = place.left;
    }
    for (const { node, left, late, row } of places) {
      node.classList.toggle("late", late);
      node.style.left = `${(100 * (late ? left + node.offsetWidth : left)) / width}%`;
      node.style.bottom = `${row * height}px`;
      node.style.setProperty("--down", `${row * height}px`);
    }
    box.style.height = `${Math.max(1, rows.length) * height}px`;
  }

  private drawEvents(): void {
    if (!get<HTMLDetailsElement>("events-box").open) return;
    const line = this.first.line;
    const from = Math.max(0, line.index - 4);
    const around = line.scenario.steps.slice(from, from + 12).map((step, i) => ({ step, index: from + i }));
    select(get("events")).selectAll<HTMLElement, (typeof around)[number]>("li").data(around).join((enter) => {
      const item = enter.append("li");
      item.append("button").attr("type", "button");
      return item;
    }).select("button").classed("here", (each) => each.index === line.index)
      .attr("aria-current", (each) => (each.index === line.index ? "step" : null))
      .text((each) => `${each.index + 1} · ${each.step.pid} · ${explain(this.info, each.step).title}`)
      .on("click", (_, each) => this.goTo(this.all.findIndex(([a]) => a === each.index)));
  }

  private drawInspector(): void {
    const box = get("inspector");
    const look = this.looks[this.looks.length - 1];
    const seen = look ? inspect(look.shown.line, look.target) : null;
    box.hidden = !look;
    for (const shown of [this.first, this.second]) shown?.picture.mark(shown === look?.shown ? (seen?.frames ?? null) : null);
    if (!look) return;
    get("inspect-back").style.visibility = this.looks.length > 1 ? "" : "hidden";
    const root = select(box);
    root.select("h3").text(seen?.title ?? "It is not there at this step.");
    root.select(".note").text(seen?.note ?? "");
    root.select(".bits tbody").selectAll<HTMLElement, NonNullable<typeof seen>["bits"][number]>("tr").data(seen?.bits ?? []).join("tr")
      .classed("set", (bit) => bit.set).html((bit) => `<td>${bit.bit}</td><th scope="row">${bit.name}</th><td class="value">${bit.set ? 1 : 0}</td><td>${bit.meaning}</td>`);
    root.select("dl").selectAll<HTMLElement, [string, string]>("div").data(seen?.fields ?? []).join("div").html("<dt></dt><dd></dd>")
      .each(function ([name, value]) {
        select(this).select("dt").text(name);
        select(this).select("dd").text(value);
      });
    root.select(".parts").selectAll<HTMLElement, NonNullable<typeof seen>["parts"][number]>("button").data(seen?.parts ?? []).join("button")
      .attr("type", "button").text((part) => part.label).on("click", (_, part) => {
        this.looks.push({ shown: look.shown, target: part.target });
        this.draw();
      });
  }

  // ---- What the reader does ----

  private fillMenus(): void {
    const menu = (id: string, none: string | null): void => {
      const options = (wrong: boolean): [string, string][] =>
        this.info.scenarios.filter((each) => Boolean(each.mistakes) === wrong).map((each) => [each.id, each.title]);
      const right = none === null ? options(false) : [["", none] as [string, string], ...options(false)];
      const groups: [string, [string, string][]][] = [["Spork", right], ["Wrong kernels", options(true)]];
      select(get(id)).selectAll<HTMLOptGroupElement, (typeof groups)[number]>("optgroup").data(groups.filter(([, each]) => each.length)).join("optgroup")
        .attr("label", ([name]) => name).selectAll<HTMLOptionElement, [string, string]>("option").data(([, each]) => each)
        .join("option").attr("value", ([value]) => value).text(([, title]) => title);
    };
    menu("scenario", null);
    menu("against", "nothing");
  }

  private listen(): void {
    const click = (id: string, action: () => void): void => get(id).addEventListener("click", action);
    click("first", () => this.go(0));
    click("last", () => this.go(this.pairs.length - 1));
    click("back", () => this.go(this.at - 1));
    click("next", () => this.go(this.at + 1));
    click("phase-back", () => this.goPhase(-1));
    click("phase-next", () => this.goPhase(1));
    click("play", () => (this.playing === undefined ? this.play() : this.pause()));
    click("theme", () => this.changeTheme());
    click("intro-button", () => get<HTMLDialogElement>("intro").showModal());
    click("projector", () => this.changeProjector());
    click("smaller", () => this.changeZoom(1 / 1.15));
    click("larger", () => this.changeZoom(1.15));
    click("help-button", () => get<HTMLDialogElement>("help").showModal());
    click("legend-button", () => get<HTMLDialogElement>("legend").showModal());
    click("inspect-close", () => this.closeInspector());
    click("inspect-back", () => {
      this.looks.pop();
      this.draw();
    });
    get("events-box").addEventListener("toggle", () => this.drawEvents());
    get("slider").addEventListener("input", () => this.go(Number(get<HTMLInputElement>("slider").value)));
    get("scenario").addEventListener("change", () => {
      const id = get<HTMLSelectElement>("scenario").value;
      void this.open(id, null, 0);
    });
    get("against").addEventListener("change", () => {
      const other = get<HTMLSelectElement>("against").value || null;
      void this.open(this.first.line.scenario.id, other, 0);
    });
    get("detail").addEventListener("change", () => {
      const step = this.number(this.pairs[this.at]!);
      this.main = get<HTMLSelectElement>("detail").value === "main";
      this.choosePairs();
      this.goTo(step);
    });
    window.addEventListener("hashchange", () => void this.followUrl());
    window.addEventListener("resize", () => this.fit());
    document.addEventListener("keydown", (event) => this.key(event));
  }

  private key(event: KeyboardEvent): void {
    if (event.ctrlKey || event.altKey || event.metaKey || document.querySelector("dialog[open]")) return;
    const on = event.target as HTMLElement;
    if (on.tagName === "SELECT") return;
    const button = on.tagName === "BUTTON" || on.tagName === "SUMMARY" || on.tagName === "A";
    const actions: Record<string, () => void> = {
      ArrowLeft: () => (event.shiftKey ? this.goPhase(-1) : this.go(this.at - 1)),
      ArrowRight: () => (event.shiftKey ? this.goPhase(1) : this.go(this.at + 1)),
      PageUp: () => this.goPhase(-1),
      PageDown: () => this.goPhase(1),
      Home: () => this.go(0),
      End: () => this.go(this.pairs.length - 1),
      t: () => this.changeTheme(),
      i: () => get<HTMLDialogElement>("intro").showModal(),
      l: () => get<HTMLDialogElement>("legend").showModal(),
      p: () => this.changeProjector(),
      "+": () => this.changeZoom(1.15),
      "-": () => this.changeZoom(1 / 1.15),
      "0": () => this.changeZoom(0),
      "?": () => get<HTMLDialogElement>("help").showModal(),
      Escape: () => this.closeInspector(),
    };
    if (!button) actions[" "] = () => (this.playing === undefined ? this.play() : this.pause());
    const action = actions[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  }

  private closeInspector(): void {
    this.looks = [];
    this.draw();
  }

  private changeTheme(): void {
    const root = document.documentElement;
    const dark = root.dataset["theme"] ? root.dataset["theme"] === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset["theme"] = dark ? "light" : "dark";
    kept.set("theme", root.dataset["theme"]);
  }
}

async function start(): Promise<void> {
  const theme = kept.get("theme");
  if (theme) document.documentElement.dataset["theme"] = theme;
  const linked = location.hash !== "";
  await new App(await loadPage()).followUrl();
  // At the first visit. Where that cannot be kept, whoever follows a link is spared it.
  if (kept.get("seen") === null && (kept.set("seen", "yes") || !linked)) get<HTMLDialogElement>("intro").showModal();
}

start().catch((error: unknown) => {
  document.body.textContent = `The page could not be shown: ${String(error)}`;
  throw error;
});
