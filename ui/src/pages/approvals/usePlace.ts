/**
 * Where somebody is in the inbox: which question is open, at which row the cursor stands, and who gets the focus when
 * that changes. The list and a question are two addresses; beside each other where the page is wide.
 */

import { useNavigate } from "@tanstack/react-router";
import { type RefObject, useCallback, useEffect, useRef, useState } from "react";
import type { Paged } from "~/api/hooks";
import type { Approval, ApprovalRow } from "~/api/types";
import { outcome } from "~/transcript/deciding";
import { type InboxSearch, neighbour } from "./inbox";
import { subject } from "./words";

/** As wide as two panes are. */
const isWide = (): boolean => matchMedia("(min-width: 1000px)").matches;

/** Each address has a page of its own: whom the next one gives the focus to, and what the last one had open. */
let focusNext: "row" | "detail" | null = null;
let lastOpened: string | null = null;

export interface PlaceWanted {
  readonly approvalId: string | undefined;
  readonly search: InboxSearch;
  readonly list: Paged<ApprovalRow>;
  readonly announce: (text: string) => void;
  /** What was decided, to be shown for a while. */
  readonly onSaid: (text: string) => void;
}

export interface Place {
  readonly cursor: string | null;
  /** Rises whenever the row at the cursor shall have the focus. */
  readonly focusing: number;
  /** Set when the next question shown shall have the focus. */
  readonly takesFocus: RefObject<boolean>;
  readonly step: (by: 1 | -1) => void;
  readonly enter: () => void;
  /** Away from the question that is open, where it hides the list. */
  readonly leave: () => void;
  readonly toList: () => void;
  readonly refocus: () => void;
  /** A row was pressed: its link opens it. */
  readonly opened: (id: string) => void;
  /** A question is decided: on to the next one. */
  readonly done: (asked: Approval) => void;
}

export function usePlace({ approvalId, search, list, announce, onSaid }: PlaceWanted): Place {
  const { rows, query } = list;
  const navigate = useNavigate();
  const [chosen, setCursor] = useState<string | null>(approvalId ?? lastOpened);
  const isThere = chosen === null || approvalId !== undefined || rows.some((one) => one.id === chosen);
  const cursor = isThere ? chosen : (rows[0]?.id ?? null);
  const [focusing, setFocusing] = useState(0);
  const takesFocus = useRef(focusNext === "detail");
  const refocus = useCallback(() => setFocusing((n) => n + 1), []);
  useEffect(() => {
    if (focusNext === "row") refocus();
    focusNext = null;
  }, [refocus]);
  useEffect(() => {
    if (approvalId === undefined) return;
    lastOpened = approvalId;
    setCursor(approvalId);
  }, [approvalId]);
  const latest = useRef({ approvalId, rows });
  useEffect(() => {
    latest.current = { approvalId, rows };
  });
  const open = (id: string | null, replace = false): void => {
    // The list keeps its own place: it is the same list beside another question.
    const how = { search, replace, resetScroll: false };
    if (id === null) void navigate({ to: "/approvals", ...how });
    else void navigate({ to: "/approvals/$approvalId", params: { approvalId: id }, ...how });
  };
  const step = (by: 1 | -1): void => {
    const at = rows.findIndex((one) => one.id === cursor);
    const next = rows[at < 0 ? 0 : at + by];
    if (next === undefined) {
      if (by > 0 && query.hasNextPage) announce("More are being loaded.");
      else announce(by > 0 ? "This is the last one." : "This is the first one.");
      return;
    }
    setCursor(next.id);
    if (approvalId !== undefined || isWide()) open(next.id, approvalId !== undefined);
    if (isWide() && approvalId === undefined) focusNext = "row";
    else if (isWide() || approvalId === undefined) refocus();
    else takesFocus.current = true;
  };
  const toDetail = (): void => {
    takesFocus.current = true;
    document.querySelector<HTMLElement>("[data-detail] h2")?.focus();
  };
  const toList = (): void => {
    focusNext = "row";
    open(null);
  };
  return {
    cursor,
    focusing,
    takesFocus,
    step,
    enter: () => {
      if (approvalId !== undefined) toDetail();
      else if (cursor !== null) {
        focusNext = "detail";
        open(cursor);
      }
    },
    leave: () => {
      if (approvalId !== undefined && !isWide()) toList();
    },
    toList,
    refocus,
    opened: (id) => {
      setCursor(id);
      takesFocus.current = true;
      if (approvalId === undefined) focusNext = "detail";
      if (id === approvalId) toDetail();
    },
    done: (asked) => {
      onSaid(`${subject(asked)}: ${outcome(asked)}`);
      const now = latest.current;
      if (now.approvalId !== asked.id) return; // gone on to another one meanwhile
      // From where it stood when it was sent, to what others have left of the list since.
      const still = new Set(now.rows.map((one) => one.id)).add(asked.id);
      const next = neighbour(
        rows.filter((one) => still.has(one.id)),
        asked.id,
      );
      const left = now.rows.filter((one) => one.id !== asked.id).length;
      announce(
        `${outcome(asked)}. ${next === null ? "Nothing else waits." : `${left} left. Next: ${subject(next)} of ${next.agent}.`}`,
      );
      takesFocus.current = next !== null;
      if (next === null) focusNext = "row";
      open(next?.id ?? null, true);
    },
  };
}
