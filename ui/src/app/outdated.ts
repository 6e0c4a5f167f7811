/**
 * Whether the server has another build than this page. A build names its files by what they hold, and a server has those of
 * its own build alone: if the script that started this page is gone, so are the parts of it that were not loaded yet.
 */

export type Build = "same" | "newer" | "unreachable";

/** Where this page's own script is, as the page was loaded. */
const entry: string | null =
  typeof document === "undefined"
    ? null
    : (document.querySelector<HTMLScriptElement>("script[type=module][src]")?.src ?? null);

/** Asks the server. Never throws. */
export async function builtThere(): Promise<Build> {
  if (entry === null) return "same";
  try {
    const answer = await fetch(entry, { method: "HEAD", cache: "no-store" });
    return answer.status === 404 ? "newer" : "same";
  } catch {
    return "unreachable";
  }
}
