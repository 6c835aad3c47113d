// A scenario's state at any of its steps. Going forward applies what the steps changed and keeps
// what it replaced, so going back is as cheap.
import type { Amap, Call, Entry, Proc, Scenario, Step, System, Table, VmObject, Vmspace } from "./data.js";
import { PageRuns, type RunUndo } from "./runs.js";

interface Undo {
  values: [key: string, was: unknown][]; // undefined: was not there
  runs: [key: string, undo: RunUndo][];
}

export interface Phase {
  step: number;
  name: string;
}

export class Timeline {
  readonly phases: Phase[] = [];
  private readonly values = new Map<string, unknown>();
  private readonly runs = new Map<string, PageRuns>();
  private readonly undos: Undo[] = [];
  private at = -1;
  private since = -1; // what came after this step counts as changed
  private readonly found = new Map<string, unknown>(); // what was asked for at this step

  constructor(readonly scenario: Scenario) {
    scenario.steps.forEach((step, index) => {
      const text = step.event === "mark" ? String(step.args["text"] ?? "") : "";
      if (text.startsWith("#")) this.phases.push({ step: index, name: text.slice(1).trim() });
    });
    this.go(0);
  }

  get index(): number {
    return this.at;
  }
  get length(): number {
    return this.scenario.steps.length;
  }
  get step(): Step {
    return this.scenario.steps[this.at]!;
  }

  /**
   * Goes to a step; one outside the scenario is its first or last. What changed is told since the
   * step `since`: the one before, unless steps are left out.
   */
  go(index: number, since = index - 1): void {
    this.found.clear();
    const goal = Math.max(0, Math.min(this.length - 1, index));
    while (this.at < goal) this.forward();
    while (this.at > goal) this.back();
    this.since = Math.max(-1, Math.min(since, this.at - 1));
  }

  private forward(): void {
    const step = this.scenario.steps[++this.at]!;
    const undo: Undo = { values: [], runs: [] };
    for (const key of step.del) {
      undo.values.push([key, this.values.get(key)]);
      this.values.delete(key);
    }
    for (const [key, value] of Object.entries(step.set)) {
      undo.values.push([key, this.values.get(key)]);
      this.values.set(key, value);
    }
    for (const [key, at, n, value] of step.runs) {
      undo.runs.push([key, this.pages(key).assign(at, n, value)]);
    }
    this.undos.push(undo);
  }

  private back(): void {
    const undo = this.undos.pop()!;
    this.at--;
    for (const [key, each] of undo.runs.reverse()) this.pages(key).undo(each);
    for (const [key, was] of undo.values.reverse()) {
      if (was === undefined) this.values.delete(key);
      else this.values.set(key, was);
    }
  }

  private pages(key: string): PageRuns {
    const pages = this.runs.get(key) ?? new PageRuns();
    this.runs.set(key, pages);
    return pages;
  }

  /** The steps that count as just made. The first step's values are all new: it does not count. */
  private recent(): Step[] {
    return this.scenario.steps.slice(Math.max(1, this.since + 1), this.at + 1);
  }

  /** A value as it was before what changed. */
  before(key: string): unknown {
    for (const undo of this.undos.slice(Math.max(1, this.since + 1), this.at + 1)) {
      const found = undo.values.find(([each]) => each === key);
      if (found) return found[1];
    }
    return this.values.get(key);
  }

  changed(key: string): boolean {
    return this.recent().some((step) => Object.hasOwn(step.set, key));
  }

  /** The runs that changed, of one key. */
  changedRuns(key: string): { at: number; n: number }[] {
    const found = this.recent().flatMap((step) => step.runs.filter(([each]) => each === key));
    return found.map(([, at, n]) => ({ at, n }));
  }

  private each<T>(prefix: string): [string, T][] {
    const known = this.found.get(prefix);
    if (known) return known as [string, T][];
    const found: [string, T][] = [];
    for (const [key, value] of this.values)
      if (key.startsWith(prefix)) found.push([key.slice(prefix.length), value as T]);
    this.found.set(prefix, found);
    return found;
  }

  /** The process whose exec has made the youngest address space; null when a fork has. */
  executing(): number | null {
    let made = this.at;
    const event = (i: number): string | undefined => this.scenario.steps[i]?.event;
    while (made >= 0 && event(made) !== "vmspace_created") made--;
    const pid = this.scenario.steps[made]?.pid;
    for (let i = made; i >= 0; i--)
      if (this.scenario.steps[i]!.pid === pid && (event(i) === "exec_begin" || event(i) === "fork_begin")) return event(i) === "exec_begin" ? pid! : null;
    return null;
  }

  /** Whether a fork is under way: what it is going to write-protect is still writable in part. */
  forking(): boolean {
    const known = this.found.get("forking");
    if (known !== undefined) return known as boolean;
    let i = this.at;
    while (i >= 0 && !["fork_begin", "vmspace_forked", "fork_end"].includes(this.scenario.steps[i]!.event)) i--;
    const found = this.scenario.steps[i]?.event === "fork_begin";
    this.found.set("forking", found);
    return found;
  }

  /** Of these processes those `most` that made an event last; then the others by number. */
  lastActing(pids: number[], most: number): Set<number> {
    if (pids.length <= most) return new Set(pids);
    const acted = new Set<number>();
    for (let i = this.at; i >= 0 && acted.size < most; i--) {
      const pid = this.scenario.steps[i]!.pid;
      if (pids.includes(pid)) acted.add(pid);
    }
    for (const pid of pids) if (acted.size < most) acted.add(pid);
    return acted;
  }

  get system(): System {
    return this.values.get("sys") as System;
  }
  procs(): Proc[] {
    return this.each<Proc>("proc:")
      .map(([, proc]) => proc)
      .sort((a, b) => a.pid - b.pid);
  }
  ledger(pid: number): Map<string, number> {
    return new Map(this.each<number>(`ledger:${pid}:`));
  }
  /** What the kernel's ledger of a process says: its calls by number. */
  calls(pid: number): [number: number, call: Call][] {
    return this.each<Call>(`call:${pid}:`)
      .map(([number, call]): [number, Call] => [Number(number), call])
      .sort(([a], [b]) => a - b);
  }
  vmspaces(): [string, Vmspace][] {
    return this.each<Vmspace>("vm:");
  }
  vmspace(id: string): Vmspace | undefined {
    return this.values.get(`vm:${id}`) as Vmspace | undefined;
  }
  entries(vm: string): Entry[] {
    const known = this.found.get(vm);
    if (known) return known as Entry[];
    const entries = this.each<Entry>(`entry:${vm}:`)
      .map(([, entry]) => entry)
      .sort((a, b) => pageNumber(a.start) - pageNumber(b.start));
    this.found.set(vm, entries);
    return entries;
  }
  table(vm: string, level: number, va: bigint): Table | undefined {
    return this.values.get(`table:${vm}:${level}:0x${va.toString(16)}`) as Table | undefined;
  }
  amap(id: string): Amap | undefined {
    return this.values.get(`amap:${id}`) as Amap | undefined;
  }
  object(id: string): VmObject | undefined {
    return this.values.get(`object:${id}`) as VmObject | undefined;
  }
  ptes(vm: string): PageRuns {
    return this.pages(`ptes:${vm}`);
  }
  anons(amap: string): PageRuns {
    return this.pages(`anons:${amap}`);
  }
  objectPages(object: string): PageRuns {
    return this.pages(`pages:${object}`);
  }
}

/** The page number of an address, which a double holds exactly. */
export function pageNumber(address: string): number {
  return Number(BigInt(address) >> 12n);
}
export function addressOf(page: number): string {
  return `0x${(BigInt(page) << 12n).toString(16)}`;
}
