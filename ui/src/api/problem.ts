/** What the server said no with (RFC 9457), or that it could not be reached. */

export interface ProblemBody {
  readonly title?: string;
  readonly status?: number;
  readonly detail?: string;
  readonly code?: string;
  readonly request_id?: string;
  readonly errors?: readonly { readonly loc: readonly (string | number)[]; readonly msg: string }[];
  readonly [member: string]: unknown;
}

export class Problem extends Error {
  readonly status: number;
  readonly code: string;
  readonly requestId: string | null;
  readonly body: ProblemBody;

  constructor(status: number, body: ProblemBody, requestId: string | null = null) {
    super(body.detail ?? body.title ?? `The server answered ${status}.`);
    this.name = "Problem";
    this.status = status;
    this.code = body.code ?? String(status);
    this.requestId = body.request_id ?? requestId;
    this.body = body;
  }

  /** The session ended, or there never was one. */
  get isSignedOut(): boolean {
    return this.status === 401;
  }

  /** Trying the same again may help. */
  get isPassing(): boolean {
    return this.status === 0 || this.status === 429 || this.status >= 500;
  }
}

/** Reads the problem out of an answer that is not a success, whatever its body is. */
export async function problemOf(answer: Response): Promise<Problem> {
  const requestId = answer.headers.get("x-request-id");
  try {
    const body: unknown = await answer.json();
    if (typeof body === "object" && body !== null)
      return new Problem(answer.status, body as ProblemBody, requestId);
  } catch {
    // Not JSON: a proxy in between, or nothing at all.
  }
  return new Problem(answer.status, { title: answer.statusText || `HTTP ${answer.status}` }, requestId);
}

export const unreachable = (): Problem =>
  new Problem(0, {
    code: "unreachable",
    detail: "The server cannot be reached. It may be restarting; runs go on where they were when it is back.",
  });

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
