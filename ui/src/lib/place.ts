/** Where in its run something stands that has a step, or will have one. */

export interface Placed {
  /** The number of its step, once that is recorded. */
  readonly step_seq: number | null;
  /** How many steps its run had recorded before it; null if it has not begun. */
  readonly after_step: number | null;
}

/** What the address of its run asks for: its step, or the last one before it. */
export function placeIn({ step_seq, after_step }: Placed): { readonly step?: number } {
  const step = step_seq ?? after_step;
  return step === null || step === 0 ? {} : { step };
}

export function placeText({ step_seq, after_step }: Placed): string | null {
  if (step_seq !== null) return `step ${step_seq}`;
  if (after_step === null) return null;
  return after_step === 0 ? "before its first step" : `after step ${after_step}`;
}
