/** The end of the axis of a run that is under way: it grows in strides, so that bars do not shift each second. */

const FIRST_MS = 1_000;
const STRIDE = 1.25;

export function endFor(nowMs: number): number {
  let end = FIRST_MS;
  while (end < nowMs) end *= STRIDE;
  return Math.round(end);
}
