/** What a list is filtered by: the bar above it, and the chip of a run that an address asks for. */

import clsx from "clsx";
import { X } from "lucide-react";
import type { ReactNode } from "react";
import { Button } from "./Button";
import { Id } from "./Facts";

export const FilterBar = ({ children, className }: { children: ReactNode; className?: string }) => (
  <div role="search" aria-label="Filter" className={clsx("shrink-0 gap-2 border-b border-line", className)}>
    {children}
  </div>
);

/** Only what belongs to one run; pressed, what belongs to all. */
export const RunChip = ({ run, onAll }: { run: string | undefined; onAll: () => void }) =>
  run === undefined ? null : (
    <Button size="sm" onClick={onAll} aria-label={`All runs, not only ${run}`}>
      Run <Id id={run} />
      <X size={12} aria-hidden />
    </Button>
  );
