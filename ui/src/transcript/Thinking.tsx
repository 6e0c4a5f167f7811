import clsx from "clsx";
import { ChevronRight } from "lucide-react";
import { useState } from "react";
import { oneLine } from "~/lib/text";
import { PlainText } from "./LongText";

/** What a model thought before it spoke: one line, all of it on demand. While it thinks, the end of it. */
export function Thinking({ text, streaming }: { text: string; streaming: boolean }) {
  const [open, setOpen] = useState(false);
  const glimpse = streaming ? `…${oneLine(text.slice(-200), 120)}` : oneLine(text, 120);
  return (
    <div className="min-w-0">
      <button
        type="button"
        aria-expanded={open}
        onClick={() => setOpen(!open)}
        className="flex h-7 w-full min-w-0 items-center gap-1.5 rounded-md px-1 text-left text-xs text-ink-2 hover:bg-hover"
      >
        <ChevronRight
          size={14}
          aria-hidden
          className={clsx("shrink-0 text-ink-3 transition-transform", open && "rotate-90")}
        />
        <span className={clsx("shrink-0 font-medium", streaming && "animate-breathe")}>
          {streaming ? "Thinking…" : "Thought"}
        </span>
        {!open && (
          <span dir="auto" className="min-w-0 grow truncate text-ink-3">
            {glimpse}
          </span>
        )}
      </button>
      {open && (
        <PlainText
          text={text}
          className="ml-2.5 border-l border-line-2 py-1 pl-3 text-xs leading-5 text-ink-2"
        />
      )}
    </div>
  );
}
