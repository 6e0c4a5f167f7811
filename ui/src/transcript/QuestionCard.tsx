/**
 * A question that a run asks of people: leave for a call, an answer, a result from outside, or what became of an effect.
 * It is answered where it stands; when somebody else is faster it turns into what they said.
 */

import { Link } from "@tanstack/react-router";
import clsx from "clsx";
import { Check, CircleHelp, Clock, Pencil, ShieldQuestion, X } from "lucide-react";
import { type ReactNode, useState } from "react";
import { Problem } from "~/api/problem";
import { useMe } from "~/api/session";
import type { Approval } from "~/api/types";
import { STATUS_TONES } from "~/design/Badge";
import { Button } from "~/design/Button";
import { Time } from "~/design/Facts";
import { Field, Textarea } from "~/design/Field";
import { JsonView } from "~/design/Json";
import { JsonDiff } from "~/design/JsonDiff";
import { SchemaForm } from "~/design/SchemaForm";
import { Skeleton } from "~/design/States";
import { blank } from "~/design/schema";
import { brief, oneLine } from "~/lib/text";
import { argumentsBrief, asksForText, type Bar, barred, outcome, rolesText } from "./deciding";
import { type Deciding, useDecide, useQuestion } from "./useQuestion";

export function QuestionCard({
  approvalId,
  bare = false,
}: {
  approvalId: string;
  /** Without a frame: inside of the card of its call. */
  bare?: boolean;
}) {
  const asked = useQuestion(approvalId);
  const me = useMe();
  const deciding = useDecide(approvalId);
  const frame = clsx("min-w-0", !bare && "rounded-md border border-line bg-surface p-3");
  if (asked.data === undefined) {
    if (!asked.isError) return <Skeleton className="h-24 w-full" />;
    const gone = asked.error instanceof Problem && asked.error.status === 403;
    return (
      <p className={clsx(frame, "text-xs text-ink-2")}>
        {gone
          ? "A question that you may not see."
          : `The question could not be loaded: ${asked.error.message}`}
      </p>
    );
  }
  const approval = asked.data;
  return (
    <div
      role="group"
      className={frame}
      aria-label={
        approval.status === "pending" ? `Question: ${oneLine(approval.message, 100)}` : "A question"
      }
    >
      {approval.status === "pending" ? (
        <Open approval={approval} bar={barred(me.data, approval)} deciding={deciding} />
      ) : (
        <Closed approval={approval} />
      )}
      <p
        role="status"
        aria-live="polite"
        className={clsx(deciding.refusal !== null && "mt-2 text-xs text-bad")}
      >
        {deciding.refusal}
      </p>
    </div>
  );
}

function Closed({ approval }: { approval: Approval }) {
  const tone = STATUS_TONES[approval.status];
  const said = approval.decisions.filter((one) => !one.void);
  const changed = said.find((one) => one.arguments !== null);
  return (
    <div className="flex min-w-0 flex-col gap-1 text-xs text-ink-2">
      {approval.type === "input" && (
        <p dir="auto" className="text-ink-2 [overflow-wrap:anywhere]">
          {oneLine(approval.message, 400)}
        </p>
      )}
      <div className="flex min-w-0 flex-wrap items-center gap-x-1.5 gap-y-0.5">
        {tone === "good" ? (
          <Check size={14} aria-hidden className="shrink-0 text-good" />
        ) : (
          <X size={14} aria-hidden className={clsx("shrink-0", tone === "bad" ? "text-bad" : "text-ink-3")} />
        )}
        <Link
          to="/approvals/$approvalId"
          params={{ approvalId: approval.id }}
          className="min-w-0 font-medium text-ink [overflow-wrap:anywhere] hover:underline"
        >
          {oneLine(outcome(approval), 200)}
        </Link>
        {changed && (
          <span dir="auto" className="min-w-0 [overflow-wrap:anywhere]">
            with {argumentsBrief(changed.arguments)}
          </span>
        )}
        <Time at={approval.resolved_at} className="text-ink-3" />
      </div>
      {approval.type !== "tool" && approval.answer !== null && (
        <p dir="auto" className="pl-5 text-sm text-ink [overflow-wrap:anywhere]">
          {argumentsBrief(approval.answer)}
        </p>
      )}
      {said.map(
        (one, index) =>
          one.note && (
            <p key={index} dir="auto" className="pl-5 [overflow-wrap:anywhere]">
              “{oneLine(one.note, 600)}”
            </p>
          ),
      )}
    </div>
  );
}

type Mode = "ask" | "edit" | "reject";

function Open(props: OpenProps) {
  const { approval } = props;
  return (
    <div className="flex min-w-0 flex-col gap-2.5">
      <Asked approval={approval} />
      {props.bar !== null && (
        <p className="rounded-md bg-mute-soft px-2.5 py-1.5 text-xs text-ink-2">{props.bar.why}</p>
      )}
      {approval.type === "tool" ? (
        <Leave key={approval.version} {...props} />
      ) : approval.type === "effect" ? (
        <Fate key={approval.version} {...props} />
      ) : (
        <Answer key={approval.version} {...props} />
      )}
    </div>
  );
}

/** What happens when nobody answers. */
const EXPIRIES: Readonly<Record<Approval["on_expiry"], string>> = {
  reject: "is rejected",
  approve: "is approved",
  escalate: "asks others",
  default: "takes the default",
};

function Asked({ approval }: { approval: Approval }) {
  const Icon = approval.type === "tool" ? ShieldQuestion : CircleHelp;
  const facts: ReactNode[] = [];
  if (approval.quorum > 1)
    facts.push(`${approval.decisions.filter((one) => !one.void).length} of ${approval.quorum} approvals`);
  if (approval.may_decide.length > 0) facts.push(`asks ${rolesText(approval.may_decide)}`);
  if (approval.four_eyes) facts.push("four eyes");
  if (approval.escalated) facts.push("escalated");
  return (
    <div className="flex min-w-0 gap-2">
      <Icon size={16} aria-hidden className="mt-0.5 shrink-0 text-ask" />
      <div className="min-w-0 grow">
        <p dir="auto" className="font-medium text-ink [overflow-wrap:anywhere]">
          {approval.message.length > 2_000 ? `${approval.message.slice(0, 2_000)}…` : approval.message}
        </p>
        <p className="mt-0.5 flex flex-wrap items-center gap-x-2 text-xs text-ink-2">
          {approval.reason && (
            <span dir="auto" className="[overflow-wrap:anywhere]">
              {oneLine(approval.reason, 300)}
            </span>
          )}
          {facts.map((fact, index) => (
            <span key={index}>· {fact}</span>
          ))}
          {approval.expires_at !== null && (
            <span className="inline-flex items-center gap-1 text-ink-3">
              <Clock size={12} aria-hidden /> {EXPIRIES[approval.on_expiry]} <Time at={approval.expires_at} />
            </span>
          )}
        </p>
      </div>
    </div>
  );
}

function Note({ value, onChange, hint }: { value: string; onChange: (value: string) => void; hint: string }) {
  return (
    <Field label="Note" hint={hint}>
      {(control) => (
        <Textarea {...control} rows={2} value={value} onChange={(event) => onChange(event.target.value)} />
      )}
    </Field>
  );
}

interface OpenProps {
  readonly approval: Approval;
  readonly bar: Bar | null;
  readonly deciding: Deciding;
}

function Leave({ approval, bar, deciding }: OpenProps) {
  const [mode, setMode] = useState<Mode>("ask");
  const [note, setNote] = useState("");
  const [edited, setEdited] = useState<unknown>(approval.arguments);
  const [valid, setValid] = useState(true);
  const { version } = approval;
  const noted = note.trim() === "" ? {} : { note: note.trim() };
  const approve = () =>
    void deciding.decide({
      decision: "approve",
      version,
      ...noted,
      ...(mode === "edit" ? { arguments: edited as Record<string, unknown> } : {}),
    });
  const reject = () => void deciding.decide({ decision: "reject", version, ...noted });
  const closed = bar?.of === "all";
  return (
    <>
      {mode !== "edit" && approval.arguments !== null && (
        <JsonView value={approval.arguments} name="arguments.json" />
      )}
      {mode === "edit" && (
        <>
          <SchemaForm
            schema={approval.schema}
            value={edited}
            original={approval.arguments}
            onChange={setEdited}
            onValid={setValid}
            errors={deciding.errors}
            label="Arguments"
          />
          <JsonDiff
            before={approval.arguments}
            after={edited}
            same="Nothing is changed yet."
            label="Changes"
          />
        </>
      )}
      {mode !== "ask" && (
        <Note value={note} onChange={setNote} hint="The model is told, and it is kept with the decision." />
      )}
      <div className="flex flex-wrap items-center gap-2">
        {mode !== "reject" && (
          <Button
            look="primary"
            busy={deciding.busy}
            disabled={closed || bar?.of === "approve" || !valid}
            onClick={approve}
            icon={<Check size={14} />}
          >
            {mode === "edit" ? "Approve with these" : "Approve"}
          </Button>
        )}
        {mode === "ask" && (
          <>
            <Button
              disabled={closed || deciding.busy}
              onClick={() => setMode("reject")}
              icon={<X size={14} />}
            >
              Reject…
            </Button>
            <Button
              look="quiet"
              disabled={closed || deciding.busy || bar?.of === "approve"}
              onClick={() => setMode("edit")}
              icon={<Pencil size={14} />}
            >
              Edit arguments
            </Button>
          </>
        )}
        {mode === "reject" && (
          <Button
            look="danger"
            busy={deciding.busy}
            disabled={closed}
            onClick={reject}
            icon={<X size={14} />}
          >
            Reject
          </Button>
        )}
        {mode !== "ask" && (
          <Button look="quiet" disabled={deciding.busy} onClick={() => setMode("ask")}>
            Back
          </Button>
        )}
      </div>
    </>
  );
}

function Answer({ approval, bar, deciding }: OpenProps) {
  const plain = approval.choices === null && asksForText(approval.schema);
  const [answer, setAnswer] = useState<unknown>(
    () => approval.default ?? (plain ? "" : blank(approval.schema, approval.schema)),
  );
  const [refusing, setRefusing] = useState(false);
  const [note, setNote] = useState("");
  const [valid, setValid] = useState(true);
  const { version } = approval;
  const closed = bar?.of === "all";
  const send = (said: unknown) => void deciding.decide({ decision: "answer", answer: said, version });
  if (refusing)
    return (
      <>
        <Note value={note} onChange={setNote} hint="Why there is no answer. It is kept with the decision." />
        <div className="flex gap-2">
          <Button
            look="danger"
            busy={deciding.busy}
            onClick={() =>
              void deciding.decide({
                decision: "reject",
                version,
                ...(note.trim() === "" ? {} : { note: note.trim() }),
              })
            }
          >
            Refuse to answer
          </Button>
          <Button look="quiet" onClick={() => setRefusing(false)}>
            Back
          </Button>
        </div>
      </>
    );
  return (
    <>
      {approval.type === "external" && approval.arguments !== null && (
        <JsonView value={approval.arguments} name="arguments.json" />
      )}
      {approval.choices !== null ? (
        <div role="group" aria-label="Answers" className="flex flex-wrap gap-2">
          {approval.choices.map((choice, index) => (
            <Button
              key={index}
              disabled={closed}
              busy={deciding.busy}
              onClick={() => send(choice)}
              className="max-w-full"
            >
              <span dir="auto" className="truncate">
                {brief(choice, 120) || "nothing"}
              </span>
            </Button>
          ))}
        </div>
      ) : plain ? (
        <Field label="Answer" error={deciding.errors[""]}>
          {(control) => (
            <Textarea
              {...control}
              rows={2}
              disabled={closed}
              value={typeof answer === "string" ? answer : brief(answer, 10_000)}
              onChange={(event) => setAnswer(event.target.value)}
            />
          )}
        </Field>
      ) : (
        <SchemaForm
          schema={approval.schema}
          value={answer}
          onChange={setAnswer}
          onValid={setValid}
          errors={deciding.errors}
          readOnly={closed}
          label="Answer"
        />
      )}
      <div className="flex flex-wrap gap-2">
        {approval.choices === null && (
          <Button
            look="primary"
            busy={deciding.busy}
            disabled={closed || !valid || (plain && answer === "")}
            onClick={() => send(answer)}
          >
            Answer
          </Button>
        )}
        <Button look="quiet" disabled={closed || deciding.busy} onClick={() => setRefusing(true)}>
          Refuse…
        </Button>
      </div>
    </>
  );
}

/** What became of a call that nobody knows the end of. */
function Fate({ approval, bar, deciding }: OpenProps) {
  const [note, setNote] = useState("");
  const { version } = approval;
  const say = (result: "committed" | "not_done") =>
    void deciding.decide({
      decision: "answer",
      answer: { outcome: result },
      version,
      ...(note.trim() === "" ? {} : { note: note.trim() }),
    });
  const closed = bar !== null;
  return (
    <>
      {approval.arguments !== null && <JsonView value={approval.arguments} name="arguments.json" />}
      <p className="text-xs text-ink-2">Find out whether it was done before you say so.</p>
      <Note value={note} onChange={setNote} hint="How it is known. It is kept." />
      <div className="flex flex-wrap gap-2">
        <Button busy={deciding.busy} disabled={closed} onClick={() => say("committed")}>
          It was done
        </Button>
        <Button busy={deciding.busy} disabled={closed} onClick={() => say("not_done")}>
          It was not done: do it now
        </Button>
        {approval.effect_id !== null && (
          <Link
            to="/effects"
            search={{ effect: approval.effect_id }}
            className="inline-flex h-8 items-center px-1 text-sm text-accent-text hover:underline"
          >
            Look at the effect
          </Link>
        )}
      </div>
    </>
  );
}
