/** The messages of a prompt, as the model library writes them, brought into the parts that the interface shows. Pure. */

import type { Part } from "~/api/types";

export interface Asked {
  readonly role: "user" | "assistant" | "tool" | "system";
  readonly parts: readonly Part[];
}

interface Raw {
  readonly part_kind?: string;
  readonly content?: unknown;
  readonly tool_name?: string;
  readonly tool_call_id?: string;
  readonly args?: unknown;
  readonly outcome?: string;
}

/** One entry a role: a request may hold a system prompt, results of tools and what the user says. */
export function askedOf(messages: readonly unknown[]): readonly Asked[] {
  const found: { role: Asked["role"]; parts: Part[] }[] = [];
  for (const message of messages) {
    const of = message as { kind?: string; parts?: readonly Raw[] } | null;
    if (!Array.isArray(of?.parts)) {
      found.push({ role: "user", parts: [{ type: "data", data: message }] });
      continue;
    }
    for (const raw of of.parts as readonly Raw[]) {
      const role = roleOf(raw, of.kind);
      const last = found.at(-1);
      if (last?.role === role) last.parts.push(...partsOf(raw));
      else found.push({ role, parts: [...partsOf(raw)] });
    }
  }
  return found;
}

function roleOf({ part_kind }: Raw, kind: string | undefined): Asked["role"] {
  if (part_kind === "system-prompt") return "system";
  if (part_kind === "tool-return" || part_kind === "retry-prompt") return "tool";
  return kind === "response" ? "assistant" : "user";
}

function partsOf(raw: Raw): readonly Part[] {
  switch (raw.part_kind) {
    case "text":
    case "system-prompt":
      return [{ type: "text", text: String(raw.content ?? "") }];
    case "thinking":
      return [{ type: "thinking", text: String(raw.content ?? "") }];
    case "user-prompt":
      return spoken(raw.content);
    case "tool-call":
      return [
        {
          type: "tool_call",
          call_id: raw.tool_call_id ?? null,
          name: raw.tool_name ?? "tool",
          arguments: argumentsOf(raw.args),
        },
      ];
    case "tool-return":
      return [
        {
          type: "tool_result",
          call_id: raw.tool_call_id ?? null,
          name: raw.tool_name ?? null,
          result: raw.content,
          ...(raw.outcome === "failed" && { error: raw.content }),
        },
      ];
    case "retry-prompt":
      return [
        {
          type: "tool_result",
          call_id: raw.tool_call_id ?? null,
          name: raw.tool_name ?? null,
          result: null,
          error: raw.content,
        },
      ];
    default:
      return [{ type: "data", data: raw }];
  }
}

const spoken = (content: unknown): readonly Part[] =>
  Array.isArray(content)
    ? content.map(
        (one): Part => (typeof one === "string" ? { type: "text", text: one } : { type: "data", data: one }),
      )
    : [typeof content === "string" ? { type: "text", text: content } : { type: "data", data: content }];

/** Arguments come as an object or, from some models, as text of JSON. */
function argumentsOf(args: unknown): unknown {
  if (typeof args !== "string") return args ?? {};
  try {
    return JSON.parse(args) as unknown;
  } catch {
    return args;
  }
}
