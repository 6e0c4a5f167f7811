/**
 * JSON whose numbers stay as they were written. `JSON.parse` makes 9007199254740993 an even number and 120.0 a whole one;
 * what is edited, or copied as code, and sent again must not become another value by being looked at.
 */

interface Raw {
  readonly rawJSON: string;
}

const json = JSON as typeof JSON & {
  rawJSON?: (text: string) => Raw;
  isRawJSON?: (value: unknown) => value is Raw;
};

/** A number that no number of the browser is. `JSON.stringify` writes it as it was. */
export const isRaw = (value: unknown): value is Raw => json.isRawJSON?.(value) ?? false;

function kept(_: string, value: unknown, context?: { readonly source: string }): unknown {
  if (typeof value !== "number") return value;
  if (json.rawJSON !== undefined && context !== undefined)
    return String(value) === context.source ? value : json.rawJSON(context.source);
  if (Number.isInteger(value) && !Number.isSafeInteger(value))
    throw new SyntaxError(`This browser cannot keep a number as large as ${value}.`);
  return value;
}

/** The value of a text of JSON. Raises `SyntaxError`. */
export const exactly = (text: string): unknown => JSON.parse(text, kept);

/** The same, or what is wrong with the text. */
export function exactlyParsed(
  text: string,
): { readonly value: unknown; readonly error: null } | { readonly value: undefined; readonly error: string } {
  try {
    return { value: exactly(text), error: null };
  } catch (error) {
    return { value: undefined, error: error instanceof Error ? error.message : "This is not JSON." };
  }
}

/** Whether somewhere in it is a number that was kept as text. */
export function holdsRaw(value: unknown): boolean {
  if (typeof value !== "object" || value === null) return false;
  return isRaw(value) || Object.values(value).some(holdsRaw);
}
