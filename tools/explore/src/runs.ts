// Page runs: a map from page numbers to frames that keeps equal neighbours as one run.
import type { RunValue } from "./data.js";

export interface Run {
  at: number;
  n: number;
  pfn: number;
  tag: string | number;
  step: number;
}
/** What a range held before it was assigned to: the runs in it. */
export interface RunUndo {
  at: number;
  n: number;
  was: Run[];
}

export function frameOf(run: Run, at: number): number {
  return run.pfn + run.step * (at - run.at);
}

export function pieceOf(run: Run, start: number, end: number): Run {
  return { at: start, n: end - start, pfn: frameOf(run, start), tag: run.tag, step: run.step };
}

/** The step of both runs joined, or null when they are not one run. */
function joined(a: Run, b: Run): number | null {
  if (a.at + a.n !== b.at || a.tag !== b.tag) return null;
  const step = b.pfn - frameOf(a, a.at + a.n - 1);
  if (step < -1 || step > 1) return null;
  return (a.n === 1 || a.step === step) && (b.n === 1 || b.step === step) ? step : null;
}

export class PageRuns {
  private list: Run[] = [];

  get runs(): readonly Run[] {
    return this.list;
  }

  /** The first run that ends behind `at`. */
  private from(at: number): number {
    let low = 0;
    let high = this.list.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      const run = this.list[middle]!;
      if (run.at + run.n <= at) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  find(at: number): Run | undefined {
    const run = this.list[this.from(at)];
    return run && run.at <= at ? run : undefined;
  }

  /** The parts of runs in [start, end). */
  within(start: number, end: number): Run[] {
    const result: Run[] = [];
    for (let i = this.from(start); i < this.list.length && this.list[i]!.at < end; i++) {
      const run = this.list[i]!;
      result.push(pieceOf(run, Math.max(run.at, start), Math.min(run.at + run.n, end)));
    }
    return result;
  }

  /** Makes [at, at + n) one run, or nothing. */
  assign(at: number, n: number, value: RunValue | null): RunUndo {
    const was = this.within(at, at + n);
    this.replace(at, n, value ? [{ at, n, pfn: value[0], tag: value[1], step: value[2] }] : []);
    return { at, n, was };
  }

  undo(undo: RunUndo): void {
    this.replace(undo.at, undo.n, undo.was);
  }

  /** Puts runs in order in the place of all that [at, at + n) holds. */
  private replace(at: number, n: number, runs: Run[]): void {
    const end = at + n;
    const first = this.from(at);
    let last = first;
    while (last < this.list.length && this.list[last]!.at < end) last++;
    const low = Math.max(0, first - 1);
    const high = Math.min(this.list.length, last + 1);
    const around: Run[] = low < first ? [this.list[low]!] : [];
    const head = this.list[first];
    if (head && head.at < at) append(around, pieceOf(head, head.at, at));
    for (const run of runs) append(around, run);
    const tail = last > first ? this.list[last - 1] : undefined;
    if (tail && tail.at + tail.n > end) append(around, pieceOf(tail, end, tail.at + tail.n));
    if (last < high) append(around, this.list[last]!);
    if (around.length !== high - low) this.list.splice(low, high - low, ...around);
    else for (const [i, run] of around.entries()) this.list[low + i] = run; // most often; a splice moves all behind it
  }
}

/** As one run with the last one where it continues it. */
function append(runs: Run[], run: Run): void {
  const last = runs[runs.length - 1];
  const step = last ? joined(last, run) : null;
  if (last && step !== null) runs[runs.length - 1] = { ...last, n: last.n + run.n, step };
  else runs.push(run);
}
