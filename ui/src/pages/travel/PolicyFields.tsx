/** What the calls of a fork may do outside, in plain words. */

import { ChevronRight, ShieldAlert, ShieldCheck } from "lucide-react";
import { useState } from "react";
import { type Choice, Choices } from "./Choices";
import type { Fresh, Policy, Reads, Repeat } from "./forking";

const REPEAT: readonly Choice<Repeat>[] = [
  { value: "reuse", label: "Reuse what they came to", means: "Nothing is done twice. The safe default." },
  { value: "simulate", label: "Simulate", means: "Not made; a stand-in takes the place of the result." },
  { value: "deny", label: "Refuse", means: "Not made; the model is told why." },
  {
    value: "execute",
    label: "Make them again",
    means: "Really happens, a second time: another refund, another mail. The tool's rules still apply.",
    bold: true,
  },
];

const FRESH: readonly Choice<Fresh>[] = [
  { value: "ask", label: "Ask first", means: "Each waits for somebody's leave, whatever the rules say." },
  { value: "simulate", label: "Simulate", means: "Not made; a stand-in takes the place of the result." },
  { value: "deny", label: "Refuse", means: "Not made; the model is told why." },
  {
    value: "execute",
    label: "Make them",
    means: "Really happens. The tool's own rules still apply.",
    bold: true,
  },
];

const READS: readonly Choice<Reads>[] = [
  { value: "execute", label: "Read anew", means: "They find what is there today." },
  {
    value: "reuse",
    label: "As they were read then",
    means: "What the run did not read then is refused.",
  },
];

export function PolicyFields({
  policy,
  onChange,
  imported,
  error,
}: {
  policy: Policy;
  onChange: (policy: Policy) => void;
  imported: boolean;
  error: string | null;
}) {
  const [open, setOpen] = useState(false);
  const acts = policy.repeat === "execute" || policy.fresh === "execute";
  const shown = open || error !== null;
  return (
    <section className="rounded-lg border border-line">
      <button
        type="button"
        aria-expanded={shown}
        onClick={() => setOpen(!open)}
        className="flex w-full items-start gap-2 rounded-lg px-3 py-2 text-left hover:bg-hover"
      >
        {acts ? (
          <ShieldAlert size={16} aria-hidden className="mt-0.5 shrink-0 text-warn" />
        ) : (
          <ShieldCheck size={16} aria-hidden className="mt-0.5 shrink-0 text-good" />
        )}
        <span className="min-w-0 grow">
          <span className="block text-sm font-medium">What its calls may do</span>
          <span className="block text-xs text-ink-2">{inWords(policy)}</span>
        </span>
        <ChevronRight
          size={16}
          aria-hidden
          className={`mt-0.5 shrink-0 text-ink-3 transition-transform ${shown ? "rotate-90" : ""}`}
        />
      </button>
      {shown && (
        <div className="flex flex-col gap-4 border-t border-line px-3 py-3">
          {imported && (
            <p className="text-xs text-ink-2">
              This run, or one that it goes on from, was brought in from elsewhere. What was done there is not
              done here: calls are only simulated or refused.
            </p>
          )}
          <Choices
            legend="Calls that the run made after this point"
            columns={2}
            value={policy.repeat}
            onChange={(repeat) => onChange({ ...policy, repeat })}
            choices={REPEAT.map((one) => ({ ...one, disabled: imported && one.value === "execute" }))}
            error={error}
          />
          <Choices
            legend="Calls that it did not make"
            columns={2}
            value={policy.fresh}
            onChange={(fresh) => onChange({ ...policy, fresh })}
            choices={FRESH.map((one) => ({
              ...one,
              disabled: imported && (one.value === "execute" || one.value === "ask"),
            }))}
          />
          <Choices
            legend="Calls that only read"
            columns={2}
            value={policy.reads}
            onChange={(reads) => onChange({ ...policy, reads })}
            choices={READS}
          />
        </div>
      )}
    </section>
  );
}

const REPEAT_WORDS: Readonly<Record<Repeat, string>> = {
  reuse: "What the run did is not done again",
  simulate: "What the run did is simulated",
  deny: "What the run did is refused",
  execute: "What the run did is done AGAIN",
};
const FRESH_WORDS: Readonly<Record<Fresh, string>> = {
  ask: "what is new asks first",
  simulate: "what is new is simulated",
  deny: "what is new is refused",
  execute: "what is new is DONE",
};
const READS_WORDS: Readonly<Record<Reads, string>> = {
  execute: "what only reads, reads today's data",
  reuse: "what only reads, answers as then",
};

const inWords = ({ repeat, fresh, reads }: Policy): string =>
  `${REPEAT_WORDS[repeat]}; ${FRESH_WORDS[fresh]}; ${READS_WORDS[reads]}.`;
