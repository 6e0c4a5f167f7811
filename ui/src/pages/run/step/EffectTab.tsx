import { Link } from "@tanstack/react-router";
import type { Step } from "~/api/types";
import { Status } from "~/design/Badge";
import { CopyButton, Fact, Time } from "~/design/Facts";
import { JsonView } from "~/design/Json";
import { ErrorState, Skeleton } from "~/design/States";
import { inert } from "~/lib/text";
import { useEffectOf } from "./queries";

const CLASSES: Readonly<Record<string, string>> = {
  read: "It only reads: repeating it does no harm.",
  keyed: "It passes a key on, so that doing it twice is doing it once.",
  reconcilable: "What became of it can be looked up.",
  unsafe: "It can be neither repeated nor looked up: after a crash a person is asked.",
};

/** What the ledger has of a call that may have changed something outside. */
export function EffectTab({ step }: { step: Step }) {
  const of = step.effect;
  const effect = useEffectOf(of?.id ?? "");
  if (of === null) return null;
  if (effect.isError)
    return <ErrorState error={effect.error} onRetry={() => void effect.refetch()} what="This effect" />;
  if (effect.data === undefined) return <Skeleton className="h-40" />;
  const found = effect.data;
  return (
    <div className="flex flex-col gap-4">
      <div className="flex items-center gap-2">
        <Status status={found.status} />
        <Link to="/effects" search={{ effect: of.id }} className="text-sm text-accent-text hover:underline">
          {found.status === "unknown" ? "Say what became of it" : "In the ledger"}
        </Link>
      </div>
      <p className="text-sm text-ink-2">{CLASSES[found.effect_class] ?? ""}</p>
      <dl className="grid grid-cols-2 gap-3">
        <Fact label="Tool">
          <span className="font-mono text-xs">{inert(found.tool)}</span>
        </Fact>
        <Fact label="Class">{found.effect_class}</Fact>
        <Fact label="Attempt">{found.attempt}</Fact>
        <Fact label="Provider's reference">{found.provider_ref ? inert(found.provider_ref) : "—"}</Fact>
        <Fact label="Started">
          <Time at={found.started_at} />
        </Fact>
        <Fact label="Settled">
          <Time at={found.ended_at} />
        </Fact>
      </dl>
      {found.arguments && (
        <Fact label="Arguments">
          <JsonView value={found.arguments} name="arguments.json" className="mt-1" />
        </Fact>
      )}
      <Fact label="Idempotency key">
        <span className="flex items-center gap-1 font-mono text-xs">
          {found.idempotency_key}
          <CopyButton text={found.idempotency_key} label="Copy the key" />
        </span>
      </Fact>
      {found.error && (
        <Fact label="Error">
          <span dir="auto" className="text-bad">
            {inert(found.error.message ?? "")}
          </span>
        </Fact>
      )}
    </div>
  );
}
