/**
 * Requests as code: curl for a shell, Python with httpx for a program. What a value says never gets out of its quotes.
 * The key, where one is needed, is read from the environment: no snippet holds a credential.
 */

import { isRaw } from "./exact";

export interface ApiCall {
  readonly method: "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
  /** Below the server's address: `/v1/runs`. */
  readonly path: string;
  readonly body?: unknown;
  /** Ask for the events as they come. */
  readonly streams?: boolean;
}

export const startCall = (start: {
  readonly agent: string;
  readonly input: unknown;
  readonly thread_id?: string;
}): ApiCall => ({
  method: "POST",
  path: "/v1/runs",
  body: {
    agent: start.agent,
    input: start.input,
    ...(start.thread_id === undefined ? {} : { thread_id: start.thread_id }),
  },
  streams: true,
});

export const resolveCall = (
  approvalId: string,
  resolution: {
    readonly decision: "approve" | "reject" | "answer";
    readonly arguments?: unknown;
    readonly answer?: unknown;
    readonly note?: string;
    readonly version?: number;
  },
): ApiCall => ({ method: "POST", path: `/v1/approvals/${approvalId}/resolve`, body: resolution });

export const forkCall = (
  runId: string,
  fork: {
    readonly at: number;
    readonly edits?: unknown;
    readonly rerun?: boolean;
    readonly effects?: unknown;
  },
): ApiCall => ({ method: "POST", path: `/v1/runs/${runId}/fork`, body: fork });

/** A word for a POSIX shell. */
export const shellQuoted = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;

/** Where requests go, and whether they have to show a key. */
export interface Target {
  readonly url: string;
  readonly keyed: boolean;
}

/** A shell passes no longer word to a program. What is longer goes in by its input. */
const WORD_CHARS_MAX = 30_000;
const END = "END_OF_JSON";

export function asCurl({ url, keyed }: Target, call: ApiCall): string {
  const lines = [`curl ${call.streams ? "-sN" : "-s"} -X ${call.method} ${shellQuoted(url + call.path)}`];
  if (keyed) lines.push('-H "authorization: Bearer $HOLDFAST_API_KEY"');
  if (call.streams) lines.push("-H 'accept: text/event-stream'");
  if (call.body === undefined) return lines.join(" \\\n  ");
  const sent = visible(JSON.stringify(call.body));
  lines.push("-H 'content-type: application/json'");
  const long = sent.length > WORD_CHARS_MAX;
  lines.push(long ? `--data-binary @- <<'${END}'` : `--data-raw ${shellQuoted(sent)}`);
  const command = lines.join(" \\\n  ");
  return long ? `${command}\n${sent}\n${END}` : command;
}

const INDENT = "    ";

/** A value of JSON as a literal of Python. */
export function pythonLiteral(value: unknown, indent = ""): string {
  if (value === null || value === undefined) return "None";
  if (value === true) return "True";
  if (value === false) return "False";
  if (typeof value === "number") return Number.isFinite(value) ? String(value) : "None";
  if (typeof value === "string") return pythonText(value);
  if (isRaw(value)) return value.rawJSON;
  const deeper = indent + INDENT;
  if (Array.isArray(value)) {
    if (value.length === 0) return "[]";
    return `[\n${value.map((one) => `${deeper}${pythonLiteral(one, deeper)},\n`).join("")}${indent}]`;
  }
  const members = Object.entries(value as object).filter(([, one]) => one !== undefined);
  if (members.length === 0) return "{}";
  const lines = members.map(
    ([name, one]) => `${deeper}${pythonText(name)}: ${pythonLiteral(one, deeper)},\n`,
  );
  return `{\n${lines.join("")}${indent}}`;
}

/** JSON's escapes of a text are Python's, too. */
const pythonText = (text: string): string => visible(JSON.stringify(text));

/** What turns the direction of text, cannot be seen, or is a key when it is pasted, as JSON's escape for it. */
const visible = (json: string): string =>
  json.replace(
    /[\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff]/g,
    (one) => `\\u${one.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );

export function asPython({ url, keyed }: Target, call: ApiCall): string {
  const headers = [
    ...(keyed ? ['"authorization": f"Bearer {os.environ[\'HOLDFAST_API_KEY\']}"'] : []),
    ...(call.streams ? ['"accept": "text/event-stream"'] : []),
  ];
  const given = [
    pythonText(call.method),
    pythonText(url + call.path),
    ...(headers.length > 0 ? [`headers={${headers.join(", ")}}`] : []),
    ...(call.body === undefined ? [] : [`json=${pythonLiteral(call.body, INDENT)}`]),
    "timeout=60",
  ];
  const indented = given.map((one) => `${INDENT}${one},\n`).join("");
  const head = keyed ? "import os\n\nimport httpx\n\n" : "import httpx\n\n";
  if (call.streams)
    return `${head}with httpx.stream(\n${indented}) as answer:
    answer.raise_for_status()
    for line in answer.iter_lines():
        if line.startswith("data:"):
            print(line[5:].strip())
`;
  return `${head}answer = httpx.request(\n${indented})
answer.raise_for_status()
print(answer.json())
`;
}
