/** What started a run, as code. Its input is read again for that, with its numbers as they were written. */

import type { Run } from "~/api/types";
import { SnippetDialog } from "~/builders/SnippetDialog";
import { startCall } from "~/builders/snippets";
import { Dialog } from "~/design/Dialog";
import { ErrorState, Skeleton } from "~/design/States";
import { messageOf } from "./forking";
import { useInput } from "./steps";

export function RunCode({ run, onClose }: { run: Run; onClose: () => void }) {
  const input = useInput(run.id);
  if (input.data !== undefined)
    return (
      <SnippetDialog
        call={startCall({ agent: run.agent, input: messageOf({ input: input.data }) })}
        onClose={onClose}
      />
    );
  return (
    <Dialog open wide onClose={onClose} title="As code">
      {input.isError ? (
        <ErrorState error={input.error} onRetry={() => void input.refetch()} />
      ) : (
        <Skeleton className="h-40 w-full" />
      )}
    </Dialog>
  );
}
