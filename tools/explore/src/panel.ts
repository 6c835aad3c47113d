// The panel beside the picture: what happened at this step, what it cost, the source that did it.
import { select } from "d3-selection";
import type { Call, EventInfo, Mistake, PageInfo, Source, Step } from "./data.js";
import { setAttr, setClass, setText, told } from "./dom.js";
import { shortId } from "./scene.js";
import type { Timeline } from "./timeline.js";

/** A mark is the program's own remark: it explains itself. */
export function explain(info: PageInfo, step: Step): EventInfo & { title: string } {
  if (step.event === "mark") {
    const text = String(step.args["text"] ?? "");
    const phase = text.startsWith("#");
    return {
      title: phase ? text.slice(1).trim() : text, literature: "",
      sentence: phase ? "A new part of the program begins." : "The program's own remark.", sources: [], main: true,
    };
  }
  const builtin: Record<string, string> = {
    begin: "The recording of this process begins; everything shown was there before.",
    end: "The recording of this process ends.",
  };
  const known = info.events[step.event];
  const way = known?.cases?.values[String(step.args[known.cases.field])];
  return {
    title: step.event, literature: known?.literature ?? "", sources: way?.sources ?? known?.sources ?? [],
    sentence: way?.sentence ?? known?.sentence ?? builtin[step.event] ?? "",
    // A fault that was resolved has been told by its case.
    main: (known?.main ?? true) && !(step.event === "fault_end" && step.args["result"] === "resolved"),
  };
}

/** What the table of events cannot know: whose address space it is that the child begins in. */
function whose(line: Timeline): string {
  const { event, pid } = line.step;
  const self = line.procs().find((proc) => proc.pid === pid);
  if (event !== "fork_child_runs" || !self?.vmspace) return "";
  const lender = line.procs().find((proc) => proc.pid !== pid && proc.vmspace === self.vmspace);
  const id = `vmspace ${shortId(self.vmspace)}`;
  return lender
    ? `It runs in the address space of ${lender.name} ${lender.pid}${lender.pid === self.ppid ? ", its parent" : ""} (${id}): what it stores, the other finds.`
    : `It runs in an address space of its own (${id}).`;
}

export function time(ns: number): string {
  if (ns < 10_000) return `${ns} ns`;
  return ns < 10_000_000 ? `${(ns / 1000).toFixed(1)} µs` : `${(ns / 1e6).toFixed(2)} ms`;
}

export function drawStep(info: PageInfo, line: Timeline, root: HTMLElement): void {
  const step = line.step;
  const told = explain(info, step);
  const name = line.procs().find((proc) => proc.pid === step.pid)?.name ?? "";
  const box = select(root);
  const since = step.t - line.scenario.steps[0]!.t;
  box.select(".step-number").text(`Step ${line.index + 1} of ${line.length}`);
  box.select(".step-when").text(`${name} · ${step.pid}, cpu ${step.cpu}, at ${time(since)}`);
  box.select(".step-title").text(told.title).classed("mark", step.event === "mark");
  box.select(".step-sentence").text(`${told.sentence} ${whose(line)}`.trim());
  box.select(".step-literature").text(told.literature ? `In the literature: ${told.literature}` : "");
  box.select(".step-lost").text(step.lost ? `${step.lost} events before this one were not recorded.` : "");
  const args = step.event === "mark" ? [] : Object.entries(step.args);
  const fields = box.select(".step-args").selectAll<HTMLElement, [string, unknown]>("span.arg").data(args)
    .join((enter) => enter.append("span").attr("class", "arg").html("<i></i> <b></b>"));
  setText(fields.select("i"), ([field]) => field);
  setText(fields.select("b"), ([, value]) => String(value));
}

/** What a screen reader says of a step. */
export function spoken(info: PageInfo, line: Timeline): string {
  const told = explain(info, line.step);
  const changes = Object.keys(line.step.set).length + line.step.del.length + line.step.runs.length;
  return `Step ${line.index + 1} of ${line.length}, process ${line.step.pid}: ${told.title}. ${told.sentence} ${whose(line)} ${line.index > 0 ? `${changes} changes.` : ""}`;
}

export function drawSource(info: PageInfo, line: Timeline, root: HTMLElement): void {
  const { sources } = explain(info, line.step);
  const { mistakes = [] } = line.scenario;
  const box = select(root);
  box.selectAll("p.none").data(sources.length ? [] : [0]).join("p").attr("class", "none dim")
    .text(line.step.event === "mark" ? "The program speaks; the kernel did nothing here." : "No source is quoted for this event.");
  box.selectAll<HTMLElement, EventInfo["sources"][number]>("figure").data(sources).join((enter) => {
    const figure = enter.append("figure");
    figure.append("figcaption");
    figure.append("pre").attr("tabindex", "0");
    return figure;
  }).each(function (source) {
    const figure = select(this);
    const missing = new Set(mistakes.flatMap(({ files }) => files.filter(({ file }) => file === source.file).flatMap((each) => each.out)).map((text) => text.trim()).filter((text) => /[;{]/.test(text)));
    figure.select("figcaption").text(`${source.file}:${source.line}`);
    figure.select("pre").attr("aria-label", `source of ${source.file} around line ${source.line}`)
      .selectAll<HTMLElement, Source["text"][number]>("code").data(source.text).join("code")
      .attr("class", ([n, text]) => [n >= source.line && n <= source.last ? "here" : "", missing.has(text.trim()) ? "missing" : ""].join(" ").trim() || null)
      .attr("data-line", ([n]) => n).text(([, text]) => `${text}\n`);
  });
}

/** What is wrong with the kernel that the scenario ran on. */
export function drawMistakes(line: Timeline, root: HTMLElement): void {
  const { mistakes = [] } = line.scenario;
  root.hidden = mistakes.length === 0;
  const lines = mistakes.flatMap(({ files }) => files.flatMap((each) => [...each.out.map((text) => ["out", text]), ...each.in.map((text) => ["in", text])]));
  const box = select(root);
  box.select(".said").selectAll<HTMLElement, Mistake>("p").data(mistakes).join("p").text(({ said, name }) => `${said} (${name})`);
  box.select("pre").selectAll<HTMLElement, string[]>("code").data(lines).join("code")
    .attr("class", ([way]) => way!).attr("data-line", ([way]) => (way === "out" ? "−" : "+")).text(([, text]) => `${text!.trim()}\n`);
}

export interface LedgerColumn {
  head: string;
  values: Map<string, number>;
  gained: Map<string, number>;
}

export function ledgerColumn(line: Timeline, pid: number, head: string): LedgerColumn {
  const values = line.ledger(pid);
  const gained = new Map<string, number>();
  for (const [counter, value] of values) {
    const before = Number(line.before(`ledger:${pid}:${counter}`) ?? 0);
    if (line.index > 0 && value !== before) gained.set(counter, value - before);
  }
  return { head, values, gained };
}

/** A whole family's ledger: what its processes, living and gone, counted since the recording began. */
export class FamilyLedger {
  private readonly changes: [step: number, key: string, value: number][] = [];

  constructor(private readonly line: Timeline) {
    line.scenario.steps.forEach((step, index) => {
      for (const [key, value] of Object.entries(step.set))
        if (key.startsWith("ledger:") && !key.startsWith("ledger:0:")) this.changes.push([index, key, Number(value)]);
    });
  }

  /** The sums after a step, by counter. */
  sums(index = this.line.index): Map<string, number> {
    const last = new Map<string, number>();
    const base = new Map<string, number>();
    for (const [step, key, value] of this.changes) {
      if (step > index) break;
      if (step === 0) base.set(key, value);
      last.set(key, value);
    }
    const sums = new Map<string, number>();
    for (const [key, value] of last) {
      const counter = key.slice(key.lastIndexOf(":") + 1);
      sums.set(counter, (sums.get(counter) ?? 0) + value - (base.get(key) ?? 0));
    }
    return sums;
  }

  column(head: string): LedgerColumn {
    const values = this.sums();
    const before = this.line.index > 0 ? this.sums(this.line.index - 1) : values;
    const gained = new Map<string, number>();
    for (const [counter, value] of values)
      if (value !== (before.get(counter) ?? 0)) gained.set(counter, value - (before.get(counter) ?? 0));
    return { head, values, gained };
  }
}

export function drawLedger(columns: LedgerColumn[], root: HTMLElement, difference: boolean): void {
  const counters = [...new Set(columns.flatMap((column) => [...column.values.keys()]))]
    .filter((counter) => columns.some((column) => column.values.get(counter))).sort();
  const heads = ["counter", ...columns.map((column) => column.head), ...(difference ? ["difference"] : [])];
  const table = select(root);
  setText(table.select("thead tr").selectAll<HTMLElement, string>("th").data(heads).join((enter) => enter.append("th").attr("scope", "col")), (head) => head);
  const rows = table.select("tbody").selectAll<HTMLElement, string>("tr").data(counters, (counter) => String(counter)).join("tr");
  setClass(rows, (counter) => ["", { changed: columns.some((column) => column.gained.has(counter)) }]);
  const shown = (counter: string): [string, string][] => {
    const numbers = columns.map((column) => column.values.get(counter) ?? 0);
    const cells = columns.map((column, i): [string, string] => {
      const gain = column.gained.get(counter);
      return [told(numbers[i]!), gain ? `${gain > 0 ? "+" : ""}${told(gain)}` : ""];
    });
    const apart = (numbers[1] ?? 0) - (numbers[0] ?? 0);
    if (difference) cells.push([apart === 0 ? "=" : `${apart > 0 ? "+" : "−"}${told(Math.abs(apart))}`, ""]);
    return cells;
  };
  setText(rows.selectAll<HTMLElement, string>("th").data((counter) => [counter]).join((enter) => enter.append("th").attr("scope", "row")), (counter) => counter);
  const cells = rows.selectAll<HTMLElement, [string, string]>("td").data(shown).join((enter) => {
    const cell = enter.append("td");
    cell.append("i").attr("class", "gain");
    cell.append("span");
    return cell;
  });
  setText(cells.select("i"), ([, gain]) => gain);
  setText(cells.select("span"), ([value]) => value);
  setText(table.select("caption").datum(counters), ({ length }) => (length ? "" : "Nothing has been counted yet."));
}

interface ShownCall {
  key: string;
  title: string;
  figures: [name: string, value: number][];
  changed: boolean;
}

/** What /proc/PID/ledger says of each process: its calls, and what they and the faults they led to cost. */
export function drawCalls(lines: Timeline[], root: HTMLElement): void {
  const calls = lines.flatMap((line, i) => line.procs().flatMap((proc) => line.calls(proc.pid).map(([number, call]): ShownCall => {
    const key = `call:${proc.pid}:${number}`;
    return { key: `${"ab"[i]}:${key}`, title: titleOf(call, number, proc.pid), figures: figuresOf(call), changed: line.index > 0 && line.changed(key) };
  })));
  const boxes = select(root).selectAll<HTMLDetailsElement, ShownCall>("details").data(calls, (call) => call.key).join((enter) => {
    const box = enter.append("details");
    box.append("summary");
    box.append("dl");
    return box;
  });
  setAttr(boxes, "data-call", (call) => call.key);
  setClass(boxes, (call) => ["call", { changed: call.changed }]);
  setText(boxes.select("summary"), (call) => call.title);
  const figures = boxes.select("dl").selectAll<HTMLElement, ShownCall["figures"][number]>("div").data((call) => call.figures, ([name]) => name).join((enter) => {
    const figure = enter.append("div");
    figure.append("dt");
    figure.append("dd");
    return figure;
  });
  setText(figures.select("dt"), ([name]) => name);
  setText(figures.select("dd"), ([, value]) => told(value));
  select(root).selectAll("p").data(calls.length ? [] : [0]).join("p").attr("class", "dim").text("No fork, exec or exit has come about yet.");
}

/** In whose ledger it stands; who called, and whom it made. */
function titleOf(call: Call, number: number, owner: number): string {
  const made = call.child ? ` → ${call.child} (${call.mode})` : "";
  return `/proc/${owner}/ledger ${number}: ${call.kind} by ${call.name} ${call.pid}${made}`;
}

function figuresOf(call: Call): [string, number][] {
  const later = (side: string, counts: Record<string, number>): [string, number][] =>
    Object.entries(counts).map(([name, value]) => [`later, in the ${side}: ${name}`, value]);
  return [...Object.entries(call.counters), ...later("parent", call.later_parent), ...later("child", call.later_child)];
}
