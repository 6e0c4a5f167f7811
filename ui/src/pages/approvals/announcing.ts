/** What the inbox tells of what was done: read out at once, and shown for a while. */

import { useCallback, useEffect, useState } from "react";

/** What is read out; the same text twice is read twice. */
export function useAnnouncer(): readonly [string, (text: string) => void] {
  const [said, setSaid] = useState("");
  const announce = useCallback((text: string): void => {
    setSaid((before) => (before === text ? `${text}\u00a0` : text));
  }, []);
  return [said, announce];
}

const BRIEFLY_MS = 8_000;

/** What was done last, until it is old. */
export function useBriefly(): readonly [string | null, (text: string) => void] {
  const [text, setText] = useState<{ readonly said: string } | null>(null);
  useEffect(() => {
    if (text === null) return;
    const timer = setTimeout(() => setText(null), BRIEFLY_MS);
    return () => clearTimeout(timer);
  }, [text]);
  return [text?.said ?? null, useCallback((said: string) => setText({ said }), [])];
}
