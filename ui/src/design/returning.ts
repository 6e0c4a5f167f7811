/**
 * Where the focus goes when a dialog closes: back to what had it when the dialog opened. Radix knows that only of dialogs
 * that their own trigger opens, and ours are opened by keys and menus too.
 */

import { useRef } from "react";

export function useReturn(open: boolean): (event: Event) => void {
  const opener = useRef<HTMLElement | null>(null);
  const was = useRef(false);
  // While it is rendered, not in an effect: by then a field within has taken the focus.
  if (open !== was.current) {
    was.current = open;
    if (open) opener.current = openedBy(document.activeElement);
  }
  return (event) => {
    event.preventDefault();
    const found = opener.current;
    if (found?.isConnected && !found.matches(":disabled")) found.focus();
    else document.querySelector<HTMLElement>("main h1")?.focus({ preventScroll: true });
  };
}

/** A menu is gone by the time; its button is not. */
function openedBy(focused: Element | null): HTMLElement | null {
  const menu = focused?.closest("[role=menu]")?.getAttribute("aria-labelledby");
  if (menu) return document.getElementById(menu);
  return focused instanceof HTMLElement && focused !== document.body ? focused : null;
}
