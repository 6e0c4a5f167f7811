/** One effect: what was called, what became of it, what it belongs to; and, if nobody knows, the word that says it. */

import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { Code, X } from "lucide-react";
import { type ReactNode, type RefObject, useEffect, useRef, useState } from "react";
import { api, body } from "~/api/client";
import { keys } from "~/api/keys";
import { Problem } from "~/api/problem";
import { type Me, may } from "~/api/session";
import type { ApprovalRow, Effect } from "~/api/types";
import { SnippetDialog } from "~/builders/SnippetDialog";
import type { ApiCall } from "~/builders/snippets";
import { Arguments } from "~/design/Arguments";
import { Badge, Status } from "~/design/Badge";
import { Button, IconButton } from "~/design/Button";
import { CopyButton, Fact, Id, Time } from "~/design/Facts";
import { Field, Textarea } from "~/design/Field";
import { written } from "~/design/Json";
import { Notice, Section } from "~/design/Pane";
import { ErrorState, Skeleton } from "~/design/States";
import { toast } from "~/design/Toasts";
import { inert } from "~/lib/text";
import { placed } from "~/transcript/deciding";
import type { Outcome as Word } from "../approvals/draft";
import { type Outcome, useLedgerRow, useOutcome } from "./ledger";
import { OutcomeFields } from "./OutcomeFields";
import { CLASS_WORDS, type Refusal, refusal, STATUS_WORDS, took } from "./words";

export interface EffectDetailProps {
  readonly id: string;
  readonly me: Me;
  readonly onClose: () => void;
  readonly takesFocus: RefObject<boolean>;
}

export function EffectDetail(props: EffectDetailProps) {
  const found = useLedgerRow(props.id);
  const heading = useRef<HTMLHeadingElement>(null);
  const there = found.data !== undefined;
  const { takesFocus } = props;
  useEffect(() => {
    if (!there || !takesFocus.current) return;
    takesFocus.current = false;
    heading.current?.focus();
  }, [there, takesFocus]);
  return (
    <>
      <div className="flex h-11 shrink-0 items-center gap-2 border-b border-line bg-surface px-4">
        {found.data && <Status status={found.data.status} />}
        <Id id={props.id} copy />
        <span className="grow" />
        <CopyButton text={() => location.href} label="Copy the link" />
        <IconButton label="Close" size="sm" onClick={props.onClose}>
          <X size={16} />
        </IconButton>
      </div>
      <div
        tabIndex={0}
        role="region"
        aria-label="Details"
        className="@container min-h-0 grow overflow-y-auto focus-visible:-outline-offset-2"
      >
        {found.data !== undefined ? (
          <Shown effect={found.data} me={props.me} heading={heading} />
        ) : found.isError ? (
          <ErrorState error={found.error} onRetry={() => void found.refetch()} what="This effect" />
        ) : (
          <div role="status" aria-label="Loading the effect" className="flex flex-col gap-4 p-4">
            <Skeleton className="h-6 w-1/2" />
            <Skeleton className="h-28 w-full" />
            <Skeleton className="h-48 w-full" />
          </div>
        )}
      </div>
    </>
  );
}

function Shown({
  effect,
  me,
  heading,
}: {
  effect: Effect;
  me: Me;
  heading: RefObject<HTMLHeadingElement | null>;
}) {
  const asked = useApprovalsOf(effect);
  const question = asked.find((one) => one.type === "effect" && one.status === "pending");
  return (
    <div className="mx-auto flex max-w-3xl flex-col gap-6 p-4 sm:p-5">
      <div className="min-w-0">
        <h2
          ref={heading}
          tabIndex={-1}
          className="flex flex-wrap items-center gap-2 rounded-sm text-lg font-semibold outline-none [overflow-wrap:anywhere]"
        >
          {inert(effect.tool)}
          <Badge>{effect.effect_class}</Badge>
        </h2>
        <p className="mt-0.5 text-xs text-ink-2">
          {STATUS_WORDS[effect.status]} {CLASS_WORDS[effect.effect_class]}
        </p>
      </div>
      {effect.status === "unknown" && (
        <Resolve effect={effect} me={me} question={question} onResolved={() => heading.current?.focus()} />
      )}
      {effect.error && effect.status !== "unknown" && <Said effect={effect} error={effect.error} />}
      <Section
        title="Arguments"
        actions={<CopyButton text={() => written(effect.arguments)} label="Copy the arguments" />}
      >
        <Arguments value={effect.arguments} name={`${effect.id}.json`} />
      </Section>
      <Section title="The call">
        <Facts effect={effect} asked={asked} />
      </Section>
    </div>
  );
}

/** Why it failed, or what somebody said of it when nobody knew. */
function Said({ effect, error }: { effect: Effect; error: NonNullable<Effect["error"]> }) {
  const resolved = error.code === "resolved";
  const who = error.decision?.name ?? "Somebody";
  return (
    <Notice
      tone={resolved ? "info" : effect.status === "failed" ? "bad" : "warn"}
      title={resolved ? `${inert(who)} said what became of it` : inert(error.code)}
    >
      {error.message && <p dir="auto">{inert(error.message.slice(0, 4_000))}</p>}
    </Notice>
  );
}

function Facts({ effect, asked }: { effect: Effect; asked: readonly ApprovalRow[] }) {
  const step = useStepOf(effect);
  return (
    <dl className="grid min-w-0 grid-cols-1 gap-x-6 gap-y-3.5 @md:grid-cols-2">
      <Fact label="Agent">{inert(effect.agent)}</Fact>
      <Fact label="Tries">
        <span className="tabular">{effect.attempt}</span>
      </Fact>
      <Fact label="Key given to the other side">
        <span className="inline-flex max-w-full items-center gap-0.5 font-mono text-xs">
          <span className="min-w-0">{effect.idempotency_key}</span>
          <CopyButton text={effect.idempotency_key} label="Copy the key" />
        </span>
      </Fact>
      {effect.provider_ref !== null && (
        <Fact label="The other side’s reference">
          <span className="inline-flex max-w-full items-center gap-0.5 font-mono text-xs">
            <span className="min-w-0">{inert(effect.provider_ref)}</span>
            <CopyButton text={effect.provider_ref} label="Copy the reference" />
          </span>
        </Fact>
      )}
      <Fact label="Chosen">
        <Time at={effect.planned_at} />
      </Fact>
      <Fact label="Begun">
        <Time at={effect.started_at} />
      </Fact>
      {effect.status === "started" && effect.deadline !== null && (
        <Fact label="Over at the latest">
          <Time at={effect.deadline} />
        </Fact>
      )}
      <Fact label="Known">
        <Time at={effect.ended_at} />
        {took(effect) !== null && <span className="text-ink-3"> after {took(effect)}</span>}
      </Fact>
      <Fact label="Tool’s version">{inert(effect.version)}</Fact>
      <Fact label="Run">
        <Link
          to="/runs/$runId"
          params={{ runId: effect.run_id }}
          search={step === null ? {} : { step }}
          className={LINK}
        >
          <Id id={effect.run_id} />
          {step !== null && <span>step {step}</span>}
        </Link>
        {effect.run_ended && <span className="block text-xs text-ink-3">It has ended.</span>}
      </Fact>
      {effect.duplicate_of !== null && (
        <Fact label="The same as">
          <Other id={effect.duplicate_of}>was made first</Other>
        </Fact>
      )}
      {effect.compensates !== null && (
        <Fact label="Undoes">
          <Other id={effect.compensates} />
        </Fact>
      )}
      {asked.map((one) => (
        <Fact key={one.id} label={one.type === "effect" ? "Question of its outcome" : "Leave"}>
          <Link to="/approvals/$approvalId" params={{ approvalId: one.id }} className={LINK}>
            <Status status={one.status} quiet />
            <Id id={one.id} />
          </Link>
        </Fact>
      ))}
    </dl>
  );
}

const LINK =
  "inline-flex min-w-0 flex-wrap items-center gap-x-1.5 rounded-sm text-accent-text hover:underline";

const Other = ({ id, children }: { id: string; children?: ReactNode }) => (
  <Link to="/effects" search={(before: object) => ({ ...before, effect: id })} className={LINK}>
    <Id id={id} /> {children}
  </Link>
);

/** What was asked about this call: leave for it, or what became of it. */
function useApprovalsOf(effect: Effect): readonly ApprovalRow[] {
  const found = useQuery({
    queryKey: keys.approvals({ of: effect.run_id }),
    queryFn: ({ signal }) =>
      body(api.GET("/v1/approvals", { params: { query: { run_id: effect.run_id, limit: 200 } }, signal })),
  });
  return (found.data?.data ?? []).filter((one) => one.effect_id === effect.id);
}

const STEPS_LOOKED_AT = 200;

/** The number of its step, by which the run's page selects it; null if it is not among the first. */
function useStepOf(effect: Effect): number | null {
  const found = useQuery({
    queryKey: keys.ofRun(effect.run_id, "steps", "first"),
    queryFn: ({ signal }) =>
      body(
        api.GET("/v1/runs/{run_id}/steps", {
          params: { path: { run_id: effect.run_id }, query: { limit: STEPS_LOOKED_AT } },
          signal,
        }),
      ),
  });
  return found.data?.data.find((one) => one.key === effect.step)?.seq ?? null;
}

function Resolve({
  effect,
  me,
  question,
  onResolved,
}: {
  effect: Effect;
  me: Me;
  question: ApprovalRow | undefined;
  onResolved: () => void;
}) {
  const [outcome, setOutcome] = useState<Word | null>(null);
  const [result, setResult] = useState<unknown>(undefined);
  const [note, setNote] = useState("");
  const [valid, setValid] = useState(true);
  const [refused, setRefused] = useState<Refusal | null>(null);
  const [errors, setErrors] = useState<Readonly<Record<string, string>>>({});
  const [code, setCode] = useState<ApiCall | null>(null);
  const resolving = useOutcome(effect.id);
  const allowed = may(me, "effects:write");
  const word = (said: Word): Outcome => ({
    outcome: said,
    ...(said === "committed" ? { result: result ?? null } : {}),
    ...(note.trim() === "" ? {} : { note: note.trim() }),
  });
  const send = (): void => {
    if (outcome === null || resolving.isPending) return;
    setRefused(null);
    setErrors({});
    resolving
      .mutateAsync(word(outcome))
      .then((after) => {
        onResolved();
        toast(`${effect.tool}: ${after.status === "committed" ? "it happened" : "it did not happen"}`);
      })
      .catch((error: unknown) => {
        if (error instanceof Problem && error.status === 422) setErrors(placed(error.body.errors));
        setRefused(refusal(error));
      });
  };
  return (
    <section
      aria-label="Say what became of it"
      className="flex min-w-0 flex-col gap-3 rounded-lg border border-line-2 bg-surface p-4"
    >
      <div>
        <h3 className="font-semibold">Did it happen?</h3>
        {effect.error && (
          <p dir="auto" className="mt-0.5 text-xs text-ink-2 [overflow-wrap:anywhere]">
            {inert((effect.error.message ?? "").slice(0, 2_000))}
          </p>
        )}
        <p className="mt-0.5 text-xs text-ink-2">
          Look at the other side, by the key{effect.provider_ref !== null && " or the reference"} below; then
          say so here{question && " or in the inbox"}. It waits as long as it takes.
        </p>
      </div>
      <OutcomeFields
        tool={effect.tool}
        schema={question?.schema ?? null}
        effect={effect}
        outcome={outcome}
        result={result}
        onOutcome={setOutcome}
        onResult={setResult}
        errors={errors}
        onValid={setValid}
      />
      <Field label="Note" hint="It is kept.">
        {(a11y) => (
          <Textarea
            {...a11y}
            rows={1}
            maxLength={4_000}
            value={note}
            onChange={(event) => setNote(event.target.value)}
          />
        )}
      </Field>
      {refused && (
        <Notice alert tone="warn" title={inert(refused.title)}>
          <p>{inert(refused.text)}</p>
        </Notice>
      )}
      {!allowed && <p className="text-xs text-ink-2">Your key may read effects, not resolve them.</p>}
      <div className="flex flex-wrap justify-end gap-2">
        <Button
          icon={<Code size={14} aria-hidden />}
          disabled={outcome === null}
          onClick={() =>
            outcome !== null &&
            setCode({ method: "POST", path: `/v1/effects/${effect.id}/resolve`, body: word(outcome) })
          }
        >
          As code
        </Button>
        <Button
          look="primary"
          busy={resolving.isPending}
          disabled={outcome === null || !allowed || !valid}
          onClick={send}
        >
          {outcome === "not_done" && !effect.run_ended ? "Record it, and call again" : "Record it"}
        </Button>
      </div>
      <SnippetDialog call={code} onClose={() => setCode(null)} />
    </section>
  );
}
