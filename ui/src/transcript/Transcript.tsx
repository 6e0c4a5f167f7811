/**
 * The blocks of a run in a column. It holds no state of a conversation: whoever shows it says what to show, as
 * `blocksOf(viewOfHistory(runId, messages, steps), ended)` from what is stored, or `blocksOf(view, ended)` of a view that
 * grew by `applied(view, events)`. `MessageParts` shows the parts of one message, such as a user's input.
 */

import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { Braces, FileText } from "lucide-react";
import { createContext, memo, useContext, useEffect, useState } from "react";
import { api, body } from "~/api/client";
import { keys } from "~/api/keys";
import type { Part } from "~/api/types";
import { Button } from "~/design/Button";
import { download, JsonView } from "~/design/Json";
import { bytes, count } from "~/lib/format";
import { oneLine } from "~/lib/text";
import { ModelText, PlainText } from "./LongText";
import type { Block } from "./model";
import { QuestionCard } from "./QuestionCard";
import { StepList } from "./StepList";
import { Thinking } from "./Thinking";
import { ToolCard } from "./ToolCard";

/** So many blocks are in the page at first; what came before them comes on demand. */
const SHOWN = 150;
const MORE = 150;

/** Whether the end is what is looked at: only then may what came before leave the page. */
export const Following = createContext<() => boolean>(() => true);

/** All blocks. Blocks keep their `id` while they grow, so only what changed is drawn again. */
export function Transcript({ blocks, runId }: { blocks: readonly Block[]; runId: string | null }) {
  const { from, more } = useWindow(blocks.length);
  return (
    <div className="flex min-w-0 flex-col gap-2">
      {from > 0 && (
        <Button look="quiet" size="sm" className="self-start" onClick={more}>
          Show earlier ({count(from)} more)
        </Button>
      )}
      {blocks.slice(from).map((block) => (
        <BlockView key={block.id} block={block} runId={runId} />
      ))}
    </div>
  );
}

/** From which block on a transcript is shown. It moves on by leaps, while the end is followed. */
function useWindow(length: number): { readonly from: number; readonly more: () => void } {
  const isFollowed = useContext(Following);
  const [from, setFrom] = useState(() => windowStart(length));
  const [widened, setWidened] = useState(false);
  const due = windowStart(length);
  useEffect(() => {
    if (due > from && !widened && isFollowed()) setFrom(due);
  }, [due, from, widened, isFollowed]);
  const more = (): void => {
    setWidened(true);
    setFrom(Math.max(0, from - MORE));
  };
  return { from: Math.min(from, due), more };
}

const windowStart = (length: number): number =>
  length <= 2 * SHOWN ? 0 : Math.floor((length - SHOWN) / SHOWN) * SHOWN;

export const BlockView = memo(
  function BlockView({ block, runId }: { block: Block; runId: string | null }) {
    switch (block.type) {
      case "text":
        return <ModelText text={block.text} streaming={block.streaming} />;
      case "thinking":
        return <Thinking text={block.text} streaming={block.streaming} />;
      case "call":
        return (
          <ToolCard call={block.call} runId={runId}>
            {block.call.questions.length > 0 &&
              block.call.questions.map((one) => (
                <QuestionCard key={one.approvalId} approvalId={one.approvalId} bare />
              ))}
          </ToolCard>
        );
      case "steps":
        return <StepList steps={block.steps} runId={runId} />;
      case "question":
        return <QuestionCard approvalId={block.question.approvalId} />;
      case "file":
        return <FilePart mediaType={block.mediaType} data={block.data} />;
      case "data":
        return <JsonView value={block.value} name="data.json" />;
      case "custom":
        return <Custom block={block} runId={runId} />;
      case "note":
        return (
          <p
            dir="auto"
            className={`text-xs [overflow-wrap:anywhere] ${block.tone === "warn" ? "text-warn" : "text-ink-3"}`}
          >
            {oneLine(block.text, 600)}
          </p>
        );
    }
  },
  (before, after) => before.runId === after.runId && sameBlock(before.block, after.block),
);

/** Blocks are made anew with each view; most of them say what they said. */
function sameBlock(one: Block, other: Block): boolean {
  if (one === other) return true;
  if (one.id !== other.id || one.type !== other.type || one.seq !== other.seq) return false;
  const a = one as unknown as Record<string, unknown>;
  const b = other as unknown as Record<string, unknown>;
  return Object.keys(b).every((name) => alike(a[name], b[name]));
}

const alike = (a: unknown, b: unknown): boolean => {
  if (Object.is(a, b)) return true;
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return false;
  if (Array.isArray(a) !== Array.isArray(b)) return false;
  const names = Object.keys(b);
  return (
    names.length === Object.keys(a).length &&
    names.every((name) => {
      const [x, y] = [(a as Record<string, unknown>)[name], (b as Record<string, unknown>)[name]];
      return (
        Object.is(x, y) ||
        (SMALL.has(name) && JSON.stringify(x) === JSON.stringify(y)) ||
        (Array.isArray(b) && alike(x, y))
      );
    })
  );
};

/** Members that are made anew though they say the same, and are small enough to be compared by what they say. */
const SMALL: ReadonlySet<string> = new Set(["effect", "questions"]);

function FilePart({ mediaType, data }: { mediaType: string | null; data: string | null }) {
  const size = data === null ? null : Math.floor((data.length * 3) / 4);
  const save = (): void => {
    if (data === null) return;
    const raw = atob(data);
    download(
      Uint8Array.from(raw, (one) => one.charCodeAt(0)),
      "file",
      "application/octet-stream",
    );
  };
  return (
    <div className="inline-flex w-fit max-w-full items-center gap-2 rounded-md border border-line bg-surface px-2.5 py-1.5 text-xs text-ink-2">
      <FileText size={14} aria-hidden className="shrink-0" />
      <span className="truncate">{oneLine(mediaType ?? "file", 80)}</span>
      {size !== null && (
        <Button look="quiet" size="sm" onClick={save}>
          Download {bytes(size)}
        </Button>
      )}
    </div>
  );
}

/** What the code emitted. Out of a list of steps only its name is known: the rest is fetched. */
function Custom({ block, runId }: { block: Extract<Block, { type: "custom" }>; runId: string | null }) {
  const lacking = block.data === undefined && runId !== null && block.seq !== null;
  const step = useQuery({
    queryKey: keys.ofRun(runId ?? "", "step", block.seq),
    enabled: lacking,
    staleTime: Number.POSITIVE_INFINITY,
    queryFn: ({ signal }) =>
      body(
        api.GET("/v1/runs/{run_id}/steps/{seq}", {
          params: { path: { run_id: runId ?? "", seq: block.seq ?? 0 } },
          signal,
        }),
      ),
  });
  const recorded = step.data?.output as { data?: unknown } | null | undefined;
  const data = lacking ? recorded?.data : block.data;
  return (
    <div className="min-w-0 rounded-md border border-line bg-surface px-2.5 py-1.5">
      <div className="flex items-center gap-2 text-xs">
        <Braces size={13} aria-hidden className="shrink-0 text-code" />
        <span className="min-w-0 truncate font-mono font-medium">{oneLine(block.name, 120)}</span>
        <span className="grow" />
        {runId !== null && block.seq !== null && (
          <Link
            to="/runs/$runId"
            params={{ runId }}
            search={{ step: block.seq }}
            className="text-ink-3 hover:underline"
          >
            Step {block.seq}
          </Link>
        )}
      </div>
      {data !== undefined && data !== null && (
        <JsonView value={data} name={`${block.name}.json`} actions={false} className="mt-1.5" />
      )}
    </div>
  );
}

/** The parts of a message as they are stored: of a user's input, or of any message on its own. */
export function MessageParts({ parts }: { parts: readonly Part[] }) {
  return (
    <div className="flex min-w-0 flex-col gap-2">
      {parts.map((part, index) => (
        <PartView key={index} part={part} />
      ))}
    </div>
  );
}

function PartView({ part }: { part: Part }) {
  switch (part.type) {
    case "text":
      return <PlainText text={part.text} />;
    case "thinking":
      return <Thinking text={part.text} streaming={false} />;
    case "file":
      return <FilePart mediaType={part.media_type ?? null} data={part.data ?? null} />;
    case "data":
      return <JsonView value={part.data} name="input.json" />;
    default:
      return <JsonView value={part} name="part.json" />;
  }
}
