/** The time for what counts on: one timer for the whole page, and none while nobody looks. */

import { useEffect, useState, useSyncExternalStore } from "react";
import { now } from "~/api/clock";

const TICK_MS = 1_000;
const listeners = new Set<() => void>();
let timer: ReturnType<typeof setInterval> | undefined;
let current = 0;

const tick = (): void => {
  if (document.visibilityState === "hidden") return;
  current = Math.floor(now() / TICK_MS) * TICK_MS;
  for (const listener of listeners) listener();
};

const subscribe = (listener: () => void): (() => void) => {
  listeners.add(listener);
  timer ??= setInterval(tick, TICK_MS);
  return () => {
    listeners.delete(listener);
    if (listeners.size === 0) {
      clearInterval(timer);
      timer = undefined;
    }
  };
};

const still = (): (() => void) => () => {};

/** Now by the server's clock, in whole seconds (ms). With `ticks` false it stands at when it was first read. */
export function useNow(ticks = true): number {
  return useSyncExternalStore(ticks ? subscribe : still, () => {
    if (current === 0 || listeners.size === 0) current = Math.floor(now() / TICK_MS) * TICK_MS;
    return current;
  });
}

const FINE_MS = 200;

/** Now in fifths of a second while something grows before one's eyes; else `coarse`. */
export function useFineNow(grows: boolean, coarse: number): number {
  const [fine, setFine] = useState(0);
  useEffect(() => {
    if (!grows) return;
    const timer = setInterval(() => document.visibilityState === "visible" && setFine(now()), FINE_MS);
    return () => clearInterval(timer);
  }, [grows]);
  return grows ? Math.max(fine, coarse) : coarse;
}
