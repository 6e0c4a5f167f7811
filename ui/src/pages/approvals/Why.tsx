/** Why it is asked, who may answer, until when, and where it comes from. */

import { Link } from "@tanstack/react-router";
import type { ReactNode } from "react";
import type { Me } from "~/api/session";
import type { Approval } from "~/api/types";
import { Fact, Id, Time } from "~/design/Facts";
import { exact } from "~/lib/format";
import { placeIn, placeText } from "~/lib/place";
import { inert } from "~/lib/text";
import { useNow } from "~/lib/ticking";
import { approvalsGiven, standingDecisions, timeLeft, whenOver, who, whoMay } from "./words";

export function Why({ asked, me }: { asked: Approval; me: Me }) {
  const approved = standingDecisions(asked).filter((one) => one.decision === "approve");
  return (
    <aside
      aria-label="Why, and who may decide"
      className="min-w-0 @2xl:col-start-2 @2xl:row-span-2 @2xl:row-start-1"
    >
      <dl className="grid min-w-0 grid-cols-1 gap-x-6 gap-y-3.5 @md:grid-cols-2 @2xl:grid-cols-1">
        {asked.reason && asked.type !== "effect" && (
          <Fact label="Why it is asked">
            <span dir="auto">{inert(asked.reason.slice(0, 2_000))}</span>
          </Fact>
        )}
        {asked.status === "pending" && <Expiry asked={asked} />}
        <Fact label="Who may decide">{inert(whoMay(asked))}</Fact>
        {asked.quorum > 1 && (
          <Fact label="How many">
            <span className="tabular">
              {approvalsGiven(asked)} of {asked.quorum}
            </span>{" "}
            have approved{approved.length > 0 && `: ${approved.map((one) => inert(who(one, me))).join(", ")}`}
          </Fact>
        )}
        {asked.four_eyes && (
          <Fact label="Four eyes">Not by who started this or changed it; they may reject it.</Fact>
        )}
        {asked.escalated && <Fact label="Escalated">Nobody answered at first; it is asked once more.</Fact>}
        <Fact label="Requested by">
          {asked.requested_by === me.principal.id ? (
            `${inert(me.principal.name)} (you)`
          ) : (
            <>
              {asked.requested_by_name !== null && <span>{inert(asked.requested_by_name)} </span>}
              <Id id={asked.requested_by} copy />
            </>
          )}
        </Fact>
        <Fact label="Asked">
          <Time at={asked.created_at} />
        </Fact>
        <Fact label="Where it stands">
          <Places asked={asked} />
        </Fact>
      </dl>
    </aside>
  );
}

function Expiry({ asked }: { asked: Approval }) {
  const left = timeLeft(asked, useNow(asked.expires_at !== null));
  if (left === null)
    return (
      <Fact label="Time">
        {asked.type === "effect"
          ? "As long as it takes: nobody can know by waiting."
          : "As long as it takes."}
      </Fact>
    );
  return (
    <Fact label="Time">
      <span
        className={left.soon ? "font-medium text-warn tabular" : "tabular"}
        title={asked.expires_at === null ? undefined : exact(Date.parse(asked.expires_at))}
      >
        {left.text}
      </span>
      <span className="block text-xs text-ink-2">Then {whenOver(asked)}.</span>
    </Fact>
  );
}

function Places({ asked }: { asked: Approval }) {
  const at = placeText(asked);
  return (
    <ul className="flex flex-col gap-1">
      <Place label={`The run, ${at}`}>
        <Link to="/runs/$runId" params={{ runId: asked.run_id }} search={placeIn(asked)} className={LINK}>
          <span>Run, {at}</span> <Id id={asked.run_id} />
        </Link>
      </Place>
      {asked.root_run_id !== asked.run_id && (
        <Place label="The run at the top">
          <Link to="/runs/$runId" params={{ runId: asked.root_run_id }} className={LINK}>
            Top run <Id id={asked.root_run_id} />
          </Link>
        </Place>
      )}
      <Place label="The conversation">
        <Link to="/chat/$threadId" params={{ threadId: asked.thread_id }} className={LINK}>
          Conversation <Id id={asked.thread_id} />
        </Link>
      </Place>
      {asked.effect_id !== null && (
        <Place label="The effect">
          <Link to="/effects" search={{ effect: asked.effect_id }} className={LINK}>
            Effect <Id id={asked.effect_id} />
          </Link>
        </Place>
      )}
    </ul>
  );
}

const LINK =
  "inline-flex min-w-0 flex-wrap items-center gap-x-1.5 rounded-sm text-accent-text hover:underline";

const Place = ({ label, children }: { label: string; children: ReactNode }) => (
  <li title={label}>{children}</li>
);
