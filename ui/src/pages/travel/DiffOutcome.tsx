import { Equal } from "lucide-react";
import type { Diff } from "~/api/types";
import { Panel } from "~/design/Page";
import { ErrorState, Skeleton } from "~/design/States";
import { plural } from "~/lib/format";
import { Against, Value } from "./Against";
import { Letter } from "./DiffSides";
import { messagesBehind } from "./differing";
import { Talk } from "./Talk";
import { useStateAt } from "./useStateAt";

export function Outputs({ diff }: { diff: Diff }) {
  return (
    <Panel title="Output">
      {diff.same_output ? (
        <div className="flex flex-col gap-2">
          <p className="flex items-center gap-1.5 text-xs text-good">
            <Equal size={13} aria-hidden /> The same in both
          </p>
          <Value value={diff.this.output} />
        </div>
      ) : (
        <Against
          one={{ label: <Letter of={0} />, value: diff.this.output }}
          two={{ label: <Letter of={1} />, value: diff.other.output }}
        />
      )}
    </Panel>
  );
}

/** What was said behind the place where the two conversations part. */
export function Talks({ diff }: { diff: Diff }) {
  const { messages } = diff;
  const one = useStateAt(diff.this.run_id, diff.this.at);
  const two = useStateAt(diff.other.run_id, diff.other.at);
  if (messages.this + messages.other === 0) return null;
  // A workflow has no conversation but its input and its output, which stand above.
  if (one.data?.messages === null && two.data?.messages === null) return null;
  if (messages.same === messages.this && messages.same === messages.other) return null;
  return (
    <Panel title="Conversation from there on">
      <p className="mb-3 text-xs text-ink-3">
        {messages.same === 0
          ? "No message is the same."
          : messages.same === 1
            ? "The first message is the same."
            : `The first ${messages.same} messages are the same.`}
      </p>
      <div className="grid gap-x-6 gap-y-4 md:grid-cols-2">
        {[one, two].map((state, index) => {
          const of = index as 0 | 1;
          const rest = messagesBehind(state.data?.messages ?? null, messages.same);
          return (
            <div key={index} className="min-w-0">
              <div className="mb-2">
                <Letter of={of} />
              </div>
              {state.isError ? (
                <ErrorState error={state.error} onRetry={() => void state.refetch()} />
              ) : state.data === undefined ? (
                <Skeleton className="h-32 w-full" />
              ) : rest.messages.length === 0 ? (
                <p className="text-sm text-ink-3">Says nothing more.</p>
              ) : (
                <>
                  {rest.missing > 0 && (
                    <p className="mb-2 text-xs text-ink-3">{plural(rest.missing, "message")} not shown.</p>
                  )}
                  <Talk runId={state.data.run_id} messages={rest.messages} />
                </>
              )}
            </div>
          );
        })}
      </div>
    </Panel>
  );
}
