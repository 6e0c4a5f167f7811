import { type RefObject, useId } from "react";
import { Textarea } from "~/design/Field";

const NOTE_CHARS_MAX = 4_000;

export function NoteField({
  textarea,
  value,
  rejecting,
  onChange,
}: {
  textarea: RefObject<HTMLTextAreaElement | null>;
  value: string;
  rejecting: boolean;
  onChange: (value: string) => void;
}) {
  const id = useId();
  return (
    <div className="flex flex-col gap-1">
      <label htmlFor={id} className="sr-only">
        Note
      </label>
      <Textarea
        ref={textarea}
        id={id}
        rows={rejecting || value.includes("\n") || value.length > 80 ? 3 : 1}
        maxLength={NOTE_CHARS_MAX}
        value={value}
        placeholder={
          rejecting
            ? "Why not? The agent is told, and it is kept."
            : "Note: the agent is told, and it is kept."
        }
        onChange={(event) => onChange(event.target.value)}
        className="resize-none"
      />
      {value.length > NOTE_CHARS_MAX * 0.9 && (
        <p className="text-2xs text-ink-3 tabular">
          {value.length} of {NOTE_CHARS_MAX} characters
        </p>
      )}
    </div>
  );
}
