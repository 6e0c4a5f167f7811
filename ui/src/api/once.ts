/** A key for a thing that is to be done once: asked again with the same body after a failure, it is the same thing. */

import { useRef } from "react";
import { idempotencyKey } from "./client";

export function useOnceKey(): (body: unknown) => string {
  const known = useRef<{ readonly said: string; readonly key: string } | null>(null);
  return (body) => {
    const said = JSON.stringify(body) ?? "";
    if (known.current?.said !== said) known.current = { said, key: idempotencyKey() };
    return known.current.key;
  };
}
