import { type FormEvent, useState } from "react";
import { messageOf, Problem } from "~/api/problem";
import { signIn } from "~/api/session";
import { Button } from "~/design/Button";
import { Field, Input } from "~/design/Field";

/**
 * Asks for an API key, over whatever page is open: when a session ends in the middle of something, nothing of it is lost.
 * The key goes to the server once and is exchanged for a cookie that scripts cannot read.
 */
export function SignIn({ open, again, onEntered }: { open: boolean; again: boolean; onEntered: () => void }) {
  const [key, setKey] = useState("");
  const [error, setError] = useState<string | null>(null);
  const [busy, setBusy] = useState(false);
  if (!open) return null;
  const submit = async (event: FormEvent): Promise<void> => {
    event.preventDefault();
    setBusy(true);
    setError(null);
    try {
      await signIn(key.trim());
      setKey("");
      onEntered();
    } catch (failure) {
      setError(
        failure instanceof Problem && failure.code === "invalid_api_key"
          ? "This key is wrong, expired or revoked."
          : messageOf(failure),
      );
    } finally {
      setBusy(false);
    }
  };
  const dialog = (
    <div
      role="dialog"
      aria-modal="true"
      aria-labelledby="sign-in"
      className="fixed inset-0 z-50 flex items-center justify-center bg-scrim p-4 backdrop-blur-sm"
    >
      <form
        onSubmit={(event) => void submit(event)}
        className="flex w-full max-w-sm flex-col gap-4 rounded-lg border border-line bg-raised p-6 shadow-pop"
      >
        <div>
          <h1 id="sign-in" className="text-lg font-semibold">
            {again ? "Your session has ended" : "Sign in to Holdfast"}
          </h1>
          <p className="mt-1 text-sm text-ink-2">
            {again ? "Sign in again to go on where you are." : "With an API key of this server."}
          </p>
        </div>
        <Field label="API key" error={error} hint="Make one with: holdfast keys create">
          {(props) => (
            <Input
              {...props}
              autoFocus
              type="password"
              autoComplete="current-password"
              spellCheck={false}
              required
              placeholder="hf_…"
              value={key}
              onChange={(event) => setKey(event.target.value)}
              className="font-mono"
            />
          )}
        </Field>
        <Button type="submit" look="primary" busy={busy} disabled={key.trim() === ""}>
          Sign in
        </Button>
      </form>
    </div>
  );
  return again ? dialog : <main>{dialog}</main>;
}
