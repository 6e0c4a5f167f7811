import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { api, body } from "~/api/client";
import { keys } from "~/api/keys";
import { useOnceKey } from "~/api/once";
import { messageOf } from "~/api/problem";
import type { Run } from "~/api/types";
import { Button } from "~/design/Button";
import { Dialog } from "~/design/Dialog";
import { Field, Textarea } from "~/design/Field";
import { toast } from "~/design/Toasts";

/** Ask a run to stop, with a reason, and whether to undo what it did. */
export function CancelDialog({ run, onClose }: { run: Run; onClose: () => void }) {
  const cache = useQueryClient();
  const keyFor = useOnceKey();
  const [reason, setReason] = useState("");
  const [compensate, setCompensate] = useState(false);
  const cancel = useMutation({
    mutationFn: () => {
      const sent = { reason: reason.trim() || null, compensate };
      return body(
        api.POST("/v1/runs/{run_id}/cancel", {
          params: { path: { run_id: run.id }, header: { "Idempotency-Key": keyFor(sent) } },
          body: sent,
        }),
      );
    },
    onSuccess: (found: Run) => {
      cache.setQueryData(keys.run(run.id), found);
      toast(found.status === "cancelled" ? "The run is cancelled." : "The run was asked to stop.");
      onClose();
    },
  });
  return (
    <Dialog
      open
      onClose={onClose}
      title="Cancel this run"
      description="It, and every run below it, stops. What it recorded stays."
      footer={
        <>
          <Button onClick={onClose}>Keep it</Button>
          <Button look="danger" busy={cancel.isPending} onClick={() => cancel.mutate()}>
            Cancel the run
          </Button>
        </>
      }
    >
      <div className="flex flex-col gap-4">
        <Field
          label="Reason"
          hint="Shown with the run. May be empty."
          error={cancel.isError ? messageOf(cancel.error) : null}
        >
          {(props) => (
            <Textarea
              {...props}
              autoFocus
              rows={3}
              maxLength={4_000}
              value={reason}
              onChange={(event) => setReason(event.target.value)}
            />
          )}
        </Field>
        <label className="flex cursor-pointer items-start gap-2 text-sm">
          <input
            type="checkbox"
            checked={compensate}
            onChange={(event) => setCompensate(event.target.checked)}
            className="mt-0.5 size-4 accent-accent"
          />
          <span>
            Undo what it did
            <span className="block text-xs text-ink-3">As far as its tools say how, before it ends.</span>
          </span>
        </label>
      </div>
    </Dialog>
  );
}
