/** What somebody did for the first time in this browser, where the server keeps no trace of it. */

import { useSyncExternalStore } from "react";

export type First = "opened" | "replayed" | "dismissed";

const KEY = "holdfast.firsts";
const listeners = new Set<() => void>();
let known: ReadonlySet<string> = new Set(stored());

function stored(): readonly string[] {
  try {
    const found: unknown = JSON.parse(localStorage.getItem(KEY) ?? "[]");
    return Array.isArray(found) ? found.filter((one) => typeof one === "string") : [];
  } catch {
    return [];
  }
}

export function noteFirst(first: First, done = true): void {
  if (known.has(first) === done) return;
  const next = new Set(known);
  if (done) next.add(first);
  else next.delete(first);
  known = next;
  try {
    localStorage.setItem(KEY, JSON.stringify([...known]));
  } catch {
    // It holds for this page, then.
  }
  for (const listener of listeners) listener();
}

const subscribe = (listener: () => void): (() => void) => {
  listeners.add(listener);
  return () => listeners.delete(listener);
};

export const useFirsts = (): ReadonlySet<string> => useSyncExternalStore(subscribe, () => known);
