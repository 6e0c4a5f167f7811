import { defaultKeymap, history, historyKeymap } from "@codemirror/commands";
import { json, jsonParseLinter } from "@codemirror/lang-json";
import { bracketMatching, HighlightStyle, indentOnInput, syntaxHighlighting } from "@codemirror/language";
import { linter } from "@codemirror/lint";
import { EditorState, Transaction } from "@codemirror/state";
import { EditorView, highlightSpecialChars, keymap, lineNumbers, type ViewUpdate } from "@codemirror/view";
import { tags } from "@lezer/highlight";
import { getNonce } from "get-nonce";
import { useEffect, useLayoutEffect, useRef } from "react";
import { flushSync } from "react-dom";
import type { JsonEditorProps } from "./Json";

const THEME = EditorView.theme({
  "&": {
    backgroundColor: "var(--c-surface)",
    color: "var(--c-ink)",
    fontSize: "0.75rem",
    borderRadius: "0.375rem",
    border: "1px solid var(--c-line-2)",
  },
  "&.cm-focused": { outline: "2px solid var(--c-accent)", outlineOffset: "1px" },
  ".cm-content": { fontFamily: "var(--font-mono)", caretColor: "var(--c-ink)" },
  ".cm-cursor": { borderLeftColor: "var(--c-ink)" },
  ".cm-gutters": {
    backgroundColor: "var(--c-sunken)",
    color: "var(--c-ink-3)",
    border: "none",
    borderRadius: "0.375rem 0 0 0.375rem",
  },
  "&.cm-focused .cm-selectionBackground, .cm-selectionBackground, ::selection": {
    backgroundColor: "var(--c-accent-soft) !important",
  },
  ".cm-tooltip": {
    backgroundColor: "var(--c-raised)",
    color: "var(--c-ink)",
    border: "1px solid var(--c-line)",
  },
  // As high as this in any face: the gutter is measured before the fonts are there.
  ".cm-scroller": { maxHeight: "50dvh", lineHeight: "1.125rem" },
});

const parseLinter = jsonParseLinter();

const COLOURS = HighlightStyle.define([
  { tag: tags.propertyName, color: "var(--c-accent-text)" },
  { tag: tags.string, color: "var(--c-ink)" },
  { tag: tags.number, color: "var(--c-info)" },
  { tag: [tags.bool, tags.null], color: "var(--c-model)" },
  { tag: tags.punctuation, color: "var(--c-ink-3)" },
]);

/**
 * Text that is typed over a selection is put in by the editor itself. Left to the browser, Chromium writes what it keeps
 * of the old text's style into a `style` attribute, which the page's policy forbids, and says so on the console.
 */
const OVER_SELECTION = EditorView.domEventHandlers({
  beforeinput(event, view) {
    if (event.inputType !== "insertText" || event.data === null || event.isComposing) return false;
    if (view.state.selection.main.empty) return false;
    event.preventDefault();
    view.dispatch(view.state.replaceSelection(event.data), { userEvent: "input.type", scrollIntoView: true });
    return true;
  },
});

const isTyped = (update: ViewUpdate): boolean =>
  update.transactions.some((one) => one.annotation(Transaction.userEvent) !== undefined);

export default function CodeEditor({ value, onChange, label, minHeight = "6rem" }: JsonEditorProps) {
  const place = useRef<HTMLDivElement>(null);
  const view = useRef<EditorView | null>(null);
  const changed = useRef(onChange);
  const latest = useRef(value);
  useLayoutEffect(() => {
    changed.current = onChange;
    latest.current = value;
  });
  useEffect(() => {
    if (place.current === null) return;
    const editor = new EditorView({
      parent: place.current,
      state: EditorState.create({
        doc: latest.current,
        extensions: [
          lineNumbers(),
          history(),
          bracketMatching(),
          indentOnInput(),
          json(),
          // Nothing typed yet is nothing wrong.
          linter((view) => (view.state.doc.length === 0 ? [] : parseLinter(view))),
          syntaxHighlighting(COLOURS),
          EditorView.lineWrapping,
          // Marks that would turn the direction of the text around them, or hide, are shown as what they are.
          highlightSpecialChars({ addSpecialChars: /[\u202a-\u202c\u2068]/ }),
          EditorView.cspNonce.of(getNonce() ?? ""),
          EditorView.contentAttributes.of({ tabindex: "0", "aria-label": label }),
          EditorView.theme({ ".cm-content": { minHeight } }),
          THEME,
          OVER_SELECTION,
          // Tab moves on to the next control, and Ctrl+Enter sends: a form must never hold the keyboard.
          keymap.of([...defaultKeymap.filter(({ key }) => key !== "Mod-Enter"), ...historyKeymap]),
          EditorView.updateListener.of((update) => {
            if (!update.docChanged) return;
            const tell = (): void => changed.current(update.state.doc.toString());
            // A key that sends what is written may come next: it must not find what was written before.
            if (isTyped(update)) flushSync(tell);
            else tell();
          }),
        ],
      }),
    });
    view.current = editor;
    return () => editor.destroy();
  }, [label, minHeight]);
  useEffect(() => {
    const editor = view.current;
    if (editor !== null && editor.state.doc.toString() !== value)
      editor.dispatch({ changes: { from: 0, to: editor.state.doc.length, insert: value } });
  }, [value]);
  return <div ref={place} />;
}
