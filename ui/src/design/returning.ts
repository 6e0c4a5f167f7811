/**
 * Where the focus goes when a dialog closes: back to what had it when the dialog opened. Radix knows that only of dialogs
 * that their own trigger opens, and ours are opened by keys and menus too. A dialog that another one gave way to leads back
 * to what opened that one, and takes the focus from no dialog that stands.
 */

import { useRef } from "react";

interface Opener {
  readonly element: HTMLElement | null;
  /** What opened the dialog that this one was opened from. */
  readonly before: Opener | null;
}

let latest: Opener | null = null;

export function useReturn(open: boolean): (event: Event) => void {
  const opener = useRef<Opener | null>(null);
  const was = useRef(false);
  // While it is rendered, not in an effect: by then a field within has taken the focus.
  if (open !== was.current) {
    was.current = open;
    if (open) {
      const focused = document.activeElement;
      opener.current = { element: openedBy(focused), before: isInDialog(focused) ? latest : null };
      latest = opener.current;
    }
  }
  return (event) => {
    event.preventDefault();
    if (isInDialog(document.activeElement)) return;
    for (let one = opener.current; one !== null; one = one.before)
      if (one.element?.isConnected && !one.element.matches(":disabled")) {
        one.element.focus();
        return;
      }
    document.querySelector<HTMLElement>("main h1")?.focus({ preventScroll: true });
  };
}

const isInDialog = (element: Element | null): boolean =>
  element?.closest("[role=dialog],[role=alertdialog]") != null;

/** A menu is gone by the time; its button is not. */
function openedBy(focused: Element | null): HTMLElement | null {
  const menu = focused?.closest("[role=menu]")?.getAttribute("aria-labelledby");
  if (menu) return document.getElementById(menu);
  return focused instanceof HTMLElement && focused !== document.body ? focused : null;
}
