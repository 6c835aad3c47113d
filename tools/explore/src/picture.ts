// Draws a scene: process boxes, their vmspaces left and right, and between them what they lead to.
// Boxes are HTML, so that text wraps, takes focus and is read out; lines are an SVG behind them.
import { select, type Selection } from "d3-selection";
import { linkHorizontal } from "d3-shape";
import type { Proc } from "./data.js";
import { shortId, type Card, type Chip, type Link, type Row, type Scene, type Side, type Target, type VmView } from "./scene.js";
import type { Timeline } from "./timeline.js";

export interface PictureEvents {
  look(target: Target): void;
  fold(region: string, folded: boolean): void;
  open(row: string): void;
  follow(pid: number): void;
}

type Box<T> = Selection<HTMLElement, T, HTMLElement, unknown>;

const path = linkHorizontal<{ source: [number, number]; target: [number, number] }, [number, number]>();

export class Picture {
  private readonly root: Selection<HTMLElement, unknown, null, undefined>;

  constructor(element: HTMLElement, private readonly events: PictureEvents) {
    this.root = select(element).classed("picture", true);
    this.root.html(`
      <svg class="links" aria-hidden="true"></svg>
      <div class="head left"></div><div class="head middle"></div><div class="head right"></div>
      <div class="column left"></div>
      <div class="lanes" role="group" aria-label="what the entries lead to"></div>
      <div class="column right"></div>`);
  }

  draw(scene: Scene, line: Timeline): void {
    this.drawProc("left", scene.left, line);
    this.drawProc("right", scene.right, line);
    this.drawOthers(scene.others);
    this.drawVm("left", scene.left, scene);
    this.drawVm("right", scene.right, scene);
    this.drawCards(scene.cards);
    this.place(scene);
  }

  /** Marks everything that stands for one of the frames, and the thing itself. */
  mark(frames: [number, number] | null): void {
    this.root.selectAll<HTMLElement, Chip>(".chip").classed("same-page", (chip) =>
      frames !== null && chip.frames !== null && chip.frames[0] <= frames[1] && chip.frames[1] >= frames[0]);
  }

  // ---- Processes ----

  private drawProc(where: "left" | "right", side: Side, line: Timeline): void {
    const head = this.root.select<HTMLElement>(`.head.${where}`);
    head.selectAll<HTMLElement, Proc>("button.proc")
      .data(side.proc ? [side.proc] : [], (proc) => String(proc.pid))
      .join((enter) => {
        const box = enter.append("button").attr("type", "button").attr("class", "proc");
        box.append("span").attr("class", "who");
        box.append("span").attr("class", "how");
        box.append("span").attr("class", "acts").text("this step");
        return box;
      })
      .attr("id", (proc) => `${this.prefix}proc-${proc.pid}`)
      .attr("data-key", (proc) => `proc-${proc.pid}`)
      .classed("blocked", (proc) => proc.waits_for !== 0)
      .classed("zombie", (proc) => proc.state === "zombie")
      .classed("sleeps", (proc) => proc.state === "sleep" && proc.waits_for === 0)
      .classed("acting", (proc) => proc.pid === line.step.pid)
      .classed("changed", (proc) => line.changed(`proc:${proc.pid}`))
      .on("click", (_, proc) => this.events.look({ kind: "proc", pid: proc.pid }))
      .each(function (proc) {
        const box = select(this);
        box.select(".who").text(`${proc.name} · ${proc.pid}`);
        box.select(".how").text(stateOf(proc));
      });
    head.selectAll("p.nobody").data(side.proc ? [] : [0]).join("p").attr("class", "nobody")
      .text(side.vm ? "no process has this address space yet" : "no second process");
  }

  private get prefix(): string {
    return `${this.root.attr("id") ?? ""}-`;
  }

  private drawOthers(others: Proc[]): void {
    this.root.select(".head.middle").selectAll<HTMLElement, Proc>("button.other")
      .data(others, (proc) => String(proc.pid)).join("button")
      .attr("type", "button").attr("class", "other").classed("blocked", (proc) => proc.waits_for !== 0)
      .attr("aria-label", (proc) => `show ${proc.name}, process ${proc.pid}: ${stateOf(proc)}`)
      .text((proc) => `${proc.name} · ${proc.pid} ${glyphOf(proc)}`)
      .on("click", (_, proc) => this.events.follow(proc.pid));
  }

  // ---- Address spaces ----

  private drawVm(where: "left" | "right", side: Side, scene: Scene): void {
    const column = this.root.select<HTMLElement>(`.column.${where}`);
    const views = side.vm ? [side.vm] : [];
    const boxes = column.selectAll<HTMLElement, VmView>("section.vm").data(views, (vm) => vm.id).join((enter) => {
      const box = enter.append("section").attr("class", "vm");
      box.append("button").attr("type", "button").attr("class", "vm-head");
      box.append("ol").attr("class", "rows");
      return box;
    });
    boxes.classed("changed", (vm) => vm.changed).attr("data-key", `vm-${where}`)
      .attr("aria-label", (vm) => `address space of ${vm.pids.length ? `process ${vm.pids.join(" and ")}` : "no process yet"}`);
    boxes.select<HTMLElement>("button.vm-head")
      .html((vm) => `<b>vmspace ${shortId(vm.id)}</b> <span class="refs${vm.refs > 1 ? " many" : ""}">${vm.refs} ref${vm.refs === 1 ? "" : "s"}</span>
        <span class="dim">${vm.resident.toLocaleString("en")} resident, ${vm.commit.toLocaleString("en")} committed</span>`)
      .on("click", (_, vm) => this.events.look({ kind: "vmspace", id: vm.id }));
    const rows = boxes.select<HTMLElement>("ol.rows").selectAll<HTMLElement, Row>("li")
      .data((vm) => vm.rows, (row) => row.key)
      .join((enter) => this.newRow(enter.append("li") as unknown as Box<Row>) as never);
    this.fillRows(rows as unknown as Box<Row>);
    column.selectAll("p.ghost").data(side.borrowed ? [0] : []).join("p").attr("class", "ghost").attr("data-key", "ghost")
      .text(`No address space of its own: it runs in that of process ${scene.left.proc?.pid ?? ""}. One vmspace, two processes.`);
    column.selectAll("p.gone").data(side.proc && !side.vm && !side.borrowed ? [0] : []).join("p").attr("class", "gone")
      .text(side.proc?.state === "zombie" ? "Its address space is gone; an exit status waits for the parent." : "It has let go of its address space.");
  }

  private newRow(row: Box<Row>): Box<Row> {
    const top = row.append("div").attr("class", "row-top");
    top.append("button").attr("type", "button").attr("class", "fold");
    top.append("button").attr("type", "button").attr("class", "name");
    top.append("span").attr("class", "prot");
    top.append("span").attr("class", "badges");
    const below = row.append("div").attr("class", "below");
    below.append("div").attr("class", "strip");
    below.append("span").attr("class", "place");
    return row;
  }

  private fillRows(rows: Box<Row>): void {
    const events = this.events;
    const root = this.root.node()!;
    rows.attr("data-key", (row) => row.key).attr("class", "row").classed("changed", (row) => row.changed)
      .classed("in-region", (row) => row.region !== null && !row.folded);
    rows.select<HTMLElement>("button.fold")
      .style("display", (row) => (row.region !== null && row.heads ? null : "none"))
      .attr("aria-expanded", (row) => String(!row.folded))
      .attr("aria-label", (row) => `${row.folded ? "unfold" : "fold"} the region of ${row.name}`)
      .text((row) => (row.folded ? "▸" : "▾"))
      .on("click", (_, row) => events.fold(row.region!, !row.folded));
    rows.select<HTMLElement>("button.name").text((row) => row.name).attr("title", (row) => `${row.entries[0]!.name || "anonymous memory"}, ${row.size}`)
      .attr("aria-label", (row) => `${row.name} at ${row.place}, ${row.size}, ${row.prot}${row.badges.map((badge) => `, ${badge.label}`).join("")}${row.changed ? ", changed by this step" : ""}`)
      .on("click", (_, row) => (row.folded ? events.fold(row.region!, false) : events.look(row.target)));
    rows.select(".prot").text((row) => row.prot);
    rows.select(".place").text((row) => row.place);
    rows.select<HTMLElement>(".badges").selectAll<HTMLElement, Row["badges"][number]>("span")
      .data((row) => row.badges, (badge) => badge.text).join("span")
      .attr("class", (badge) => `badge ${badge.kind}`).attr("title", (badge) => badge.label).text((badge) => (root.classList.contains("brief") ? badge.brief : badge.text));
    this.fillChips(rows.select<HTMLElement>(".strip") as unknown as Box<{ chips: Chip[] }>);
  }

  private fillChips(strips: Box<{ chips: Chip[] }>): void {
    strips.selectAll<HTMLElement, Chip>("button").data((each) => each.chips, (chip) => chip.key).join((enter) => {
      const chip = enter.append("button").attr("type", "button");
      chip.append("span").attr("class", "what");
      chip.append("span").attr("class", "times");
      return chip;
    })
      .attr("class", (chip) => `chip ${chip.kind}`)
      .classed("changed", (chip) => chip.changed).classed("dirty", (chip) => chip.dirty).classed("wired", (chip) => chip.wired)
      .attr("aria-label", (chip) => chip.label).attr("title", (chip) => chip.label)
      .on("click", (_, chip) => (chip.target.kind === "row" ? this.events.open(chip.target.key) : this.events.look(chip.target)))
      .each(function (chip) {
        const box = select(this);
        box.select(".what").text(chip.text);
        box.select(".times").text(chip.n > 1 ? `×${chip.n.toLocaleString("en")}` : "");
      });
  }

  // ---- What lies behind ----

  private drawCards(cards: Card[]): void {
    const boxes = this.root.select<HTMLElement>(".lanes").selectAll<HTMLElement, Card>("section.card")
      .data(cards, (card) => card.key).join((enter) => {
        const box = enter.append("section");
        box.append("button").attr("type", "button").attr("class", "card-head");
        box.append("div").attr("class", "strip");
        return box;
      })
      .attr("class", (card) => `card ${card.kind} lane${card.lane}`).classed("changed", (card) => card.changed)
      .attr("data-key", (card) => card.key).attr("aria-label", (card) => card.label);
    boxes.select<HTMLElement>("button.card-head").attr("aria-label", (card) => card.label)
      .html((card) => `<b></b> <span class="dim"></span>`)
      .each(function (card) {
        select(this).select("b").text(card.title);
        select(this).select("span").text(card.detail);
      })
      .on("click", (_, card) => card.target && this.events.look(card.target));
    this.fillChips(boxes.select<HTMLElement>(".strip") as unknown as Box<{ chips: Chip[] }>);
  }

  /** Puts each card beside the rows that lead to it, and draws the lines. */
  private place(scene: Scene): void {
    const root = this.root.node()!;
    const lanes = this.root.select<HTMLElement>(".lanes").node()!;
    const elements = new Map<string, HTMLElement>();
    for (const element of root.querySelectorAll<HTMLElement>("[data-key]")) elements.set(element.dataset["key"]!, element);
    const origin = root.getBoundingClientRect();
    const lanesTop = lanes.getBoundingClientRect().top - origin.top;
    const rects = new Map<string, { left: number; right: number; top: number; height: number }>();
    for (const [key, element] of elements) {
      const box = element.getBoundingClientRect();
      rects.set(key, { left: box.left - origin.left, right: box.right - origin.left, top: box.top - origin.top, height: box.height });
    }
    const middle = (key: string): number | undefined => {
      const box = rects.get(key);
      return box && box.top + Math.min(box.height, 44) / 2;
    };
    const wanted = new Map<string, number>();
    const mean = (keys: (number | undefined)[]): number | undefined => {
      const known = keys.filter((each): each is number => each !== undefined);
      return known.length ? known.reduce((a, b) => a + b, 0) / known.length : undefined;
    };
    for (const card of scene.cards)
      if (card.kind !== "anons")
        wanted.set(card.key, mean(scene.links.filter((link) => link.to === card.key).map((link) => middle(link.from))) ?? 0);
    for (const card of scene.cards)
      if (card.kind === "anons")
        wanted.set(card.key, mean(scene.links.filter((link) => link.to === card.key).map((link) => wanted.get(link.from))) ?? 0);
    const narrow = getComputedStyle(lanes).getPropertyValue("--one-lane").trim() === "1";
    const tops = new Map<string, number>();
    let bottom = 0;
    for (const lane of narrow ? [-1] : [0, 1, 2]) {
      const cards = scene.cards.filter((card) => lane < 0 || card.lane === lane)
        .sort((a, b) => wanted.get(a.key)! - wanted.get(b.key)! || a.key.localeCompare(b.key));
      const placed = stack(cards.map((card) => ({
        wanted: wanted.get(card.key)! - lanesTop - rects.get(card.key)!.height / 2, height: rects.get(card.key)!.height,
      })));
      cards.forEach((card, i) => tops.set(card.key, placed[i]!));
      cards.forEach((card, i) => (bottom = Math.max(bottom, placed[i]! + rects.get(card.key)!.height)));
    }
    for (const [key, top] of tops) {
      elements.get(key)!.style.top = `${top}px`;
      rects.get(key)!.top = top + lanesTop;
    }
    lanes.style.minHeight = `${bottom + 8}px`;
    this.drawLinks(scene.links, rects);
  }

  private drawLinks(links: Link[], rects: Map<string, { left: number; right: number; top: number; height: number }>): void {
    const root = this.root.node()!;
    const svg = this.root.select<SVGSVGElement>("svg.links").attr("width", root.scrollWidth).attr("height", root.scrollHeight);
    const shapes = links.flatMap((link) => {
      const from = rects.get(link.from);
      const to = rects.get(link.to);
      if (!from || !to) return [];
      const rightward = from.left < to.left;
      const y = (box: { top: number; height: number }, cap: number): number => box.top + Math.min(box.height, cap) / 2;
      const source: [number, number] = [rightward ? from.right : from.left, y(from, link.kind === "vmspace" ? 60 : 44)];
      const target: [number, number] = [rightward ? to.left : to.right, y(to, 36)];
      return [{ link, d: path({ source, target }) ?? "", end: target, rightward }];
    });
    svg.selectAll<SVGPathElement, (typeof shapes)[number]>("path.link").data(shapes, (shape) => shape.link.key).join("path")
      .attr("class", ({ link }) => `link ${link.kind}`).attr("d", ({ d }) => d);
    svg.selectAll<SVGPathElement, (typeof shapes)[number]>("path.arrow")
      .data(shapes.filter(({ link }) => link.kind === "waits" || link.kind === "vmspace"), (shape) => shape.link.key).join("path")
      .attr("class", ({ link }) => `arrow ${link.kind}`)
      .attr("d", ({ end: [x, y], rightward }) => `M${x},${y} l${rightward ? -9 : 9},-5 v10 z`);
    const waits = shapes.filter(({ link }) => link.kind === "waits");
    svg.selectAll<SVGTextElement, (typeof shapes)[number]>("text").data(waits).join("text")
      .attr("class", "waits").attr("text-anchor", "middle").text("waits for")
      .attr("x", ({ link, end }) => (end[0] + (rects.get(link.from)!.left < end[0] ? rects.get(link.from)!.right : rects.get(link.from)!.left)) / 2)
      .attr("y", ({ end }) => end[1] - 6);
  }
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
