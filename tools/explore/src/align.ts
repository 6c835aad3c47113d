// Two scenarios in step: pairs of steps, by the phases that both have.
import type { Phase, Timeline } from "./timeline.js";

/** Phases of both, in order, as pairs of step numbers. */
function anchors(a: readonly Phase[], b: readonly Phase[]): [number, number][] {
  const pairs: [number, number][] = [];
  let from = 0;
  for (const phase of a) {
    const found = b.findIndex((other, i) => i >= from && other.name === phase.name);
    if (found < 0) continue;
    pairs.push([phase.step, b[found]!.step]);
    from = found + 1;
  }
  return pairs;
}

/**
 * The pairs to show one after the other. Between two phases both go on step by step, and who is
 * done first waits for the other at the next phase.
 */
export function align(a: Timeline, b: Timeline): [number, number][] {
  const ends: [number, number][] = [[0, 0], ...anchors(a.phases, b.phases), [a.length, b.length]];
  const pairs: [number, number][] = [];
  for (let k = 0; k + 1 < ends.length; k++) {
    const [fromA, fromB] = ends[k]!;
    const [toA, toB] = ends[k + 1]!;
    const steps = Math.max(toA - fromA, toB - fromB);
    for (let i = 0; i < steps; i++)
      pairs.push([Math.max(0, Math.min(fromA + i, toA - 1)), Math.max(0, Math.min(fromB + i, toB - 1))]);
  }
  return pairs;
}
