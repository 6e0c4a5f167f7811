/**
 * A place that moves faster than what it stands for can follow. Where it is shows at once; the address, and what is asked
 * of the server, follow at most every `PACE_MS`: a browser stops pages that write addresses at the pace of a finger.
 */

import { useEffect, useRef, useState } from "react";

const PACE_MS = 150;

export interface Paced {
  readonly here: number;
  readonly move: (to: number) => void;
}

/** `at`: the place that is settled on; `settle` is called with the next one. */
export function usePaced(at: number, settle: (to: number) => void): Paced {
  const [ahead, setAhead] = useState<number | null>(null);
  const latest = useRef(settle);
  const timer = useRef<ReturnType<typeof setTimeout> | undefined>(undefined);
  const last = useRef(0);
  useEffect(() => {
    latest.current = settle;
  });
  useEffect(() => () => clearTimeout(timer.current), []);
  // What was moved to is there, or somebody went elsewhere meanwhile.
  // biome-ignore lint/correctness/useExhaustiveDependencies: told when the settled place changes
  useEffect(() => {
    if (timer.current === undefined) setAhead(null);
  }, [at]);
  const move = (to: number): void => {
    setAhead(to);
    clearTimeout(timer.current);
    const wait = Math.max(0, last.current + PACE_MS - performance.now());
    timer.current = setTimeout(() => {
      timer.current = undefined;
      last.current = performance.now();
      latest.current(to);
    }, wait);
  };
  return { here: ahead ?? at, move };
}
