import { Dialog } from "radix-ui";
import { type FormEvent, useState } from "react";
import { messageOf, Problem } from "~/api/problem";
import { signIn } from "~/api/session";
import { Button } from "~/design/Button";
import { Field, Input } from "~/design/Field";
import { useReturn } from "~/design/returning";

/**
 * Asks for an API key, over whatever page is open: when a session ends in the middle of something, nothing of it is lost.
 * The key goes to the server once and is exchanged for a cookie that scripts cannot read.
 */
export function SignIn({ open, again, onEntered }: { open: boolean; again: boolean; onEntered: () => void }) {
  const Title = again ? "h2" : "h1";
  const giveBack = useReturn(open);
  return (
    <Dialog.Root open={open}>
      <Dialog.Portal>
        <Dialog.Overlay className="fixed inset-0 z-[70] bg-scrim backdrop-blur-sm" />
        <Dialog.Content
          aria-modal
          onCloseAutoFocus={giveBack}
          className="fixed left-1/2 top-1/2 z-[70] max-h-dvh w-[calc(100vw-2rem)] max-w-sm -translate-x-1/2 -translate-y-1/2 overflow-y-auto rounded-lg border border-line bg-raised p-6 shadow-pop"
        >
          <Dialog.Title asChild>
            <Title className="text-lg font-semibold">
              {again ? "Your session has ended" : "Sign in to Holdfast"}
            </Title>
          </Dialog.Title>
          <Dialog.Description className="mb-4 mt-1 text-sm text-ink-2">
            {again ? "Sign in again to go on where you are." : "With an API key of this server."}
          </Dialog.Description>
          <KeyForm onEntered={onEntered} />
        </Dialog.Content>
      </Dialog.Portal>
    </Dialog.Root>
  );
}

function KeyForm({ onEntered }: { onEntered: () => void }) {
  const [key, setKey] = useState("");
  const [error, setError] = useState<string | null>(null);
  const [busy, setBusy] = useState(false);
  const submit = async (event: FormEvent): Promise<void> => {
    event.preventDefault();
    if (busy) return;
    setBusy(true);
    setError(null);
    try {
      await signIn(key.trim());
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
  return (
    <form onSubmit={(event) => void submit(event)} className="flex flex-col gap-4">
      <Field label="API key" error={error} hint="Make one with: holdfast keys create">
        {(props) => (
          <Input
            {...props}
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
  );
}
