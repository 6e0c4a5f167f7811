/** One effect: what was called, what became of it, what it belongs to; and, if nobody knows, the word that says it. */

import { X } from "lucide-react";
import { type RefObject, useEffect, useRef } from "react";
import type { Me } from "~/api/session";
import type { Effect } from "~/api/types";
import { Arguments } from "~/design/Arguments";
import { Badge, Status } from "~/design/Badge";
import { IconButton } from "~/design/Button";
import { CopyButton, Id } from "~/design/Facts";
import { written } from "~/design/Json";
import { Notice, Section } from "~/design/Pane";
import { ErrorState, Skeleton } from "~/design/States";
import { inert } from "~/lib/text";
import { EffectFacts } from "./EffectFacts";
import { useLedgerRow, useQuestionsAbout } from "./ledger";
import { ResolveEffect } from "./ResolveEffect";
import { CLASS_WORDS, STATUS_WORDS } from "./words";

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
  const asked = useQuestionsAbout(effect.id);
  const question = asked.find((one) => one.type === "effect" && one.status === "pending");
  const unknown = effect.status === "unknown";
  useEffect(() => {
    // Somebody else said it while the focus stood in what is gone now.
    if (!unknown && document.activeElement === document.body) heading.current?.focus();
  }, [unknown, heading]);
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
        <p role="status" className="mt-0.5 text-xs text-ink-2">
          {STATUS_WORDS[effect.status]} {CLASS_WORDS[effect.effect_class]}
        </p>
      </div>
      {unknown && (
        <ResolveEffect
          effect={effect}
          me={me}
          questionId={question?.id}
          onResolved={() => heading.current?.focus()}
        />
      )}
      {effect.error && !unknown && <Said effect={effect} error={effect.error} />}
      <Section
        title="Arguments"
        actions={<CopyButton text={() => written(effect.arguments)} label="Copy the arguments" />}
      >
        <Arguments value={effect.arguments} name={`${effect.id}.json`} />
      </Section>
      <Section title="The call">
        <EffectFacts effect={effect} asked={asked} />
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
