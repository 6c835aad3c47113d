// The page's data: its types (docs/explorer-format.md, "Page data") and how it is unpacked.

/** First page frame number, what else is equal in the run (PTE flags, references), PFN step. */
export type RunValue = [pfn: number, tag: string | number, step: number];
export type RunChange = [key: string, at: number, n: number, value: RunValue | null];

export interface System {
  free: number;
  commit: number;
  commit_limit: number;
}
export interface Proc {
  pid: number;
  ppid: number;
  name: string;
  state: "run" | "sleep" | "stop" | "zombie";
  why: string;
  waits_for: number;
  vmspace: string | null;
}
export interface Vmspace {
  refs: number;
  pages_resident: number;
  commit: number;
}
export interface Entry {
  start: string;
  end: string;
  prot: string;
  max: string;
  inherit: "copy" | "share" | "none" | "zero";
  advice: string;
  wired: number;
  cow: boolean;
  needs_copy: boolean;
  name: string;
  object: string | null;
  offset: number;
  amap: string | null;
  slot: number;
}
export interface Table {
  pa: string;
  flags: string;
}
export interface Amap {
  refs: number;
  shared: boolean;
  slots: number;
}
export interface VmObject {
  kind: "file" | "anon" | "device" | "zero";
  name: string;
  refs: number;
}

/** An entry of /proc/PID/ledger: what one call cost. */
export interface Call {
  kind: string;
  pid: number;
  child: number;
  mode: string;
  name: string;
  counters: Record<string, number>;
  later_parent: Record<string, number>;
  later_child: Record<string, number>;
}

export interface Step {
  t: number;
  cpu: number;
  event: string;
  pid: number;
  tid: number;
  args: Record<string, string | number | boolean>;
  lost?: number;
  set: Record<string, unknown>;
  del: string[];
  runs: RunChange[];
}
/** Lines of the kernel; `line` to `last` are the statement that acts. */
export interface Source {
  file: string;
  line: number;
  last: number;
  text: [line: number, text: string][];
}
export interface EventInfo {
  sentence: string;
  literature: string;
  sources: Source[];
  /** Of an event that is told in several ways: what is to be said by the value of a field. */
  cases?: { field: string; values: Record<string, { sentence: string; sources: Source[] }> };
  /** Whether it is one of the main events, which tell the story without its details. */
  main: boolean;
}
/** A mistake that the scenario's kernel has: a patch, and the lines that it takes out and puts in. */
export interface Mistake {
  name: string;
  said: string;
  files: { file: string; out: string[]; in: string[] }[];
}
export interface ScenarioInfo {
  id: string;
  title: string;
  about: string;
  command: string;
  /** What the run's program read itself: /proc/uvmexp at the beginning and at the end, and then its ledger. */
  printed: { begin?: Record<string, number>; end?: Record<string, number>; calls?: (Call & { number: number })[] };
  steps: number;
  /** The scenario that it is usually compared with. */
  against?: string;
  mistakes?: Mistake[];
}
export interface PageInfo {
  format: number;
  events: Record<string, EventInfo>;
  scenarios: ScenarioInfo[];
}
export interface Scenario extends Omit<ScenarioInfo, "steps"> {
  steps: Step[];
}

/** The JSON that the script element `id` holds, deflated, as base64. */
export async function unpack(id: string): Promise<unknown> {
  const text = document.getElementById(id)?.textContent;
  if (!text) throw new Error(`the page has no data ${id}`);
  const bytes = atob(text.trim());
  const packed = new Uint8Array(bytes.length);
  for (let i = 0; i < bytes.length; i++) packed[i] = bytes.charCodeAt(i);
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  return JSON.parse(await new Response(stream).text()) as unknown;
}

export async function loadPage(): Promise<PageInfo> {
  const info = (await unpack("page-info")) as PageInfo;
  if (info.format !== 1) throw new Error(`data of format ${info.format}; this page reads format 1`);
  return info;
}

export async function loadScenario(info: ScenarioInfo): Promise<Scenario> {
  return { ...info, steps: (await unpack(`scenario-${info.id}`)) as Step[] };
}
