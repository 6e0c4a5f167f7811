/**
 * Keys (`Idempotency-Key`) for things that are to be done once. After a broken connection nobody knows whether the server
 * did it: the same thing asked again then goes under the same key. Once it is known what became of it, asking again is
 * another thing.
 */

import { idempotencyKey } from "./client";
import { Problem } from "./problem";

export class Doubt {
  private open: { readonly said: string; readonly key: string } | null = null;

  /** The key for what is asked, told by what it says. */
  keyOf(said: unknown): string {
    const text = JSON.stringify(said) ?? "";
    if (this.open?.said !== text) this.open = { said: text, key: idempotencyKey() };
    return this.open.key;
  }

  /** It was done, or it failed with `error`: one that may pass leaves the doubt. */
  heard(error: unknown = null): void {
    if (error instanceof Problem && error.isPassing) return;
    this.open = null;
  }
}
