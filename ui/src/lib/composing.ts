import type { KeyboardEvent } from "react";

/** The key that a browser names while an input method takes it: Safari ends a composition before it tells of the key. */
const PROCESSED = 229;

/** Whether a key belongs to an input method that composes a character, and to nobody else. */
export const isComposing = (event: KeyboardEvent): boolean =>
  event.nativeEvent.isComposing || event.keyCode === PROCESSED;
