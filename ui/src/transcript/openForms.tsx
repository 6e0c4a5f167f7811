/** What the forms of open questions share. */

import type { Approval } from "~/api/types";
import { Field, Textarea } from "~/design/Field";
import type { Bar } from "./deciding";
import type { Deciding } from "./useQuestion";

export interface OpenProps {
  readonly approval: Approval;
  readonly bar: Bar | null;
  readonly deciding: Deciding;
  /** Tells what is written and not sent, so that it is not lost when somebody else is faster. */
  readonly onUnsent: (text: string) => void;
}

export const noted = (note: string): { note?: string } => (note.trim() === "" ? {} : { note: note.trim() });

export function Note({
  value,
  onChange,
  hint,
}: {
  value: string;
  onChange: (value: string) => void;
  hint: string;
}) {
  return (
    <Field label="Note" hint={hint}>
      {(control) => (
        <Textarea {...control} rows={2} value={value} onChange={(event) => onChange(event.target.value)} />
      )}
    </Field>
  );
}
