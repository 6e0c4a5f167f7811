/** The kinds of steps, each with one icon and one colour wherever a step is shown. */

import {
  Bot,
  Braces,
  CircleHelp,
  Clock,
  Database,
  FunctionSquare,
  Hash,
  type LucideIcon,
  Radio,
  Sparkles,
  Split,
  Wrench,
} from "lucide-react";
import type { StepKind } from "~/api/types";

const KINDS: Readonly<Record<string, readonly [LucideIcon, string]>> = {
  model: [Sparkles, "var(--c-model)"],
  tool: [Wrench, "var(--c-tool)"],
  code: [FunctionSquare, "var(--c-code)"],
  child: [Bot, "var(--c-child)"],
  handoff: [Split, "var(--c-child)"],
  sleep: [Clock, "var(--c-wait)"],
  event: [Radio, "var(--c-wait)"],
  interrupt: [CircleHelp, "var(--c-ask)"],
  emit: [Braces, "var(--c-code)"],
  value: [Hash, "var(--c-code)"],
  state: [Database, "var(--c-code)"],
};

export const kindColour = (kind: string): string => KINDS[kind]?.[1] ?? "var(--c-code)";

export function KindIcon({ kind, size = 14 }: { kind: StepKind | string; size?: number }) {
  const [Icon, colour] = KINDS[kind] ?? [Braces, "var(--c-code)"];
  return <Icon size={size} style={{ color: colour }} aria-hidden className="shrink-0" />;
}
