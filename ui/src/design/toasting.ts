export interface Toast {
  readonly id: number;
  readonly tone: "good" | "bad" | "info";
  readonly text: string;
  readonly detail?: string | undefined;
  readonly action?: { readonly label: string; readonly run: () => void } | undefined;
}

export const TOASTS_MAX = 4;

/** With one more. The same said again takes the place of what said it; of too many the oldest goes, a success first. */
export function added(known: readonly Toast[], one: Toast): readonly Toast[] {
  const rest = known.filter(
    ({ text, detail, tone }) => tone !== one.tone || text !== one.text || detail !== one.detail,
  );
  if (rest.length < TOASTS_MAX) return [...rest, one];
  const goes =
    rest.find(({ tone }) => tone === "good") ?? rest.find(({ action }) => action === undefined) ?? rest[0];
  return [...rest.filter((other) => other !== goes), one];
}
