/** Numbers and times for people. Pure; a missing value is an em dash. */

export const NONE = "—";

const wholes = new Intl.NumberFormat("en");
const shorts = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const exacts = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });

export const count = (n: number): string => wholes.format(n);

/** 1234 → "1.2K". */
export const short = (n: number): string => (n < 10_000 ? wholes.format(n) : shorts.format(n));

/** Millionths of a US dollar: "$0.0042", "$12.40"; "unpriced" tells an unknown price from a free call. */
export function cost(micros: number, priced = true): string {
  const dollars = micros / 1_000_000;
  if (micros === 0) return priced ? "$0" : "unpriced";
  const shown =
    dollars >= 1 ? dollars.toFixed(2) : dollars >= 0.01 ? dollars.toFixed(3) : dollars.toPrecision(2);
  return `$${shown}${priced ? "" : " +"}`;
}

/** "840 ms", "3.2 s", "4 min 5 s", "2 h 3 min", "5 d 1 h". */
export function duration(ms: number | null | undefined): string {
  if (ms === null || ms === undefined || Number.isNaN(ms)) return NONE;
  if (ms < 1_000) return `${Math.max(0, Math.round(ms))} ms`;
  if (ms < 59_950) return `${(ms / 1_000).toFixed(ms < 9_950 ? 1 : 0)} s`;
  const seconds = Math.round(ms / 1_000);
  if (seconds < 3_600) return joined(Math.floor(seconds / 60), "min", seconds % 60, "s");
  const minutes = Math.round(seconds / 60);
  if (minutes < 1_440) return joined(Math.floor(minutes / 60), "h", minutes % 60, "min");
  const hours = Math.round(minutes / 60);
  return joined(Math.floor(hours / 24), "d", hours % 24, "h");
}

const joined = (a: number, one: string, b: number, two: string): string =>
  b === 0 ? `${a} ${one}` : `${a} ${one} ${b} ${two}`;

/** "just now", "4 min ago", "in 2 h"; beyond a week the date. */
export function relative(at: number, now: number): string {
  const ms = now - at;
  const abs = Math.abs(ms);
  if (abs < 5_000) return "just now";
  if (abs > 7 * 86_400_000) return new Date(at).toLocaleDateString(undefined, { dateStyle: "medium" });
  const [size, unit] =
    abs < 60_000
      ? [1_000, "s"]
      : abs < 3_600_000
        ? [60_000, "min"]
        : abs < 86_400_000
          ? [3_600_000, "h"]
          : [86_400_000, "d"];
  return ms > 0 ? `${Math.floor(abs / size)} ${unit} ago` : `in ${Math.round(abs / size)} ${unit}`;
}

export const exact = (at: number): string => exacts.format(at);

/** "1.2 kB", "5.0 MB". */
export function bytes(n: number): string {
  if (n < 1_000) return `${n} B`;
  return n < 1_000_000 ? `${(n / 1_000).toFixed(1)} kB` : `${(n / 1_000_000).toFixed(1)} MB`;
}

/** Milliseconds between two times of the API; null while one of them is open. */
export function between(from: string | null, to: string | null): number | null {
  return from === null || to === null ? null : Date.parse(to) - Date.parse(from);
}

export const plural = (n: number, one: string, many = `${one}s`): string =>
  `${count(n)} ${n === 1 ? one : many}`;
