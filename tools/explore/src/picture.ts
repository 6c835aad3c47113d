// Draws a scene: a column for each process with its vmspace, and between the columns what these lead to.
// Boxes are HTML, so that text wraps, takes focus and is read out; lines are an SVG behind them.
import { select, type Selection } from "d3-selection";
import { linkHorizontal } from "d3-shape";
import type { Proc } from "./data.js";
import { setAttr, setClass, setText, told } from "./dom.js";
import { count, shortId, type Card, type Chip, type Column, type Link, type Row, type Scene, type Target, type VmView } from "./scene.js";
import type { Timeline } from "./timeline.js";

export interface PictureEvents {
  look(target: Target): void;
  fold(region: string, folded: boolean): void;
  open(row: string): void;
  narrow(pid: number, narrow: boolean): void;
}

type Box<T> = Selection<HTMLElement, T, HTMLElement, unknown>;
interface Rect {
  left: number;
  right: number;
  top: number;
  height: number;
}

const path = linkHorizontal<{ source: [number, number]; target: [number, number] }, [number, number]>();

// Widths in pixels below which the picture scrolls sideways.
const WIDE = 176;
const WIDE_DENSE = 128;
const NARROW = 76;
const LANE = 112;
const THREE_LANES = 300;

export class Picture {
  private readonly root: Selection<HTMLElement, unknown, null, undefined>;
  /** Of type, and so of the least widths. */
  scale = 1;
  private lit = ""; // the key of what the reader points at

  constructor(element: HTMLElement, private readonly events: PictureEvents) {
    this.root = select(element).classed("picture", true);
    this.root.html('<svg class="links" aria-hidden="true"></svg>');
    const point = (event: Event): void => this.light((event.target as Element).closest<HTMLElement>("[data-key]")?.dataset["key"] ?? "");
    for (const type of ["pointerover", "focusin"]) element.addEventListener(type, point);
    for (const type of ["pointerleave", "focusout"]) element.addEventListener(type, () => this.light(""));
  }

  draw(scene: Scene, line: Timeline): void {
    this.layOut(scene);
    this.drawProcs(scene, line);
    this.drawVms(scene);
    this.drawCards(scene);
    this.place(scene);
  }

  /** Whether it has the width that it needs. */
  fits(): boolean {
    const root = this.root.node()!;
    return root.offsetWidth <= root.parentElement!.clientWidth &&
      [...root.querySelectorAll(".vm, .card, .proc")].every((box) => box.scrollWidth <= box.clientWidth + 1);
  }

  /** Marks everything that stands for one of the frames, and the thing itself. */
  mark(frames: [number, number] | null): void {
    this.root.selectAll<HTMLElement, Chip>(".chip").classed("same-page", (chip) =>
      frames !== null && chip.frames.some(([first, last]) => first <= frames[1] && last >= frames[0]));
  }

  /** The lines of what is pointed at stand out. */
  private light(key: string): void {
    this.lit = key;
    this.root.selectAll<SVGPathElement, { link: Link }>("path.link").classed("lit", ({ link }) => key !== "" && (link.from === key || link.to === key));
  }

  private get prefix(): string {
    return `${this.root.attr("id") ?? ""}-`;
  }

  // ---- Columns: each process's, and between them the lanes of the cards ----

  private layOut(scene: Scene): void {
    const root = this.root.node()!;
    const used = new Set(scene.cards.map((card) => card.gap));
    const last = scene.columns.length - 1;
    const tracks: string[] = [];
    let least = 0;
    const track = (wanted: number, share: number): void => {
      const width = Math.round(wanted * this.scale);
      tracks.push(`minmax(${width}px, ${share}fr)`);
      least += width + 16;
    };
    scene.columns.forEach((column, i) => {
      if (column.narrow) track(NARROW, 0);
      else track(scene.dense ? WIDE_DENSE : WIDE, 36);
      if (i === last) return;
      if (!scene.dense) track(THREE_LANES, 40);
      else if (used.has(i)) track(LANE, 24);
      else track(8, 0);
    });
    root.style.gridTemplateColumns = tracks.join(" ");
    root.style.minWidth = `${least}px`;
    this.root.classed("dense", scene.dense);
    const parts = <T>(name: string, data: T[], key: (datum: T) => string, at: (index: number) => number, row: number): Selection<HTMLElement, T, HTMLElement, unknown> => {
      const boxes = this.root.selectAll<HTMLElement, T>(`:scope > .${name}`).data(data, key).join("div");
      setAttr(boxes as never, "style", (_, i) => `grid-column: ${at(i)}; grid-row: ${row}`);
      return boxes as unknown as Selection<HTMLElement, T, HTMLElement, unknown>;
    };
    const odd = (i: number): number => 2 * i + 1;
    const heads = parts("head", scene.columns, (column) => column.key, odd, 1);
    setClass(heads, (column) => ["head", { narrow: column.narrow }]);
    const columns = parts("column", scene.columns, (column) => column.key, odd, 2);
    setClass(columns, (column) => ["column", { narrow: column.narrow }]);
    setAttr(columns, "data-pid", (column) => (column.proc ? String(column.proc.pid) : null));
    const gaps = parts("lanes", [...Array(last).keys()], String, (i) => 2 * i + 2, 2);
    setClass(gaps, () => ["lanes"]);
    setAttr(gaps, "role", () => "group");
    setAttr(gaps, "aria-label", () => "what the entries lead to");
    // The order of reading is that of the columns.
    const order = [...heads.nodes(), ...columns.nodes().flatMap((node, i) => [node, ...(gaps.nodes()[i] ? [gaps.nodes()[i]!] : [])])];
    order.forEach((node, i) => {
      const there = root.children[i + 1];
      if (there !== node) root.insertBefore(node, there ?? null);
    });
  }

  private drawProcs(scene: Scene, line: Timeline): void {
    const heads = this.root.selectAll<HTMLElement, Column>(":scope > .head");
    const procs = heads.selectAll<HTMLElement, Column>("button.proc").data((column) => (column.proc ? [column] : []), (column) => column.key)
      .join((enter) => {
        const box = enter.append("button").attr("type", "button")
          .on("click", (_, { proc }) => this.events.look({ kind: "proc", pid: proc!.pid }));
        box.append("span").attr("class", "who");
        box.append("span").attr("class", "how");
        box.append("span").attr("class", "acts").text("this step");
        return box;
      });
    setAttr(procs, "id", ({ proc }) => `${this.prefix}proc-${proc!.pid}`);
    setAttr(procs, "data-key", ({ proc }) => `proc-${proc!.pid}`);
    setAttr(procs, "title", ({ proc, narrow }) => (narrow ? `${proc!.name} · ${proc!.pid}: ${stateOf(proc!)}` : null));
    setClass(procs, ({ proc }) => ["proc", {
      blocked: proc!.waits_for !== 0, zombie: proc!.state === "zombie", sleeps: proc!.state === "sleep" && proc!.waits_for === 0,
      acting: proc!.pid === line.step.pid, changed: line.changed(`proc:${proc!.pid}`),
    }]);
    setText(procs.select(".who"), ({ proc, narrow }) => (narrow ? `${proc!.name} ${proc!.pid}` : `${proc!.name} · ${proc!.pid}`));
    setText(procs.select(".how"), ({ proc, narrow }) => (narrow ? glyphOf(proc!) : stateOf(proc!)));
    const folds = heads.selectAll<HTMLElement, Column>("button.size").data((column) => (column.proc && (scene.columns.length > 2 || column.narrow) ? [column] : []), (column) => column.key)
      .join((enter) => enter.append("button").attr("type", "button").attr("class", "size")
        .on("click", (_, { proc, narrow }) => this.events.narrow(proc!.pid, !narrow)));
    setText(folds, ({ narrow }) => (narrow ? "◂▸" : "▸◂"));
    setAttr(folds, "aria-expanded", ({ narrow }) => String(!narrow));
    setAttr(folds, "aria-label", ({ proc, narrow }) => `${narrow ? "unfold" : "fold"} the column of ${proc!.name}, process ${proc!.pid}`);
    setAttr(folds, "title", ({ narrow }) => (narrow ? "show this process in full" : "fold this column to a strip"));
    const nobodies = heads.selectAll<HTMLElement, Column>("p.nobody").data((column) => (column.proc ? [] : [column])).join("p");
    setClass(nobodies, () => ["nobody"]);
    setText(nobodies, ({ vm, key }) => (vm ? "no process has this address space yet" : key === "none1" && scene.columns[0]?.proc ? "no second process" : "no process"));
  }

  // ---- Address spaces ----

  private drawVms(scene: Scene): void {
    const columns = this.root.selectAll<HTMLElement, Column>(":scope > .column");
    const keys = new Map(scene.columns.flatMap((column) => [[column.vm, `vm-${column.key}`], [column.making, `making-${column.key}`]] as const));
    const boxes = columns.selectAll<HTMLElement, VmView>("section.vm").data(({ vm, making }) => [vm, making].filter((each) => each !== null), (vm) => vm.id).join((enter) => {
      const box = enter.append("section");
      const head = box.append("button").attr("type", "button").attr("class", "vm-head").on("click", (_, vm) => this.events.look({ kind: "vmspace", id: vm.id }));
      head.append("b");
      head.append("span").attr("class", "refs");
      head.append("span").attr("class", "dim");
      box.append("ol").attr("class", "rows");
      return box;
    });
    setClass(boxes, (vm) => ["vm", { changed: vm.changed }]);
    setAttr(boxes, "data-key", (vm) => keys.get(vm) ?? null);
    setAttr(boxes, "aria-label", (vm) => `address space of ${vm.pids.length ? `process ${vm.pids.join(" and ")}` : "no process yet"}`);
    const heads = boxes.select<HTMLElement>("button.vm-head");
    setText(heads.select("b"), (vm) => `${vm.pids.length ? "" : "new "}vmspace ${shortId(vm.id)}`);
    setText(heads.select(".refs"), (vm) => count(vm.refs, "ref"));
    setClass(heads.select(".refs"), (vm) => ["refs", { many: vm.refs > 1 }]);
    setText(heads.select(".dim"), (vm) => `${told(vm.resident)} resident, ${told(vm.commit)} committed`);
    const rows = boxes.select<HTMLElement>("ol.rows").selectAll<HTMLElement, Row>("li").data((vm) => vm.rows, (row) => row.key)
      .join((enter) => this.newRow(enter.append("li") as unknown as Box<Row>) as never);
    this.fillRows(rows as unknown as Box<Row>);
    const ghosts = columns.selectAll<HTMLElement, Column>("p.ghost").data((column) => (column.borrowedFrom ? [column] : [])).join("p");
    setClass(ghosts, () => ["ghost"]);
    setAttr(ghosts, "data-key", ({ key }) => `ghost-${key}`);
    ghosts.each(atTop);
    setText(ghosts, ({ borrowedFrom }) => `No address space of its own: it runs in that of process ${borrowedFrom?.proc?.pid ?? ""}. One vmspace, ${borrowedFrom?.vm?.pids.length === 2 ? "two" : (borrowedFrom?.vm?.pids.length ?? "")} processes.`);
    const gone = columns.selectAll<HTMLElement, Column>("p.gone").data((column) => (column.proc && !column.vm && !column.borrowedFrom ? [column] : [])).join("p");
    setClass(gone, () => ["gone"]);
    gone.each(atTop);
    setText(gone, ({ proc }) => (proc?.state === "zombie" ? "Its address space is gone; an exit status waits for the parent." : "It has let go of its address space."));
  }

  private newRow(row: Box<Row>): Box<Row> {
    const { events } = this;
    const top = row.append("div").attr("class", "row-top");
    top.append("button").attr("type", "button").attr("class", "fold").on("click", (_, each) => events.fold(each.region!, !each.folded));
    top.append("button").attr("type", "button").attr("class", "name")
      .on("click", (_, each) => (each.folded ? events.fold(each.region!, false) : events.look(each.target)));
    top.append("span").attr("class", "prot");
    top.append("span").attr("class", "badges");
    const below = row.append("div").attr("class", "below");
    below.append("div").attr("class", "strip");
    below.append("span").attr("class", "place");
    return row;
  }

  private fillRows(rows: Box<Row>): void {
    setAttr(rows, "data-key", (row) => row.key);
    setClass(rows, (row) => ["row", { changed: row.changed, "in-region": row.region !== null && !row.folded }]);
    const folds = rows.select<HTMLElement>("button.fold");
    setAttr(folds, "style", (row) => (row.region !== null && row.heads ? null : "display: none"));
    setAttr(folds, "aria-expanded", (row) => String(!row.folded));
    setAttr(folds, "aria-label", (row) => `${row.folded ? "unfold" : "fold"} the region of ${row.name}`);
    setText(folds, (row) => (row.folded ? "▸" : "▾"));
    const names = rows.select<HTMLElement>("button.name");
    setText(names, (row) => row.name);
    setAttr(names, "title", (row) => `${row.entries[0]!.name || "anonymous memory"}, ${row.size}`);
    setAttr(names, "aria-label", (row) => `${row.name} at ${row.place}, ${row.size}, ${row.prot}${row.badges.map((badge) => `, ${badge.label}`).join("")}${row.changed ? ", changed by this step" : ""}`);
    setText(rows.select(".prot"), (row) => row.prot);
    setText(rows.select(".place"), (row) => row.place);
    const badges = rows.select<HTMLElement>(".badges").selectAll<HTMLElement, Row["badges"][number]>("span").data((row) => row.badges, (badge) => badge.text).join("span");
    setClass(badges, (badge) => [`badge ${badge.kind}`]);
    setAttr(badges, "title", (badge) => badge.label);
    setText(badges, (badge) => badge.text);
    this.fillChips(rows.select<HTMLElement>(".strip") as unknown as Box<{ chips: Chip[] }>);
  }

  private fillChips(strips: Box<{ chips: Chip[] }>): void {
    const chips = strips.selectAll<HTMLElement, Chip>("button").data((each) => each.chips, (chip) => chip.key).join((enter) => {
      const chip = enter.append("button").attr("type", "button")
        .on("click", (_, { target }) => (target.kind === "row" ? this.events.open(target.key) : this.events.look(target)));
      chip.append("span").attr("class", "what");
      chip.append("span").attr("class", "times");
      return chip;
    });
    setClass(chips, (chip) => [`chip ${chip.kind}`, { changed: chip.changed, dirty: chip.dirty, wired: chip.wired }]);
    setAttr(chips, "aria-label", (chip) => chip.label);
    setAttr(chips, "title", (chip) => chip.label);
    setText(chips.select(".what"), (chip) => chip.text);
    setText(chips.select(".times"), (chip) => (chip.n > 1 ? `×${told(chip.n)}` : ""));
  }

  // ---- What lies behind ----

  private drawCards({ cards }: Scene): void {
    const gaps = this.root.selectAll<HTMLElement, number>(":scope > .lanes");
    const boxes = gaps.selectAll<HTMLElement, Card>("section.card").data((gap) => cards.filter((card) => card.gap === gap), (card) => card.key).join((enter) => {
      const box = enter.append("section");
      const head = box.append("button").attr("type", "button").attr("class", "card-head").on("click", (_, { target }) => target && this.events.look(target));
      head.append("b");
      head.each(function () {
        this.append(" ");
      });
      head.append("span").attr("class", "dim");
      box.append("div").attr("class", "strip");
      return box;
    });
    setClass(boxes, (card) => [`card ${card.kind} lane${card.lane}`, { changed: card.changed }]);
    setAttr(boxes, "data-key", (card) => card.key);
    setAttr(boxes, "aria-label", (card) => card.label);
    const heads = boxes.select<HTMLElement>("button.card-head");
    setAttr(heads, "aria-label", (card) => card.label);
    setText(heads.select("b"), (card) => card.title);
    setText(heads.select("span"), (card) => card.detail);
    this.fillChips(boxes.select<HTMLElement>(".strip") as unknown as Box<{ chips: Chip[] }>);
  }

  /** Puts each card beside the rows that lead to it, and draws the lines. */
  private place(scene: Scene): void {
    const root = this.root.node()!;
    const origin = root.getBoundingClientRect();
    const elements = new Map<string, HTMLElement>();
    const rects = new Map<string, Rect>();
    for (const element of root.querySelectorAll<HTMLElement>("[data-key]")) {
      const key = element.dataset["key"]!;
      const box = element.getBoundingClientRect();
      elements.set(key, element);
      rects.set(key, { left: box.left - origin.left, right: box.right - origin.left, top: box.top - origin.top, height: box.height });
    }
    const gaps = [...root.querySelectorAll<HTMLElement>(":scope > .lanes")];
    const lanesTop = gaps[0]!.getBoundingClientRect().top - origin.top;
    const middle = (key: string): number | undefined => {
      const box = rects.get(key);
      return box && box.top + Math.min(box.height, 44) / 2;
    };
    const leading = new Map<string, string[]>();
    for (const link of scene.links) leading.set(link.to, [...(leading.get(link.to) ?? []), link.from]);
    const wanted = new Map<string, number>();
    const mean = (heights: (number | undefined)[]): number => {
      const known = heights.filter((each): each is number => each !== undefined);
      return known.length ? known.reduce((a, b) => a + b, 0) / known.length : 0;
    };
    for (const anons of [false, true]) // those last: beside the amaps that they are of
      for (const card of scene.cards)
        if ((card.kind === "anons") === anons)
          wanted.set(card.key, mean((leading.get(card.key) ?? []).map((from) => wanted.get(from) ?? middle(from))));
    const tops = new Map<string, number>();
    const bottoms = gaps.map(() => 0);
    for (const gap of gaps.keys())
      for (const lane of scene.dense ? [-1] : [0, 1, 2]) {
        const cards = scene.cards.filter((card) => card.gap === gap && (lane < 0 || card.lane === lane))
          .sort((a, b) => wanted.get(a.key)! - wanted.get(b.key)! || a.key.localeCompare(b.key));
        const placed = stack(cards.map((card) => ({
          wanted: wanted.get(card.key)! - lanesTop - rects.get(card.key)!.height / 2, height: rects.get(card.key)!.height,
        })));
        cards.forEach((card, i) => {
          tops.set(card.key, placed[i]!);
          bottoms[gap] = Math.max(bottoms[gap]!, placed[i]! + rects.get(card.key)!.height);
        });
      }
    const size = { width: root.offsetWidth, height: Math.max(root.offsetHeight, lanesTop + Math.max(...bottoms) + 8) };
    for (const [key, top] of tops) {
      const style = `${top.toFixed(1)}px`;
      const card = elements.get(key)!;
      if (card.style.top !== style) card.style.top = style;
      rects.get(key)!.top = top + lanesTop;
    }
    gaps.forEach((gap, i) => {
      const least = `${Math.ceil(bottoms[i]! + 8)}px`;
      if (gap.style.minHeight !== least) gap.style.minHeight = least;
    });
    this.drawLinks(scene.links, rects, size);
  }

  private drawLinks(links: Link[], rects: Map<string, Rect>, size: { width: number; height: number }): void {
    const svg = this.root.select<SVGSVGElement>("svg.links").datum(size);
    setAttr(svg, "width", ({ width }) => String(width));
    setAttr(svg, "height", ({ height }) => String(height));
    const shapes = links.flatMap((link) => {
      const from = rects.get(link.from);
      const to = rects.get(link.to);
      if (!from || !to) return [];
      const rightward = from.left < to.left;
      const y = (box: Rect, cap: number): number => box.top + Math.min(box.height, cap) / 2;
      const source: [number, number] = [rightward ? from.right : from.left, y(from, link.kind === "vmspace" ? 60 : 44)];
      const target: [number, number] = [rightward ? to.left : to.right, y(to, 36)];
      return [{ link, d: path({ source, target }) ?? "", source, end: target, rightward }];
    });
    type Shape = (typeof shapes)[number];
    const paths = svg.selectAll<SVGPathElement, Shape>("path.link").data(shapes, (shape) => shape.link.key).join("path");
    setClass(paths, ({ link }) => [`link ${link.kind}`, { lit: this.lit !== "" && (link.from === this.lit || link.to === this.lit) }]);
    setAttr(paths, "d", ({ d }) => d);
    const arrows = svg.selectAll<SVGPathElement, Shape>("path.arrow")
      .data(shapes.filter(({ link }) => link.kind === "waits" || link.kind === "vmspace"), (shape) => shape.link.key).join("path");
    setClass(arrows, ({ link }) => [`arrow ${link.kind}`]);
    setAttr(arrows, "d", ({ end: [x, y], rightward }) => `M${x},${y} l${rightward ? -9 : 9},-5 v10 z`);
    svg.selectAll<SVGTextElement, Shape>("text").data(shapes.filter(({ link }) => link.kind === "waits")).join("text")
      .attr("class", "waits").attr("text-anchor", "middle").text("waits for")
      .attr("x", ({ source, end }) => (source[0] + end[0]) / 2).attr("y", ({ end }) => end[1] + 4).attr("dy", "1em"); // below the line: above it is what the scenario is about
  }
}

/** Of a column: what is said of the process is above what its exec is making. */
function atTop(this: HTMLElement): void {
  if (this.previousElementSibling) this.parentElement!.prepend(this);
}

/** Tops as near as can be to those wanted, in order, without overlap. */
function stack(boxes: { wanted: number; height: number }[]): number[] {
  const gap = 8;
  const tops: number[] = [];
  let next = 0;
  for (const box of boxes) {
    const top = Math.max(box.wanted, next);
    tops.push(top);
    next = top + box.height + gap;
  }
  // What was pushed down pulls its neighbours above up, as far as these have room.
  for (let i = boxes.length - 2; i >= 0; i--) {
    const excess = tops[i + 1]! - Math.max(0, boxes[i + 1]!.wanted);
    const room = tops[i]! - (i > 0 ? tops[i - 1]! + boxes[i - 1]!.height + gap : 0);
    const touching = tops[i + 1]! - (tops[i]! + boxes[i]!.height) <= gap;
    if (touching && excess > 0) {
      const shift = Math.min(room, excess / 2);
      tops[i]! -= shift;
      for (let k = i + 1; k < boxes.length; k++) {
        const least = tops[k - 1]! + boxes[k - 1]!.height + gap;
        tops[k] = Math.max(least, Math.min(tops[k]!, Math.max(boxes[k]!.wanted, least)));
      }
    }
  }
  return tops;
}

export function stateOf(proc: Proc): string {
  if (proc.waits_for) return `▮▮ BLOCKED in ${proc.why || "vfork"} until ${proc.waits_for} lets go`;
  if (proc.state === "zombie") return "✝ zombie";
  if (proc.state === "stop") return "■ stopped";
  if (proc.state === "sleep") return `☾ sleeps${proc.why ? `: ${proc.why}` : ""}`;
  return "▶ running";
}
function glyphOf(proc: Proc): string {
  return proc.waits_for ? "▮▮ blocked" : proc.state === "zombie" ? "✝" : proc.state === "sleep" ? "☾" : proc.state === "stop" ? "■" : "▶";
}
