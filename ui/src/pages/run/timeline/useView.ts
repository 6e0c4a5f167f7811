/** Which part of the axis is in view. Without a choice all of it, also while it grows. */

import { useCallback, useState } from "react";
import { moved, type View, zoomed } from "./axis";

export interface Viewed {
  readonly view: View;
  readonly isWhole: boolean;
  readonly zoom: (factor: number, share?: number) => void;
  readonly move: (share: number) => void;
  readonly show: (view: View) => void;
  readonly fit: () => void;
}

export function useView(length: number): Viewed {
  const [chosen, choose] = useState<View | null>(null);
  const view: View = chosen === null ? [0, length] : moved(chosen, 0, length);
  const zoom = useCallback(
    (factor: number, share = 0.5) =>
      choose((known) => {
        const from = known ?? ([0, length] as const);
        const next = zoomed(from, factor, from[0] + (from[1] - from[0]) * share, length);
        return next[1] - next[0] >= length ? null : next;
      }),
    [length],
  );
  const move = useCallback(
    (share: number) =>
      choose((known) => (known === null ? null : moved(known, (known[1] - known[0]) * share, length))),
    [length],
  );
  const fit = useCallback(() => choose(null), []);
  const show = useCallback((wanted: View) => choose(moved(wanted, 0, length)), [length]);
  return { view, isWhole: chosen === null, zoom, move, show, fit };
}

/** Where a stretch of the axis lies in view, in percent; null when it is out of sight. */
export function placed(view: View, v0: number, v1: number): { left: number; width: number } | null {
  const size = view[1] - view[0];
  if (v1 < view[0] || v0 > view[1] || size <= 0) return null;
  const left = Math.max(0, (v0 - view[0]) / size);
  const right = Math.min(1, (v1 - view[0]) / size);
  return { left: left * 100, width: Math.max(0, right - left) * 100 };
}
