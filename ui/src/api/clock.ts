/**
 * The server's time. A browser's clock may be hours off; what is "3 minutes ago", or expires, is judged by the clock that
 * wrote the times. The difference is learnt from the `Date` of answers, which is exact to a second: small differences are
 * network and rounding, and count as none.
 */

const IGNORED_MS = 2_000;
/** An answer that took longer says little: it was held up, or the machine slept. */
const PROMPT_MS = 5_000;

let skewMs = 0;

/** `askedAt`: when the answer was asked for, by this machine's clock. */
export function noteServerTime(date: string | null, askedAt: number): void {
  const at = date === null ? Number.NaN : Date.parse(date);
  const took = Date.now() - askedAt;
  if (Number.isNaN(at) || took < 0 || took > PROMPT_MS) return;
  const found = at - Date.now();
  skewMs = Math.abs(found) <= IGNORED_MS ? 0 : found;
}

/** Milliseconds since the epoch, by the server's clock. */
export const now = (): number => Date.now() + skewMs;
