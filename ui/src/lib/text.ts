/** Text that others wrote, made fit to be shown. React escapes markup; what is left are control characters. */

// CSI, OSC and single-character escape sequences (ECMA-48), as terminals read them.
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const ESCAPES = /\u001b(?:\[[0-?]*[ -/]*[@-~]|\][^\u0007\u001b]*(?:\u0007|\u001b\\)?|[@-Z\\-_])/g;
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const CONTROLS = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f]/g;
// Marks that turn the direction of the text around them, beyond their own (the "Trojan Source" trick).
const DIRECTIONS = /[\u202a-\u202e\u2066-\u2069]/g;

/** Without terminal colours, control characters and direction overrides. Right-to-left letters stay as they are. */
export function inert(text: string): string {
  return text.replace(ESCAPES, "").replace(CONTROLS, "\ufffd").replace(DIRECTIONS, "");
}

/** One line, at most `chars_max` characters (whole code points), for rows and titles. */
export function oneLine(text: string, charsMax = 160): string {
  const line = inert(text.slice(0, charsMax * 4))
    .replace(/\s+/g, " ")
    .trim();
  const points = Array.from(line);
  return points.length > charsMax ? `${points.slice(0, charsMax - 1).join("")}…` : line;
}

/** What a value of JSON says in one line: text as it is, the rest as JSON. */
export function brief(value: unknown, charsMax = 160): string {
  if (value === undefined || value === null) return "";
  if (typeof value === "string") return oneLine(value, charsMax);
  const shown: string = JSON.stringify(value) ?? "";
  return oneLine(shown.slice(0, charsMax * 4), charsMax);
}

/** What a run was given, in words: as far as it is there, else how it begins. */
export const saidTo = (run: {
  readonly input: unknown;
  readonly input_cut: { readonly preview: string } | null;
}): string => (run.input_cut === null ? textOf(run.input) : run.input_cut.preview.replace(/…?$/, "…"));

/** The text of a run's input or output as far as it is one. */
export function textOf(value: unknown): string {
  if (typeof value === "string") return value;
  if (Array.isArray(value)) {
    const texts = value.filter((p): p is { text: string } => typeof p?.text === "string").map((p) => p.text);
    if (texts.length > 0) return texts.join("\n");
  }
  if (typeof value === "object" && value !== null) {
    for (const name of ["summary", "text", "message", "question", "title"]) {
      const found = (value as Record<string, unknown>)[name];
      if (typeof found === "string") return found;
    }
  }
  return brief(value, 400);
}
