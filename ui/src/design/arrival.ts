/**
 * Where the focus is after somebody went to another page: on its heading, so that an aid reads where one is and the next
 * Tab goes into the page. Only a focus that the change left behind is moved, never one that the page has taken itself.
 */

import { useRouterState } from "@tanstack/react-router";
import { type RefObject, useEffect, useRef } from "react";

/** The address whose heading was arrived at. A page that is loaded anew starts at its top, as browsers do it. */
let arrivedAt: string | null = null;
/** Whether the last heading was given the focus, which goes when another one takes its place. */
let given = false;

export function useArrival(): RefObject<HTMLHeadingElement | null> {
  const heading = useRef<HTMLHeadingElement>(null);
  const path = useRouterState({ select: (state) => (state.resolvedLocation ?? state.location).pathname });
  useEffect(() => {
    const isNew = arrivedAt !== null && arrivedAt !== path;
    const isAgain = arrivedAt === path && given;
    arrivedAt = path;
    if (isNew) given = false;
    if (!isNew && !(isAgain && isNowhere(document.activeElement))) return;
    if (isLeftBehind(document.activeElement)) {
      heading.current?.focus({ preventScroll: true });
      given = true;
    }
  }, [path]);
  return heading;
}

const isNowhere = (focused: Element | null): boolean => focused === null || focused === document.body;

/** On nothing, or on what led here from around the page. */
const isLeftBehind = (focused: Element | null): boolean =>
  isNowhere(focused) ||
  focused?.closest("main, [role=dialog], [role=menu]") === null ||
  focused?.id === "page";
