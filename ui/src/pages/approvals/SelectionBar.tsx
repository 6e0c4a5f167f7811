/** What can be done with the selected questions together. */

import { X } from "lucide-react";
import { Button, IconButton } from "~/design/Button";
import { plural } from "~/lib/format";
import type { BulkWord } from "./bulk";

export function SelectionBar({
  count,
  onWord,
  onClear,
}: {
  count: number;
  onWord: (word: BulkWord) => void;
  onClear: () => void;
}) {
  return (
    <div
      role="toolbar"
      aria-label="Selected questions"
      className="flex shrink-0 items-center gap-2 border-b border-line bg-accent-soft px-4 py-2 sm:px-5"
    >
      <span className="grow text-xs font-medium tabular">{plural(count, "question")} selected</span>
      <Button size="sm" look="danger" onClick={() => onWord("reject")}>
        Reject…
      </Button>
      <Button size="sm" look="primary" onClick={() => onWord("approve")}>
        Approve…
      </Button>
      <IconButton size="sm" label="Clear the selection" onClick={onClear}>
        <X size={14} />
      </IconButton>
    </div>
  );
}
