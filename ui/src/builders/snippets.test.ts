import { expect, it } from "vitest";
import { asCurl, asPython, forkCall, pythonLiteral, resolveCall, shellQuoted, startCall } from "./snippets";

const SERVER = { url: "http://127.0.0.1:8484", keyed: true };

it("writes a start as curl", () => {
  expect(asCurl(SERVER, startCall({ agent: "support", input: "Where's 7?", thread_id: "thr_1" }))).toBe(
    [
      "curl -sN -X POST 'http://127.0.0.1:8484/v1/runs'",
      '-H "authorization: Bearer $HOLDFAST_API_KEY"',
      "-H 'accept: text/event-stream'",
      "-H 'content-type: application/json'",
      `--data-raw '{"agent":"support","input":"Where'\\''s 7?","thread_id":"thr_1"}'`,
    ].join(" \\\n  "),
  );
});

it("lets nothing out of the shell's quotes", () => {
  expect(shellQuoted("'; rm -rf / #$(id)`id`")).toBe("''\\''; rm -rf / #$(id)`id`'");
});

it("writes values of JSON as Python", () => {
  expect(pythonLiteral({ a: [true, null, 1.5], 'b"': 'x"\n\\' })).toBe(
    '{\n    "a": [\n        True,\n        None,\n        1.5,\n    ],\n    "b\\"": "x\\"\\n\\\\",\n}',
  );
  expect(pythonLiteral({})).toBe("{}");
  expect(pythonLiteral("\u202eabc")).toBe('"\\u202eabc"');
  expect(pythonLiteral("👍")).toBe('"👍"');
});

it("writes decisions and forks", () => {
  const resolve = asCurl(
    SERVER,
    resolveCall("apr_1", { decision: "approve", arguments: { amount: 1 }, version: 2 }),
  );
  expect(resolve).toContain("/v1/approvals/apr_1/resolve");
  expect(resolve).toContain(`'{"decision":"approve","arguments":{"amount":1},"version":2}'`);
  const fork = asPython(SERVER, forkCall("run_1", { at: 3, edits: { output: false } }));
  expect(fork).toContain('"http://127.0.0.1:8484/v1/runs/run_1/fork"');
  expect(fork).toContain('"output": False,');
  expect(fork).toContain("answer.raise_for_status()");
});

it("asks for no key where none is needed", () => {
  const open = { ...SERVER, keyed: false };
  const call = startCall({ agent: "a", input: "b" });
  expect(asCurl(open, call)).not.toContain("authorization");
  expect(asPython(open, call)).not.toContain("os");
  expect(asPython(open, { method: "GET", path: "/v1/me" })).not.toContain("headers");
});

it("hands over what is too long for a word by its input", () => {
  const code = asCurl(SERVER, startCall({ agent: "a", input: "'x".repeat(20_000) }));
  expect(code).toContain(`--data-binary @- <<'END_OF_JSON'\n{"agent":"a","input":"'x'x`);
  expect(code.endsWith('"}\nEND_OF_JSON')).toBe(true);
});

it("escapes what a terminal would take for a key, or turn around", () => {
  expect(asCurl(SERVER, startCall({ agent: "a", input: "\u007f\u202e" }))).toContain('"\\u007f\\u202e"');
});

it("follows a start in Python", () => {
  const code = asPython(SERVER, startCall({ agent: "a", input: "b" }));
  expect(code).toContain("with httpx.stream(");
  expect(code).toContain('"accept": "text/event-stream"');
});
