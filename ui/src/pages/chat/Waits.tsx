/** What a waiting run waits for, beyond the questions that stand in its transcript. */

import { Link } from "@tanstack/react-router";
import { Hourglass } from "lucide-react";
import type { Run, Wait } from "~/api/types";
import { Id, Time } from "~/design/Facts";
import { oneLine } from "~/lib/text";
import type { Block } from "~/transcript/model";
import { QuestionCard } from "~/transcript/QuestionCard";

const QUESTIONS: ReadonlySet<string> = new Set(["approval", "ask", "effect"]);

export function Waits({ run, blocks }: { run: Run; blocks: readonly Block[] }) {
  const shown = new Set(
    blocks.flatMap((block) =>
      block.type === "question"
        ? [block.question.approvalId]
        : block.type === "call"
          ? block.call.questions.map((one) => one.approvalId)
          : [],
    ),
  );
  const questions = run.waiting_on.filter((wait) => QUESTIONS.has(wait.type));
  const others = run.waiting_on.filter((wait) => !QUESTIONS.has(wait.type));
  return (
    <>
      {questions
        .filter((wait) => !shown.has(wait.id))
        .map((wait) => (
          <div key={wait.id} className="flex min-w-0 flex-col gap-1">
            {wait.run_id && (
              <p className="text-xs text-ink-2">
                A run below this one asks:{" "}
                <Link to="/runs/$runId" params={{ runId: wait.run_id }} className="hover:underline">
                  <Id id={wait.run_id} />
                </Link>
              </p>
            )}
            <QuestionCard approvalId={wait.id} />
          </div>
        ))}
      {(others.length > 0 || questions.length > 0) && (
        <p className="flex min-w-0 flex-wrap items-center gap-x-1.5 text-xs text-ink-2">
          <Hourglass size={13} aria-hidden className="shrink-0 text-ink-3" />
          Waits
          {others.length === 0 ? (
            <span>for a decision; it holds no memory meanwhile</span>
          ) : (
            others.map((wait, index) => <One key={index} wait={wait} />)
          )}
        </p>
      )}
    </>
  );
}

function One({ wait }: { wait: Wait }) {
  switch (wait.type) {
    case "timer":
      return (
        <span>
          until <Time at={wait.due_at ?? null} />
        </span>
      );
    case "event":
      return (
        <span>
          for the event <span className="font-mono">{oneLine(wait.id, 80)}</span>
          {wait.key && <span className="font-mono"> {oneLine(wait.key, 80)}</span>}
        </span>
      );
    case "child":
    case "run":
      return (
        <span>
          for the run{" "}
          <Link to="/runs/$runId" params={{ runId: wait.id }} className="hover:underline">
            <Id id={wait.id} />
          </Link>
        </span>
      );
    default:
      return <span>for a worker that can run {oneLine(wait.id, 80)}</span>;
  }
}
