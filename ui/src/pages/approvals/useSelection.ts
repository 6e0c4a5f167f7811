import { useRef, useState } from "react";
import type { ApprovalRow } from "~/api/types";
import { span } from "./inbox";

export interface Selection {
  readonly ids: ReadonlySet<string>;
  readonly toggle: (id: string, upTo: boolean) => void;
  readonly clear: () => void;
}

/** Which questions are selected; what leaves the list, or is open no more, leaves the selection. */
export function useSelection(rows: readonly ApprovalRow[]): Selection {
  const [chosen, setChosen] = useState<ReadonlySet<string>>(new Set());
  const anchor = useRef<string | null>(null);
  const ids = new Set(
    rows.filter((one) => one.status === "pending" && chosen.has(one.id)).map((one) => one.id),
  );
  return {
    ids,
    toggle: (id, upTo) => {
      const next = new Set(ids);
      if (upTo) for (const one of span(rows, anchor.current, id)) next.add(one);
      else if (!next.delete(id)) next.add(id);
      anchor.current = id;
      setChosen(next);
    },
    clear: () => setChosen(new Set()),
  };
}
