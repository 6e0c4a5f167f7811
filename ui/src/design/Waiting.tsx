/** What a run waits for, in words, with a way to whatever it is. The same wherever runs are shown. */

import { Link } from "@tanstack/react-router";
import type { Wait } from "~/api/types";
import { oneLine } from "~/lib/text";
import { Id, Time } from "./Facts";

const LINK = "text-accent-text underline-offset-2 hover:underline";

export function Waiting({ wait, brief = false }: { wait: Wait; brief?: boolean }) {
  return (
    <span className="min-w-0">
      <Words wait={wait} brief={brief} />
      {wait.run_id && !brief && (
        <>
          {" "}
          in{" "}
          <Link to="/runs/$runId" params={{ runId: wait.run_id }} className={LINK}>
            <Id id={wait.run_id} className="!text-inherit" />
          </Link>
        </>
      )}
    </span>
  );
}

function Words({ wait, brief }: { wait: Wait; brief: boolean }) {
  const id = wait.id ?? "";
  switch (wait.type) {
    case "approval":
    case "ask":
    case "effect": {
      const said =
        wait.type === "approval"
          ? "an approval"
          : wait.type === "ask"
            ? "an answer"
            : "word of what became of an effect";
      if (brief || id === "") return <>{said}</>;
      return (
        <Link to="/approvals/$approvalId" params={{ approvalId: id }} className={LINK}>
          {said}
        </Link>
      );
    }
    case "timer":
      return (
        <>
          a timer
          {wait.due_at && (
            <>
              , due <Time at={wait.due_at} />
            </>
          )}
        </>
      );
    case "event":
      return (
        <>
          the event <span className="font-mono text-xs">{oneLine(id, 60)}</span>
          {wait.key && (
            <>
              {" of "}
              <span className="font-mono text-xs">{oneLine(wait.key, 60)}</span>
            </>
          )}
          {wait.due_at && !brief && (
            <>
              , until <Time at={wait.due_at} />
            </>
          )}
        </>
      );
    case "run":
    case "child": {
      const said = wait.type === "child" ? "a child run" : "the run before it";
      if (brief || id === "") return <>{said}</>;
      return (
        <Link to="/runs/$runId" params={{ runId: id }} className={LINK}>
          {said}
        </Link>
      );
    }
    case "worker":
      return (
        <>
          a worker that can run <span className="font-mono text-xs">{oneLine(id, 60)}</span>
        </>
      );
    default:
      return <>{wait.type}</>;
  }
}
