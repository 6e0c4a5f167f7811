/** Markdown cut at blank lines outside of fences, lists and their like, so that each piece reads alone as it does together. */
export function blocksOf(text: string): readonly string[] {
  const found: string[] = [];
  let current: string[] = [];
  let fence: string | null = null;
  const push = (): void => {
    if (current.length > 0) found.push(current.join("\n"));
    current = [];
  };
  for (const line of text.split("\n")) {
    const mark: string | undefined = /^ {0,3}(`{3,}|~{3,})/.exec(line)?.[1];
    if (fence !== null) {
      current.push(line);
      if (mark !== undefined && mark[0] === fence[0] && mark.length >= fence.length && line.trim() === mark)
        fence = null;
    } else if (mark !== undefined) {
      fence = mark;
      current.push(line);
    } else if (line.trim() === "" && current.length > 0 && !goesOn(current)) {
      push();
    } else if (line.trim() !== "" || current.length > 0) {
      current.push(line);
    }
  }
  push();
  return found;
}

/** A list or an indented block goes on over blank lines. */
const goesOn = (lines: readonly string[]): boolean =>
  /^( {0,3}([-*+]|\d+[.)])\s|\s{2,}|\|)/.test(lines[0] ?? "");
