/** What a user said. It can be said differently: then the conversation goes another way, on a branch. */

import clsx from "clsx";
import { Code, Pencil } from "lucide-react";
import { type KeyboardEvent, useState } from "react";
import type { Part } from "~/api/types";
import { Button, IconButton } from "~/design/Button";
import { CopyButton, Time } from "~/design/Facts";
import { Textarea } from "~/design/Field";
import { JsonEditor, parsed, written } from "~/design/Json";
import { isComposing } from "~/lib/composing";
import { brief } from "~/lib/text";
import { MessageParts } from "~/transcript/Transcript";
import type { Said } from "./conversation";

/** The input that these parts are: text, the value of a form, or a list of parts. */
export function inputOf(parts: readonly Part[]): unknown {
  const [only] = parts;
  if (parts.length === 1 && only?.type === "text") return only.text;
  if (parts.length === 1 && only?.type === "data") return only.data;
  return parts;
}

export function UserMessage({
  said,
  onEdit,
  onCode,
}: {
  said: Said;
  /** Null where it cannot be said differently. Whether it was taken. */
  onEdit: ((input: unknown) => Promise<boolean>) | null;
  onCode: (() => void) | null;
}) {
  const [editing, setEditing] = useState(false);
  const [closed, setClosed] = useState(false);
  const input = inputOf(said.parts);
  if (editing && onEdit !== null)
    return (
      <Editing
        input={input}
        onClose={() => {
          setEditing(false);
          setClosed(true);
        }}
        onDone={async (next) => {
          if (await onEdit(next)) setEditing(false);
        }}
      />
    );
  return (
    <div className="group/said flex min-w-0 flex-col items-end">
      <h2 className="sr-only">You said</h2>
      <div
        className={clsx(
          "min-w-0 max-w-[min(36rem,92%)] text-base text-ink",
          typeof input === "object" && !Array.isArray(input)
            ? "min-w-40"
            : "rounded-lg bg-mute-soft px-3 py-2",
        )}
      >
        <MessageParts parts={said.parts} />
      </div>
      <div className="flex h-6 items-center gap-0.5 text-xs text-ink-3">
        {said.sending ? (
          <span role="status">Sending…</span>
        ) : (
          <span className="flex items-center gap-0.5 opacity-0 transition-opacity focus-within:opacity-100 group-hover/said:opacity-100 pointer-coarse:opacity-100">
            <Time at={said.at} className="mr-1" />
            <CopyButton
              text={() => (typeof input === "string" ? input : written(input))}
              label="Copy the message"
            />
            {onCode !== null && (
              <IconButton label="This request as code" size="sm" className="!size-6" onClick={onCode}>
                <Code size={13} />
              </IconButton>
            )}
            {onEdit !== null && (
              <IconButton
                label="Edit the message, on a branch"
                size="sm"
                className="!size-6"
                autoFocus={closed} // where somebody was before
                onClick={() => setEditing(true)}
              >
                <Pencil size={13} />
              </IconButton>
            )}
          </span>
        )}
      </div>
    </div>
  );
}

function Editing({
  input,
  onClose,
  onDone,
}: {
  input: unknown;
  onClose: () => void;
  onDone: (input: unknown) => Promise<void>;
}) {
  const isText = typeof input === "string";
  const [text, setText] = useState(isText ? input : written(input));
  const [busy, setBusy] = useState(false);
  const wrong = isText ? (text.trim() === "" ? "empty" : null) : parsed(text).error;
  const save = async (): Promise<void> => {
    if (wrong !== null || busy) return;
    setBusy(true);
    await onDone(isText ? text : parsed(text).value);
    setBusy(false);
  };
  const pressed = (event: KeyboardEvent): void => {
    if (isComposing(event)) return;
    if (event.key === "Escape") {
      event.stopPropagation();
      onClose();
    } else if (isText && event.key === "Enter" && !event.shiftKey) {
      event.preventDefault();
      void save();
    }
  };
  return (
    <div
      role="group"
      aria-label="Edit the message"
      className="flex min-w-0 flex-col gap-2"
      onKeyDown={pressed}
    >
      {isText ? (
        <Textarea
          autoFocus
          aria-label="The message"
          rows={Math.min(8, text.split("\n").length + 1)}
          value={text}
          onChange={(event) => setText(event.target.value)}
          className="text-base"
        />
      ) : (
        <JsonEditor label="The input" value={text} onChange={setText} />
      )}
      <div className="flex flex-wrap items-center justify-end gap-2">
        <span className="min-w-0 grow text-xs text-ink-2">
          {wrong !== null && !isText
            ? brief(wrong, 120)
            : "The answer comes on a new branch; this thread stays as it is."}
        </span>
        <Button look="quiet" disabled={busy} onClick={onClose}>
          Cancel
        </Button>
        <Button look="primary" busy={busy} disabled={wrong !== null} onClick={() => void save()}>
          Send on a branch
        </Button>
      </div>
    </div>
  );
}
