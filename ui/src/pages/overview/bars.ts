/** The runs of a time as bars: what went well stands above the line, what failed below it. Pure. */

import type { components } from "~/api/types";

export type Bucket = components["schemas"]["BucketOut"];

export interface Bar {
  readonly bucket: Bucket;
  /** Heights, each as a part of the whole chart. */
  readonly good: number;
  readonly cancelled: number;
  readonly failed: number;
}

export interface Chart {
  readonly bars: readonly Bar[];
  /** How much of the height is above the line. */
  readonly above: number;
  /** What the highest bar above the line counts. */
  readonly most: number;
  readonly empty: boolean;
}

export function chartOf(buckets: readonly Bucket[]): Chart {
  const most = Math.max(0, ...buckets.map((one) => one.succeeded + one.cancelled));
  const worst = Math.max(0, ...buckets.map((one) => one.failed));
  const all = Math.max(1, most + worst);
  return {
    bars: buckets.map((bucket) => ({
      bucket,
      good: bucket.succeeded / all,
      cancelled: bucket.cancelled / all,
      failed: bucket.failed / all,
    })),
    above: most + worst === 0 ? 1 : most / all,
    most,
    empty: most + worst === 0,
  };
}

/** Every so many buckets have their time written below: each fourth hour of a day, each day of a week. */
const LABEL_EVERY = 4;

export const isLabelled = (index: number): boolean => index % LABEL_EVERY === 0;

/** Every other of those, where there is room for no more. */
export const isLabelledNarrow = (index: number): boolean => index % (2 * LABEL_EVERY) === 0;

const hours = new Intl.DateTimeFormat(undefined, { hour: "numeric" });
const days = new Intl.DateTimeFormat(undefined, { weekday: "short", hour: "numeric" });

const weekdays = new Intl.DateTimeFormat(undefined, { weekday: "short" });

/** For the axis, where a label has little room. */
export const labelOf = (at: string, bucketHours: number): string =>
  (bucketHours === 1 ? hours : weekdays).format(Date.parse(at));

export const timeOf = (at: string, bucketHours: number): string =>
  (bucketHours === 1 ? hours : days).format(Date.parse(at));

export interface Today {
  /** From when on: midnight where the reader is, or the first hour behind it that is counted by itself. */
  readonly since: number;
  readonly costMicros: number;
}

/** What the runs cost that have begun since the reader's midnight. */
export function todayOf(buckets: readonly Bucket[], now: number): Today | null {
  const midnight = new Date(now).setHours(0, 0, 0, 0);
  const own = buckets.filter((one) => Date.parse(one.at) >= midnight);
  const first = own[0];
  if (first === undefined) return null;
  return {
    since: Date.parse(first.at),
    costMicros: own.reduce((sum, one) => sum + one.cost_micros, 0),
  };
}

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const zoned = new Intl.DateTimeFormat(undefined, { timeZoneName: "short" });

export const clockOf = (at: number): string => clock.format(at);

/** The time zone in which all times here are told: "UTC", "CET", "GMT+5:30". */
export const zoneOf = (at: number): string =>
  zoned.formatToParts(at).find((part) => part.type === "timeZoneName")?.value ?? "local time";

export const sums = (buckets: readonly Bucket[]): { succeeded: number; failed: number; cancelled: number } =>
  buckets.reduce(
    (sum, one) => ({
      succeeded: sum.succeeded + one.succeeded,
      failed: sum.failed + one.failed,
      cancelled: sum.cancelled + one.cancelled,
    }),
    { succeeded: 0, failed: 0, cancelled: 0 },
  );
