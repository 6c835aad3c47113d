// A closer look at one thing: an entry's fields, a run of pages, down to the bits of one PTE.
import type { Entry } from "./data.js";
import { frameOf, type Run } from "./runs.js";
import { addressOf, pageNumber, type Timeline } from "./timeline.js";
import { count, type Target } from "./scene.js";

export interface Inspection {
  title: string;
  note: string;
  fields: [name: string, value: string][];
  bits: { bit: string; name: string; set: boolean; meaning: string }[];
  parts: { label: string; target: Target }[]; // what can be looked at next
  up: Target | null;
  frames: [number, number] | null;
}

const PARTS = 16;

const BITS: [letter: string, bit: string, name: string, meaning: string][] = [
  ["p", "0", "P", "present"],
  ["w", "1", "R/W", "may be written"],
  ["u", "2", "U/S", "user mode may use it"],
  ["a", "5", "A", "accessed since it was cleared"],
  ["d", "6", "D", "written since it was cleared"],
  ["l", "9", "software", "wired: the mapping must stay"],
  ["x", "63", "XD", "execute-disable"],
];

function empty(title: string): Inspection {
  return { title, note: "", fields: [], bits: [], parts: [], up: null, frames: null };
}

/** Null when the thing is not there at this step. */
export function inspect(line: Timeline, target: Target): Inspection | null {
  switch (target.kind) {
    case "entry":
      return entryOf(line, target.vm, target.start);
    case "amap": {
      const amap = line.amap(target.id);
      if (!amap) return null;
      const runs = line.anons(target.id).runs;
      return {
        ...empty(`amap ${target.id}`),
        note: "The anonymous memory of a mapping: a slot for each page, with an anon or nothing in it.",
        fields: [["references", String(amap.refs)], ["slots referenced", String(amap.slots)], ["shared by inheritance", amap.shared ? "yes" : "no"]],
        parts: runs.slice(0, 64).map((run) => part("anons", target.id, run.at, run.n, `slot ${slots(run)}: ${count(Number(run.tag), "reference")}`)),
      };
    }
    case "object": {
      const object = line.object(target.id);
      if (!object) return null;
      return {
        ...empty(`object ${target.id}`), note: object.name,
        fields: [["kind", object.kind], ["references", String(object.refs)]],
        parts: line.objectPages(target.id).runs.slice(0, 64).map((run) => part("pages", target.id, run.at, run.n, `page ${slots(run)} of the object`)),
      };
    }
    case "vmspace": {
      const vm = line.vmspace(target.id);
      if (!vm) return null;
      const users = line.procs().filter((proc) => proc.vmspace === target.id);
      return {
        ...empty(`vmspace ${target.id}`), note: "An address space: its map entries, its page tables, its accounts.",
        fields: [["references", String(vm.refs)], ["processes", users.map((proc) => `${proc.pid} ${proc.name}`).join(", ") || "none yet"],
          ["resident pages", String(vm.pages_resident)], ["pages committed", String(vm.commit)], ["map entries", String(line.entries(target.id).length)]],
        parts: line.entries(target.id).map((entry) => ({ label: `${entry.start} ${entry.prot} ${entry.name || "anonymous"}`, target: { kind: "entry", vm: target.id, start: entry.start } })),
      };
    }
    case "proc": {
      const proc = line.procs().find((each) => each.pid === target.pid);
      if (!proc) return null;
      return {
        ...empty(`process ${proc.pid}: ${proc.name}`),
        fields: [["parent", String(proc.ppid)], ["state", proc.state], ["sleeps in", proc.why || "-"], ["waits for", proc.waits_for ? String(proc.waits_for) : "-"], ["vmspace", proc.vmspace ?? "none"]],
        parts: proc.vmspace ? [{ label: "its vmspace", target: { kind: "vmspace", id: proc.vmspace } }] : [],
      };
    }
    case "pages":
      return target.n === 1 ? onePage(line, target) : manyPages(line, target);
    case "row":
      return null;
  }
}

function slots(run: { at: number; n: number }): string {
  return run.n === 1 ? String(run.at) : `${run.at} to ${run.at + run.n - 1}`;
}
function part(of: "ptes" | "anons" | "pages", id: string, at: number, n: number, label: string): { label: string; target: Target } {
  return { label, target: { kind: "pages", of, id, at, n } };
}

function entryOf(line: Timeline, vm: string, start: string): Inspection | null {
  const entry = line.entries(vm).find((each) => each.start === start);
  if (!entry) return null;
  const first = pageNumber(entry.start);
  const last = pageNumber(entry.end);
  const parts = [part("ptes", vm, first, last - first, `its ${count(last - first, "page")}`)];
  if (entry.amap) parts.push({ label: `its amap ${entry.amap}`, target: { kind: "amap", id: entry.amap } });
  if (entry.object) parts.push({ label: `its object ${entry.object}`, target: { kind: "object", id: entry.object } });
  return {
    ...empty(`vm_map_entry ${entry.name || "(anonymous)"}`),
    note: kindOf(entry),
    fields: [["range", `${entry.start} – ${entry.end}`], ["protection / maximum", `${entry.prot} / ${entry.max}`], ["copy_on_write", String(entry.cow)],
      ["needs_copy", String(entry.needs_copy)], ["inheritance", entry.inherit], ["advice", entry.advice], ["wired_count", String(entry.wired)],
      ["amap, first slot", entry.amap ? `${entry.amap}, ${entry.slot}` : "none yet"], ["object, offset", entry.object ? `${entry.object}, ${entry.offset}` : "none"]],
    parts,
  };
}

function kindOf(entry: Entry): string {
  if (!entry.cow) return "A shared mapping: both see what one writes; fork copies nothing.";
  if (entry.needs_copy) return "Private. Its amap is missing or may be another entry's too: the first write must copy it.";
  return entry.object ? "Private, of a file: written pages become anons of its own amap." : "Private anonymous memory with an amap of its own.";
}

type Pages = Extract<Target, { kind: "pages" }>;

function runsOf(line: Timeline, target: Pages): Run[] {
  const pages = target.of === "ptes" ? line.ptes(target.id) : target.of === "anons" ? line.anons(target.id) : line.objectPages(target.id);
  return pages.within(target.at, target.at + target.n);
}

function place(target: Pages, at: number): string {
  return target.of === "ptes" ? addressOf(at) : `${target.of === "anons" ? "slot" : "page"} ${at}`;
}

/** A run opens into sixteen parts, or at the edges of what is equal, whichever is fewer. */
function manyPages(line: Timeline, target: Pages): Inspection | null {
  const runs = runsOf(line, target);
  const covered = runs.reduce((sum, run) => sum + run.n, 0);
  const size = Math.max(1, Math.ceil(target.n / PARTS / 8) * (target.n > PARTS * 8 ? 8 : 1), target.n > PARTS ? Math.ceil(target.n / PARTS) : 1);
  const parts: Inspection["parts"] = [];
  for (let at = target.at; at < target.at + target.n; at += size) {
    const n = Math.min(size, target.at + target.n - at);
    const inside = runs.filter((run) => run.at < at + n && run.at + run.n > at);
    const first = inside[0];
    const say = !first ? "nothing" : inside.length > 1 ? `${inside.length} runs` : target.of === "anons" ? `${first.tag} refs` : String(first.tag);
    parts.push(part(target.of, target.id, at, n, `${place(target, at)}${n > 1 ? ` … ${count(n, "page")}` : ""}: ${say}`));
  }
  const frames = runs.map((run): [number, number] => [Math.min(run.pfn, frameOf(run, run.at + run.n - 1)), Math.max(run.pfn, frameOf(run, run.at + run.n - 1))]);
  return {
    ...empty(`${count(target.n, "page")} from ${place(target, target.at)}`),
    note: covered === 0 ? "Nothing is there." : runs.length === 1 && covered === target.n ? "One run: every page alike." : `${count(covered, "page")} in ${count(runs.length, "run")}.`,
    fields: runs.slice(0, 6).map((run) => [`${place(target, run.at)} ×${run.n}`, `${target.of === "anons" ? `${run.tag} refs` : run.tag || "clean"}, frames from ${addressOf(run.pfn)}`]),
    parts, up: null,
    frames: frames.length === 1 ? frames[0]! : null,
  };
}

function onePage(line: Timeline, target: Pages): Inspection {
  const run = runsOf(line, target)[0];
  const title = target.of === "ptes" ? `PTE of ${addressOf(target.at)}` : `${target.of === "anons" ? "anon in" : "object page:"} ${place(target, target.at)}`;
  if (!run) return { ...empty(title), note: "Nothing is mapped here: the first touch faults." };
  const frame = frameOf(run, target.at);
  const result: Inspection = { ...empty(title), frames: [frame, frame], fields: [["physical page", addressOf(frame)]] };
  if (target.of === "ptes") {
    const flags = String(run.tag);
    result.bits = BITS.map(([letter, bit, name, meaning]) => ({
      bit, name, meaning, set: letter === "x" ? !flags.includes("x") : flags.includes(letter),
    }));
    result.fields.push(...walk(line, target.id, target.at));
  } else if (target.of === "anons") {
    result.fields.push(["references", String(run.tag)]);
    result.note = Number(run.tag) > 1 ? "Held by more than one amap slot: nobody may map it writable." : "Held once: its holder may write to it.";
  }
  result.fields.push(...owners(line, frame));
  const mapped = mappings(line, frame);
  result.parts = mapped.map(({ vm, at, label }) => part("ptes", vm, at, 1, label));
  return result;
}

/** The page-table walk: each level's table and the flags of the entry that leads to it. */
function walk(line: Timeline, vm: string, page: number): [string, string][] {
  const va = BigInt(page) << 12n;
  const fields: [string, string][] = [];
  for (let level = 4; level >= 1; level--) {
    const shift = BigInt(12 + 9 * level);
    const table = line.table(vm, level, level === 4 ? 0n : (va >> shift) << shift);
    const index = Number((va >> BigInt(3 + 9 * level)) & 511n);
    if (table) fields.push([`level ${level}, index ${index}`, `table ${table.pa}${table.flags ? `, ${table.flags}` : ""}`]);
  }
  return fields;
}

function owners(line: Timeline, frame: number): [string, string][] {
  const found: [string, string][] = [];
  const seen = new Set<string>();
  for (const [vm] of line.vmspaces())
    for (const entry of line.entries(vm)) {
      for (const [of, id] of [["anon", entry.amap], ["page", entry.object]] as const) {
        if (!id || seen.has(id)) continue;
        seen.add(id);
        const runs = of === "anon" ? line.anons(id).runs : line.objectPages(id).runs;
        const run = runs.find((each) => at(each, frame) !== null);
        if (run) found.push([of === "anon" ? `anon of amap ${id}` : `page of object ${id}`, of === "anon" ? `slot ${at(run, frame)}, ${count(Number(run.tag), "reference")}` : `page ${at(run, frame)}`]);
      }
    }
  return found;
}

function mappings(line: Timeline, frame: number): { vm: string; at: number; label: string }[] {
  return line.vmspaces().flatMap(([vm]) => {
    const users = line.procs().filter((proc) => proc.vmspace === vm).map((proc) => proc.pid);
    return line.ptes(vm).runs.flatMap((run) => {
      const page = at(run, frame);
      return page === null ? [] : [{ vm, at: page, label: `mapped by ${users.length ? `process ${users.join(" and ")}` : "a new vmspace"} at ${addressOf(page)}: ${run.tag}` }];
    });
  });
}

/** Where a run has the frame. */
function at(run: Run, frame: number): number | null {
  if (run.step === 0) return run.pfn === frame ? run.at : null;
  const offset = (frame - run.pfn) * run.step;
  return offset >= 0 && offset < run.n ? run.at + offset : null;
}
