/**
 * The one way to the API: typed by its OpenAPI document, relative to wherever the server is mounted. Every failure is a
 * `Problem`; what signs a user out is told to whoever listens, so that the sign-in comes up over the page at hand.
 */

import createClient, { type Client } from "openapi-fetch";
import { noteServerTime } from "./clock";
import { Problem, problemOf, unreachable } from "./problem";
import type { paths } from "./schema";

/** Where the server is mounted, without a trailing slash: "" or "/holdfast". The page lies below it, in `ui/`. */
export const ROOT: string =
  typeof document === "undefined" ? "" : new URL("..", document.baseURI).pathname.replace(/\/$/, "");

/** Where this page is mounted, for the router. */
export const BASE_PATH: string = `${ROOT}/ui`;

type SignedOut = (problem: Problem) => void;
const signedOutListeners = new Set<SignedOut>();

/** Call `listener` whenever the server asks for a sign-in. Returns how to stop. */
export function onSignedOut(listener: SignedOut): () => void {
  signedOutListeners.add(listener);
  return () => signedOutListeners.delete(listener);
}

/** `fetch` to a path of the API, such as `/v1/runs`; raises `Problem` for whatever is not a success. */
export async function request(path: string, init: RequestInit = {}): Promise<Response> {
  return checked(new Request(path.startsWith("/v1") ? ROOT + path : path, init));
}

/** With such an answer the cookie is dropped: a house that asks for no key lets the same request in without it. */
const SESSION_IS_OVER: ReadonlySet<string> = new Set(["invalid_session", "session_expired"]);

async function checked(asked: Request, again = asked.method === "GET"): Promise<Response> {
  let answer: Response;
  const askedAt = Date.now();
  try {
    answer = await fetch(again ? asked.clone() : asked, { credentials: "same-origin", cache: "no-store" });
  } catch (error) {
    if (asked.signal.aborted) throw error;
    throw unreachable();
  }
  noteServerTime(answer.headers.get("date"), askedAt);
  if (answer.ok) return answer;
  const problem = await problemOf(answer);
  if (again && SESSION_IS_OVER.has(problem.code)) return checked(asked, false);
  if (problem.isSignedOut && problem.code !== "invalid_api_key") {
    for (const listener of signedOutListeners) listener(problem);
  }
  throw problem;
}

export const api: Client<paths> = createClient<paths>({ baseUrl: ROOT, fetch: (asked) => checked(asked) });

/** The body of an answer of `api`, whose failures have been raised already; no stream, which has to be asked for. */
export async function body<T>(
  answered: Promise<{ data?: T; response: Response }>,
): Promise<Exclude<T, string>> {
  const { data, response } = await answered;
  if (data === undefined && response.status !== 204)
    throw new Problem(response.status, { detail: "The answer was empty." });
  return data as Exclude<T, string>;
}

/** A key for `Idempotency-Key`: one a click, so that a repeated request does its work once. */
export function idempotencyKey(): string {
  const drawn = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(drawn, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
