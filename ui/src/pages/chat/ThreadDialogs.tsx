/** Rename and delete a thread. */

import { useQueryClient } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { type FormEvent, useEffect, useId, useState } from "react";
import { api, body, request } from "~/api/client";
import { keys } from "~/api/keys";
import { Problem } from "~/api/problem";
import type { Thread } from "~/api/types";
import { Button } from "~/design/Button";
import { Dialog } from "~/design/Dialog";
import { Field, Input } from "~/design/Field";
import { toast, toastError } from "~/design/Toasts";
import { keepDraft } from "./drafts";

const TITLE_CHARS_MAX = 500;

export function RenameThread({ thread, onClose }: { thread: Thread | null; onClose: () => void }) {
  const cache = useQueryClient();
  const form = useId();
  const [title, setTitle] = useState("");
  const [busy, setBusy] = useState(false);
  const id = thread?.id;
  // biome-ignore lint/correctness/useExhaustiveDependencies: what is typed stays when the thread changes meanwhile
  useEffect(() => setTitle(thread?.title ?? ""), [id]);
  const save = async (event: FormEvent): Promise<void> => {
    event.preventDefault();
    if (thread === null || busy) return;
    setBusy(true);
    try {
      const changed = await body(
        api.PATCH("/v1/threads/{thread_id}", {
          params: { path: { thread_id: thread.id } },
          body: { title: title.trim() },
        }),
      );
      cache.setQueryData(keys.thread(thread.id), changed);
      void cache.invalidateQueries({ queryKey: ["threads"] });
      onClose();
    } catch (error) {
      toastError("The thread was not renamed", error);
    } finally {
      setBusy(false);
    }
  };
  return (
    <Dialog
      open={thread !== null}
      onClose={onClose}
      title="Rename the thread"
      footer={
        <>
          <Button look="quiet" onClick={onClose}>
            Cancel
          </Button>
          <Button look="primary" type="submit" form={form} busy={busy}>
            Rename
          </Button>
        </>
      }
    >
      <form id={form} onSubmit={(event) => void save(event)}>
        <Field label="Title" hint="Without one, the first words stand in its place.">
          {(control) => (
            <Input
              {...control}
              dir="auto"
              autoFocus
              maxLength={TITLE_CHARS_MAX}
              value={title}
              onChange={(event) => setTitle(event.target.value)}
            />
          )}
        </Field>
      </form>
    </Dialog>
  );
}

type Asked = "plain" | "branches";

export function DeleteThread({
  thread,
  current,
  onClose,
}: {
  thread: Thread | null;
  current: string | null;
  onClose: () => void;
}) {
  const cache = useQueryClient();
  const navigate = useNavigate();
  const [asked, setAsked] = useState<Asked>("plain");
  const [refusal, setRefusal] = useState<string | null>(null);
  const [busy, setBusy] = useState(false);
  // biome-ignore lint/correctness/useExhaustiveDependencies: asked anew for another thread
  useEffect(() => {
    setAsked("plain");
    setRefusal(null);
  }, [thread?.id]);
  const remove = async (branches: "delete" | "copy" | null): Promise<void> => {
    if (thread === null) return;
    setBusy(true);
    setRefusal(null);
    try {
      await request(`/v1/threads/${thread.id}${branches === null ? "" : `?branches=${branches}`}`, {
        method: "DELETE",
      });
      void cache.invalidateQueries({ queryKey: ["threads"] });
      keepDraft(thread.id, "");
      onClose();
      toast("The thread was deleted.");
      if (thread.id === current) void navigate({ to: "/chat" });
    } catch (error) {
      if (error instanceof Problem && error.code === "has_branches") setAsked("branches");
      else if (error instanceof Problem && error.status === 409) setRefusal(error.message);
      else toastError("The thread was not deleted", error);
    } finally {
      setBusy(false);
    }
  };
  return (
    <Dialog
      open={thread !== null}
      onClose={onClose}
      title="Delete the thread"
      footer={
        <>
          <Button look="quiet" onClick={onClose}>
            Cancel
          </Button>
          {asked === "plain" ? (
            <Button look="danger" busy={busy} onClick={() => void remove(null)}>
              Delete
            </Button>
          ) : (
            <>
              <Button busy={busy} onClick={() => void remove("copy")}>
                Keep the branches
              </Button>
              <Button look="danger" busy={busy} onClick={() => void remove("delete")}>
                Delete them, too
              </Button>
            </>
          )}
        </>
      }
    >
      <p>
        {asked === "plain"
          ? "The thread goes with its runs, their journals and messages. What its tools did outside stays done."
          : "Branches leave this thread and read its messages. They can stay as they are, with a copy of what they share, or go with it."}
      </p>
      {refusal !== null && (
        <p role="alert" className="mt-2 text-sm text-bad">
          {refusal}
        </p>
      )}
    </Dialog>
  );
}
