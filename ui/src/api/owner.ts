/**
 * Whose this tab is. What the page was told, and what was typed into it, is one person's: answers, forms that were not
 * sent, drafts that the tab keeps. When another one signs in, the page begins anew, and the drafts go.
 */

const OURS = "holdfast.";
const KEY = "holdfast.person";
let owner: string | null = null;

/** Whether this page is of the person who is signed in now: of the first one that it was told of. */
export function isOwn(person: string): boolean {
  if (owner === null) {
    owner = person;
    forgetOthers(person);
  }
  return owner === person;
}

function forgetOthers(person: string): void {
  try {
    if (sessionStorage.getItem(KEY) === person) return;
    for (const name of Object.keys(sessionStorage))
      if (name.startsWith(OURS)) sessionStorage.removeItem(name);
    sessionStorage.setItem(KEY, person);
  } catch {
    // Storage is blocked; then nothing is kept in it.
  }
}
