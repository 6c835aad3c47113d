// What the picture shows of a state: a column for each process, with its entries and the pages that its
// page tables map; between the columns what lies behind: amaps, anons that amaps share, objects. No drawing
// here.
import type { Entry, Proc } from "./data.js";
import { told } from "./dom.js";
import { frameOf, pieceOf, type Run } from "./runs.js";
import { pageNumber, type Timeline } from "./timeline.js";

/** How a run of pages looks; the words in the legend. */
export type ChipKind = "danger" | "writable" | "protected" | "readonly" | "absent" | "anon" | "shared-anon" | "file" | "more";

export interface Chip {
  key: string;
  kind: ChipKind;
  text: string;
  n: number;
  changed: boolean;
  dirty: boolean;
  wired: boolean;
  label: string; // for a tooltip and for screen readers
  target: Target;
  frames: [first: number, last: number][]; // physical pages, a range for each run in it
}

/** Something that can be looked at closely. */
export type Target =
  | { kind: "pages"; of: "ptes" | "anons" | "pages"; id: string; at: number; n: number }
  | { kind: "entry"; vm: string; start: string }
  | { kind: "amap"; id: string }
  | { kind: "object"; id: string }
  | { kind: "vmspace"; id: string }
  | { kind: "proc"; pid: number }
  | { kind: "row"; key: string };

export interface Badge {
  kind: "private" | "needs-copy" | "shared" | "wired" | "inherit";
  text: string;
  label: string;
}
export interface Row {
  key: string;
  vm: string;
  entries: Entry[]; // several when it is a folded region
  name: string;
  prot: string;
  place: string;
  size: string;
  badges: Badge[];
  chips: Chip[];
  changed: boolean;
  open: boolean; // all chips are shown
  region: string | null; // of which foldable region it is a part
  heads: boolean; // the first row of an unfolded region, or a folded one
  folded: boolean;
  target: Target;
}
export interface VmView {
  id: string;
  pids: number[];
  refs: number;
  resident: number;
  commit: number;
  changed: boolean;
  rows: Row[];
}
export interface Card {
  key: string;
  gap: number; // behind which column it stands
  lane: 0 | 1 | 2; // there: at the column before, between, at the column behind
  kind: "amap" | "object" | "anons";
  title: string;
  detail: string;
  label: string;
  chips: Chip[];
  changed: boolean;
  target: Target | null;
}
export interface Link {
  key: string;
  from: string;
  to: string;
  kind: "amap" | "object" | "anons" | "vmspace" | "waits";
}
export interface Column {
  key: string;
  proc: Proc | null;
  vm: VmView | null;
  /** One that its exec is making, below. */
  making: VmView | null;
  /** The column that its vmspace is drawn in, when it is another process's too. */
  borrowedFrom: Column | null;
  /** Folded to a strip. */
  narrow: boolean;
}
export interface Scene {
  columns: Column[]; // two at least
  /** Whether there is room for no more than one lane of cards between columns, and for short words. */
  dense: boolean;
  cards: Card[];
  links: Link[];
}

/** What the reader has chosen, and the room there is. */
export interface View {
  narrow: Map<number, boolean>; // processes: folded or not; otherwise as the events suggest
  folds: Map<string, boolean>; // regions: folded or not
  open: Set<string>; // rows of which all chips are shown
  most: number; // columns that are wide
}

export function shortId(id: string): string {
  return id.slice(-4);
}

export function makeScene(line: Timeline, view: View): Scene {
  const procs = line.procs();
  const column = (key: string, proc: Proc | null): Column => ({ key, proc, vm: null, making: null, borrowedFrom: null, narrow: false });
  const columns = procs.map((proc) => column(String(proc.pid), proc));
  const making = unowned(line, procs);
  const maker = making === null ? null : line.executing();
  if (making !== null && maker === null) columns.push(column("making", null));
  while (columns.length < 2) columns.push(column(`none${columns.length}`, null));
  fold(line, view, columns);
  const dense = view.most < 3 || columns.length > 2;
  const chips = dense ? 4 : 6;
  const drawn = new Map<string, Column>();
  for (const column of columns) {
    if (maker !== null && column.proc?.pid === maker) column.making = vmView(line, view, procs, making!, chips);
    const id = column.key === "making" ? making : (column.proc?.vmspace ?? null);
    if (!id) continue;
    column.borrowedFrom = drawn.get(id) ?? null;
    if (column.borrowedFrom) continue;
    column.vm = vmView(line, view, procs, id, chips);
    drawn.set(id, column);
  }
  const scene: Scene = { columns, dense, cards: [], links: [] };
  addBacking(line, scene, view, chips);
  for (const column of columns) {
    const { key, proc, borrowedFrom } = column;
    if (borrowedFrom) scene.links.push({ key: `borrowed-${key}`, from: `ghost-${key}`, to: `vm-${borrowedFrom.key}`, kind: "vmspace" });
    if (proc && columns.some((other) => other.proc?.pid === proc.waits_for))
      scene.links.push({ key: `waits-${proc.pid}`, from: `proc-${proc.pid}`, to: `proc-${proc.waits_for}`, kind: "waits" });
  }
  return scene;
}

/** Where there are more columns than there is room for, those that did something last stay wide. */
function fold(line: Timeline, view: View, columns: Column[]): void {
  const free = columns.filter((column) => column.proc && !view.narrow.has(column.proc.pid));
  const taken = columns.filter((column) => !column.proc || view.narrow.get(column.proc.pid) === false).length;
  const order = line.lastActing(free.map((column) => column.proc!.pid), Math.max(0, view.most - taken));
  for (const column of columns)
    if (column.proc) column.narrow = view.narrow.get(column.proc.pid) ?? !order.has(column.proc.pid);
}

/** A vmspace that no process has: one in the making. */
function unowned(line: Timeline, procs: Proc[]): string | null {
  const owned = new Set(procs.map((proc) => proc.vmspace));
  return line.vmspaces().find(([id]) => !owned.has(id))?.[0] ?? null;
}

// ---- Address spaces ----

function vmView(line: Timeline, view: View, procs: Proc[], id: string, most: number): VmView {
  const vm = line.vmspace(id);
  const entries = line.entries(id);
  const regions = groups(entries);
  const rows = regions.flatMap((group): Row[] => {
    const first = group[0]!;
    if (group.length === 1) return [row(line, view, id, group, null, false, most)];
    const region = `${id}:${first.start}`;
    const folded = view.folds.get(region) ?? true;
    if (folded) return [row(line, view, id, group, region, true, most)];
    return group.map((entry, i) => ({ ...row(line, view, id, [entry], region, false, most), heads: i === 0 }));
  });
  return {
    id,
    pids: procs.filter((proc) => proc.vmspace === id).map((proc) => proc.pid),
    refs: vm?.refs ?? 0,
    resident: vm?.pages_resident ?? 0,
    commit: vm?.commit ?? 0,
    changed: line.changed(`vm:${id}`),
    rows,
  };
}

/** Neighbours of one name that nobody writes to: a region, such as a program's text. */
function groups(entries: Entry[]): Entry[][] {
  const result: Entry[][] = [];
  for (const entry of entries) {
    const last = result[result.length - 1];
    const readOnly = !entry.prot.includes("w");
    if (last && readOnly && entry.name !== "" && last[0]!.name === entry.name && !last[0]!.prot.includes("w")) last.push(entry);
    else result.push([entry]);
  }
  return result;
}

function row(line: Timeline, view: View, vm: string, entries: Entry[], region: string | null, folded: boolean, most: number): Row {
  const first = entries[0]!;
  const last = entries[entries.length - 1]!;
  const key = `${folded ? "region" : "entry"}:${vm}:${first.start}`;
  const chips = entries.flatMap((entry) => pteChips(line, vm, entry));
  const open = view.open.has(key);
  const pages = entries.reduce((sum, entry) => sum + pagesOf(entry), 0);
  return {
    key,
    vm,
    entries,
    name: nameOf(first),
    prot: folded ? `${entries.length} entries` : first.prot,
    place: first.start,
    size: count(pages, "page"),
    badges: folded ? regionBadges(line, vm, entries) : badges(line, vm, first),
    chips: open ? chips : shorten(chips, most, key),
    changed: entries.some((entry) => line.changed(`entry:${vm}:${entry.start}`)),
    open,
    region,
    heads: folded,
    folded,
    target: folded ? { kind: "row", key } : { kind: "entry", vm, start: last.start },
  };
}

export function nameOf(entry: Entry): string {
  if (entry.name.startsWith("/")) return entry.name.slice(entry.name.lastIndexOf("/") + 1);
  return entry.name || "anonymous";
}
export function pagesOf(entry: Entry): number {
  return pageNumber(entry.end) - pageNumber(entry.start);
}
export function count(n: number, word: string): string {
  return `${told(n)} ${word}${n === 1 ? "" : "s"}`;
}

/** Whose memory the entry's is, in words; of entries that nobody may write to only if it is a shared mapping. */
function badges(line: Timeline, vm: string, entry: Entry): Badge[] {
  const result: Badge[] = [];
  const writable = entry.prot.includes("w");
  const others = entry.needs_copy ? sharers(line, vm, entry) : 0;
  if (!entry.cow)
    result.push({ kind: "shared", text: "shared mapping", label: "MAP_SHARED: both see what one writes, and nothing is ever copied" });
  else if (others > 0 && writable)
    result.push({ kind: "needs-copy", text: `shared with ${others} (needs copy)`, label: "needs_copy: the amap is another entry's too, and must be copied before a write" });
  else if (writable)
    result.push({ kind: "private", text: "private", label: !entry.amap ? "private: nothing written yet, the first write makes an amap" :
      entry.needs_copy ? "private: needs_copy is still set, but who had the amap too is gone; the next write copies nothing" : "private, with an amap of its own" });
  if (entry.wired > 0) result.push({ kind: "wired", text: "wired", label: "wired: its pages stay in memory" });
  if (entry.inherit !== "copy")
    result.push({ kind: "inherit", text: `fork: ${entry.inherit}`, label: `a child of fork gets: ${entry.inherit}` });
  return result;
}

/** How many other address spaces have an entry that refers to the entry's amap. */
function sharers(line: Timeline, vm: string, entry: Entry): number {
  if (!entry.amap) return 0;
  const known = line.vmspaces().filter(([id]) => id !== vm && line.entries(id).some((each) => each.amap === entry.amap)).length;
  const own = line.entries(vm).filter((each) => each.amap === entry.amap).length;
  return Math.max(known, Math.sign((line.amap(entry.amap)?.refs ?? 0) - own));
}

function regionBadges(line: Timeline, vm: string, entries: Entry[]): Badge[] {
  const seen = new Map<string, Badge>();
  for (const badge of entries.flatMap((entry) => badges(line, vm, entry))) seen.set(badge.text, badge);
  return [...seen.values()];
}

// ---- Pages ----

/** A run's parts by whether the step changed them: [part, changed]. */
function split(run: Run, changes: { at: number; n: number }[]): [Run, boolean][] {
  const end = run.at + run.n;
  const inside = changes.filter((change) => change.at < end && change.at + change.n > run.at);
  if (inside.length === 0) return [[run, false]];
  const result: [Run, boolean][] = [];
  let at = run.at;
  for (const change of [...inside].sort((a, b) => a.at - b.at)) {
    const start = Math.max(change.at, run.at);
    const stop = Math.min(change.at + change.n, end);
    if (start > at) result.push([pieceOf(run, at, start), false]);
    if (stop > Math.max(start, at)) result.push([pieceOf(run, Math.max(start, at), stop), true]);
    at = Math.max(at, stop);
  }
  if (at < end) result.push([pieceOf(run, at, end), false]);
  return result;
}

interface Look {
  kind: ChipKind;
  text: string;
  say: string;
  dirty: boolean;
  wired: boolean;
}

/** Chips of a range: its runs and the gaps between them. Runs that look the same are one chip. */
function chipsOf(
  of: "ptes" | "anons" | "pages", id: string, runs: Run[], changes: { at: number; n: number }[],
  range: [start: number, end: number] | null, look: (run: Run) => Look, noun: string,
): Chip[] {
  const chips: Chip[] = [];
  const add = (run: Run | null, at: number, n: number, changed: boolean): void => {
    const seen: Look = run
      ? look(run)
      : { kind: "absent", text: "–", say: changed ? "no longer mapped" : "not mapped", dirty: false, wired: false };
    const last = chips[chips.length - 1];
    const target = { kind: "pages", of, id, at, n } as const;
    if (last && last.kind === seen.kind && last.text === seen.text && last.changed === changed &&
        last.target.kind === "pages" && last.target.at + last.target.n === at) {
      last.n += n;
      last.target = { ...last.target, n: last.n };
      if (run) last.frames.push(framesOf(run));
    } else {
      chips.push({
        key: `${of}:${id}:${at}`, kind: seen.kind, text: seen.text, n, changed, dirty: seen.dirty,
        wired: seen.wired, label: seen.say, target, frames: run ? [framesOf(run)] : [],
      });
    }
  };
  let at = range?.[0] ?? 0;
  const gap = (to: number): void => {
    if (!range || to <= at) return;
    for (const [part, changed] of split({ at, n: to - at, pfn: 0, tag: "", step: 0 }, changes))
      add(null, part.at, part.n, changed);
  };
  for (const run of runs) {
    gap(run.at);
    for (const [part, changed] of split(run, changes)) add(part, part.at, part.n, changed);
    at = run.at + run.n;
  }
  if (range) gap(range[1]);
  for (const chip of chips)
    chip.label = `${count(chip.n, noun)}: ${chip.label}${chip.changed ? ", changed by this step" : ""}`;
  return chips;
}

function framesOf(run: Run): [number, number] {
  const ends = [run.pfn, frameOf(run, run.at + run.n - 1)];
  return [Math.min(...ends), Math.max(...ends)];
}
function overlap(a: [number, number], b: [number, number]): boolean {
  return a[0] <= b[1] && a[1] >= b[0];
}

function pteChips(line: Timeline, vm: string, entry: Entry): Chip[] {
  const start = pageNumber(entry.start);
  const end = pageNumber(entry.end);
  const changes = line.changedRuns(`ptes:${vm}`);
  const common = commonFrames(line, entry);
  const runs = line.ptes(vm).within(start, end).flatMap((run) => (String(run.tag).includes("w") ? cut(run, common) : [run]));
  return chipsOf("ptes", vm, runs, changes, [start, end], (run) => {
    const look = pteLook(entry, String(run.tag));
    if (look.kind !== "writable" || !entry.cow || (!(entry.needs_copy && !line.forking()) && !common.some((frames) => overlap(framesOf(run), frames)))) return look;
    return { ...look, kind: "danger", text: `${look.text}!`, say: `${look.say}, though others have the page, too: the kernel is wrong` };
  }, "page");
}

/** The frames of a private entry's anons that are in another amap, too. */
function commonFrames(line: Timeline, entry: Entry): [number, number][] {
  if (!entry.cow || !entry.amap) return [];
  return line.anons(entry.amap).runs.filter((run) => Number(run.tag) > 1).map(framesOf);
}

/** How a PTE looks, given the rights of its entry. */
export function pteLook(entry: Entry, flags: string): Look {
  const dirty = flags.includes("d");
  const wired = flags.includes("l");
  const more = `${dirty ? ", dirty" : ""}${wired ? ", wired" : ""}`;
  const mark = `${dirty ? " d" : ""}${wired ? " l" : ""}`;
  if (flags.includes("w")) return { kind: "writable", text: `w${mark}`, say: `writable${more}`, dirty, wired };
  if (entry.prot.includes("w"))
    return { kind: "protected", text: `wp${mark}`, say: `write-protected${more}`, dirty, wired };
  return { kind: "readonly", text: `r${flags.includes("x") ? "x" : ""}${mark}`, say: `read-only${more}`, dirty, wired };
}

/** At most `most` chips: those that changed first, then the first ones; a last one says how many are not shown. */
function shorten(chips: Chip[], most: number, key: string): Chip[] {
  if (chips.length <= most) return chips;
  const order = chips.map((chip, index) => ({ chip, index }));
  order.sort((a, b) => Number(b.chip.changed) - Number(a.chip.changed) ||
    Number(a.chip.kind === "absent") - Number(b.chip.kind === "absent") || a.index - b.index);
  const shown = order.slice(0, most - 1).sort((a, b) => a.index - b.index);
  const hidden = order.slice(most - 1);
  const pages = hidden.reduce((sum, { chip }) => sum + chip.n, 0);
  const more: Chip = {
    key: `${key}:more`, kind: "more", text: `+${hidden.length}`, n: 1, changed: false, dirty: false, wired: false,
    label: `${count(hidden.length, "more run")}, ${count(pages, "page")}: show them`, target: { kind: "row", key }, frames: [],
  };
  return [...shown.map(({ chip }) => chip), more];
}

// ---- What lies behind the entries ----

interface Use {
  column: number;
  row: Row;
  entry: Entry;
}

function addBacking(line: Timeline, scene: Scene, view: View, most: number): void {
  const amaps = new Map<string, Use[]>();
  const objects = new Map<string, Use[]>();
  const note = (map: Map<string, Use[]>, id: string | null, use: Use): void => {
    if (!id) return;
    const uses = map.get(id);
    if (uses) uses.push(use);
    else map.set(id, [use]);
  };
  scene.columns.forEach(({ vm, making }, column) => {
    for (const row of [...(vm?.rows ?? []), ...(making?.rows ?? [])])
      for (const entry of row.entries) {
        note(amaps, entry.amap, { column, row, entry });
        note(objects, entry.object, { column, row, entry });
      }
  });
  const shared = sharedFrames(line, [...amaps.keys()]);
  for (const [id, uses] of amaps) addAmap(line, scene, view, id, uses, shared, most);
  addSharedAnons(line, scene, view, amaps, shared);
  for (const [id, uses] of objects) addObject(line, scene, view, id, uses, most);
}

/** Where a card stands that is of these columns; null: nowhere, for all of them are strips. */
function standing(scene: Scene, uses: Use[]): { gap: number; lane: 0 | 1 | 2; columns: number } | null {
  const columns = [...new Set(uses.map((use) => use.column))].sort((a, b) => a - b);
  const wide = columns.filter((column) => !scene.columns[column]!.narrow);
  const last = columns[columns.length - 1];
  const first = wide[0];
  if (first === undefined) return null;
  const before = columns.length > 1 ? first === last : first === scene.columns.length - 1;
  const gap = before ? first - 1 : first;
  return { gap, lane: columns.length > 1 ? 1 : first === gap ? 0 : 2, columns: columns.length };
}

function link(scene: Scene, from: string, to: string, kind: Link["kind"]): void {
  const key = `${from}>${to}`;
  if (!scene.links.some((each) => each.key === key)) scene.links.push({ key, from, to, kind });
}

/** The frames that more than one of the amaps has, as [first, last], by address. */
function sharedFrames(line: Timeline, ids: string[]): [number, number][] {
  const all = ids.flatMap((id) => line.anons(id).runs.map(framesOf)).sort((a, b) => a[0] - b[0] || a[1] - b[1]);
  const shared: [number, number][] = [];
  let reach = -1;
  for (const [first, last] of all) {
    if (first <= reach) {
      const stop = Math.min(last, reach);
      const before = shared[shared.length - 1];
      if (before && first <= before[1] + 1) before[1] = Math.max(before[1], stop);
      else shared.push([first, stop]);
    }
    reach = Math.max(reach, last);
  }
  return shared;
}

function addAmap(line: Timeline, scene: Scene, view: View, id: string, uses: Use[], shared: [number, number][], most: number): void {
  const amap = line.amap(id);
  const place = standing(scene, uses);
  if (!amap || !place) return;
  const key = `amap:${id}`;
  const isShared = (run: Run): boolean => among(shared, framesOf(run)).length > 0;
  const runs = line.anons(id).runs.flatMap((run) => cut(run, shared));
  const chips = chipsOf("anons", id, runs, line.changedRuns(`anons:${id}`), null, (run) => {
    const refs = Number(run.tag);
    const far = isShared(run);
    return {
      kind: far || refs > 1 ? "shared-anon" : "anon", text: refs > 1 ? `${refs} refs` : "1 ref", dirty: false, wired: false,
      say: `anon with ${count(refs, "reference")}${far ? ", which another amap has too" : ""}`,
    };
  }, "page");
  const anons = line.anons(id).runs.reduce((sum, run) => sum + run.n, 0);
  scene.cards.push({
    key, gap: place.gap, lane: place.lane, kind: "amap", title: `amap ${shortId(id)}`, detail: amap.refs > 1 ? `${amap.refs} refs` : "",
    label: `amap ${id}, ${count(amap.refs, "reference")}, ${count(anons, "anon")}${place.columns > 1 ? `, shared by ${place.columns === 2 ? "both" : place.columns} processes` : ""}`,
    chips: view.open.has(key) ? chips : shorten(chips, most - 1, key),
    changed: line.changed(key), target: { kind: "amap", id },
  });
  for (const use of uses) link(scene, use.row.key, key, "amap");
}

/** Those of these ranges that have a part of one; they are in order and apart. */
function among(ranges: [number, number][], [first, last]: readonly [number, number]): [number, number][] {
  let low = 0;
  let high = ranges.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (ranges[middle]![1] < first) low = middle + 1;
    else high = middle;
  }
  let end = low;
  while (end < ranges.length && ranges[end]![0] <= last) end++;
  return ranges.slice(low, end);
}

/** A run's parts inside and outside of the frames that are shared. */
function cut(run: Run, shared: [number, number][]): Run[] {
  if (run.step === 0) return [run];
  const edges = new Set<number>([run.at, run.at + run.n]);
  for (const [from, to] of among(shared, framesOf(run)))
    for (const frame of run.step > 0 ? [from, to + 1] : [to, from - 1]) {
      const at = run.at + (frame - run.pfn) * run.step;
      if (at > run.at && at < run.at + run.n) edges.add(at);
    }
  const sorted = [...edges].sort((a, b) => a - b);
  return sorted.slice(1).map((end, i) => pieceOf(run, sorted[i]!, end));
}

/** The anons that amaps share are drawn once, between them: a card for each set of amaps. */
function addSharedAnons(line: Timeline, scene: Scene, view: View, amaps: Map<string, Use[]>, shared: [number, number][]): void {
  const groups = new Map<string, { ids: string[]; frames: [number, number][] }>();
  for (const frames of shared) {
    const ids = [...amaps.keys()].filter((id) => line.anons(id).runs.some((run) => overlap(framesOf(run), frames)));
    const key = `anons:${ids.join("+")}`;
    const group = groups.get(key) ?? { ids, frames: [] };
    group.frames.push(frames);
    groups.set(key, group);
  }
  const cards = [...groups].map(([key, { ids, frames }]) => {
    const id = ids[0]!; // the slots are told as those of the first
    const runs = line.anons(id).runs.flatMap((run) => cut(run, shared)).filter((run) => among(frames, framesOf(run)).length > 0);
    const chips = chipsOf("anons", id, runs, line.changedRuns(`anons:${id}`), null, (run) => ({
      kind: "shared-anon", text: `${run.tag} refs`, dirty: false, wired: false,
      say: `anon with ${count(Number(run.tag), "reference")}, in ${count(ids.length, "amap")}`,
    }), "page");
    return { key, ids, chips };
  });
  for (const { key, ids, chips } of cards) {
    const place = standing(scene, ids.flatMap((id) => amaps.get(id)!));
    if (!place) continue;
    const pages = chips.reduce((sum, chip) => sum + chip.n, 0);
    const named = chips.map((chip) => ({ ...chip, key: `shared:${chip.key}` }));
    scene.cards.push({
      key, gap: place.gap, lane: 1, kind: "anons", title: "shared anons", detail: count(pages, "page"),
      label: `${count(pages, "anon")} that ${count(ids.length, "amap")} share`,
      chips: view.open.has(key) ? named : shorten(named, 4, key),
      changed: chips.some((chip) => chip.changed), target: null,
    });
    for (const id of ids)
      if (scene.cards.some((card) => card.key === `amap:${id}`)) link(scene, `amap:${id}`, key, "anons");
      else for (const use of amaps.get(id)!) link(scene, use.row.key, key, "anons"); // of a strip
  }
}

function addObject(line: Timeline, scene: Scene, view: View, id: string, uses: Use[], most: number): void {
  const object = line.object(id);
  const place = standing(scene, uses);
  if (!object || !place) return;
  const key = `object:${id}`;
  const used = uses.map(({ entry }) => {
    const first = entry.offset / 4096;
    return [first, first + pagesOf(entry)] as const;
  });
  const from = Math.min(...used.map(([first]) => first));
  const to = Math.max(...used.map(([, end]) => end));
  const runs = line.objectPages(id).within(from, to);
  const chips = chipsOf("pages", id, runs, line.changedRuns(`pages:${id}`), null, (run) => {
    const dirty = String(run.tag).includes("d");
    return { kind: "file", text: dirty ? "d" : "", say: `${object.kind} page${dirty ? ", dirty" : ""}`, dirty, wired: String(run.tag).includes("l") };
  }, "page");
  const name = object.name.slice(object.name.lastIndexOf("/") + 1);
  scene.cards.push({
    key, gap: place.gap, lane: 1, kind: "object", title: name || `${object.kind} object`, detail: `${object.kind}${object.refs > 1 ? `, ${object.refs} refs` : ""}`,
    label: `object ${object.name || id}, ${object.kind}, ${count(object.refs, "reference")}`,
    chips: view.open.has(key) ? chips : shorten(chips, most - 1, key),
    changed: line.changed(key), target: { kind: "object", id },
  });
  for (const use of uses) link(scene, use.row.key, key, "object");
}
