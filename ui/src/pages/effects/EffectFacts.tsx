/** What the ledger knows of a call, and where to go from it: its run, its questions, other effects. */

import { Link } from "@tanstack/react-router";
import type { ReactNode } from "react";
import type { ApprovalRow, Effect } from "~/api/types";
import { Status } from "~/design/Badge";
import { CopyButton, Fact, Id, Time } from "~/design/Facts";
import { placeIn, placeText } from "~/lib/place";
import { inert } from "~/lib/text";
import { took } from "./words";

export function EffectFacts({ effect, asked }: { effect: Effect; asked: readonly ApprovalRow[] }) {
  const at = placeText(effect);
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
        <Link to="/runs/$runId" params={{ runId: effect.run_id }} search={placeIn(effect)} className={LINK}>
          <Id id={effect.run_id} />
          {at !== null && <span>{at}</span>}
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
        <Fact key={one.id} label={labelOf(one, effect)}>
          <Link to="/approvals/$approvalId" params={{ approvalId: one.id }} className={LINK}>
            <Status status={one.status} quiet />
            <Id id={one.id} />
          </Link>
        </Fact>
      ))}
    </dl>
  );
}

const labelOf = (asked: ApprovalRow, effect: Effect): string =>
  asked.type === "effect"
    ? "Question of its outcome"
    : asked.id === effect.approval_id
      ? "Allowed by"
      : "Leave that was asked";

const LINK =
  "inline-flex min-w-0 flex-wrap items-center gap-x-1.5 rounded-sm text-accent-text hover:underline";

const Other = ({ id, children }: { id: string; children?: ReactNode }) => (
  <Link to="/effects" search={(before: object) => ({ ...before, effect: id })} className={LINK}>
    <Id id={id} /> {children}
  </Link>
);
