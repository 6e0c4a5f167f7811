import { afterEach, beforeEach, expect, test, vi } from "vitest";

/** A tab's storage, whose names are its own properties as a browser's are. */
class Storage {
  getItem(name: string): string | null {
    return (this as unknown as Record<string, string>)[name] ?? null;
  }
  setItem(name: string, value: string): void {
    Object.assign(this, { [name]: value });
  }
  removeItem(name: string): void {
    Reflect.deleteProperty(this, name);
  }
}

let storage: Storage;
/** The page as it is after it was loaded. */
const loaded = async () => {
  vi.resetModules();
  return (await import("./owner")).isOwn;
};

beforeEach(() => {
  storage = new Storage();
  vi.stubGlobal("sessionStorage", storage);
});
afterEach(() => vi.unstubAllGlobals());

test("a page is of the first person that it is told of", async () => {
  const isOwn = await loaded();
  expect([isOwn("pri_a"), isOwn("pri_a"), isOwn("pri_b"), isOwn("pri_a")]).toEqual([true, true, false, true]);
});

test("what the tab keeps stays for the same person, and goes for another one", async () => {
  (await loaded())("pri_a");
  storage.setItem("holdfast.draft.new", "a wish");
  storage.setItem("elsewhere", "of the application around it");
  (await loaded())("pri_a");
  expect(storage.getItem("holdfast.draft.new")).toBe("a wish");
  const isOwn = await loaded();
  expect(isOwn("pri_b")).toBe(true);
  expect(storage.getItem("holdfast.draft.new")).toBeNull();
  expect(storage.getItem("elsewhere")).toBe("of the application around it");
});

test("storage that is blocked hinders nobody", async () => {
  vi.stubGlobal("sessionStorage", {
    getItem: () => {
      throw new Error("no");
    },
  });
  const isOwn = await loaded();
  expect(isOwn("pri_a")).toBe(true);
  expect(isOwn("pri_b")).toBe(false);
});
