// The grey text at the cursor: one state field, drawn as a widget, kept while the user types along.

import { EditorSelection, StateEffect, StateField } from "@codemirror/state";
import { Decoration, EditorView, WidgetType } from "@codemirror/view";
import { remainder } from "./cache.js";
import { nextWord } from "./words.js";

export const showGhost = StateEffect.define();
export const hideGhost = StateEffect.define();

// null, or {pos, text, id}: `text` is what is left to accept, `id` the completion it comes from.
export const ghostField = StateField.define({
  create: () => null,
  update(ghost, transaction) {
    for (const effect of transaction.effects) {
      if (effect.is(showGhost)) return effect.value;
      if (effect.is(hideGhost)) return null;
    }
    if (ghost === null) return null;
    if (transaction.docChanged) return typedAlong(ghost, transaction);
    const { main, ranges } = transaction.state.selection;
    return ranges.length === 1 && main.empty && main.head === ghost.pos ? ghost : null;
  },
  provide: (field) =>
    EditorView.decorations.from(field, (ghost) =>
      ghost === null
        ? Decoration.none
        : Decoration.set([Decoration.widget({ widget: new GhostWidget(ghost.text), side: 1 }).range(ghost.pos)]),
    ),
});

function typedAlong(ghost, transaction) {
  const change = insertionOf(transaction);
  if (change === null || change.pos !== ghost.pos) return null;
  const rest = remainder(ghost.text, change.text);
  return rest ? { ...ghost, pos: ghost.pos + change.text.length, text: rest } : null;
}

// The text and place of a transaction that inserts in one place and removes nothing, else null.
export function insertionOf(transaction) {
  let found = null;
  let count = 0;
  transaction.changes.iterChanges((fromA, toA, _fromB, _toB, inserted) => {
    count += 1;
    found = fromA === toA ? { pos: fromA, text: inserted.toString() } : null;
  });
  return count === 1 ? found : null;
}

class GhostWidget extends WidgetType {
  constructor(text) {
    super();
    this.text = text;
  }

  eq(other) {
    return other.text === this.text;
  }

  toDOM() {
    const span = document.createElement("span");
    span.className = "cm-ghost";
    span.setAttribute("aria-hidden", "true");
    span.textContent = this.text;
    return span;
  }

  // The text stands in the line, so clicks in it put the cursor where it is.
  ignoreEvent() {
    return false;
  }
}

// Put the ghost's text, or its next word, into the document; returns {ghost, text, whole} or null.
export function acceptGhost(view, { word = false } = {}) {
  const ghost = view.state.field(ghostField);
  if (ghost === null) return null;
  const text = word ? nextWord(ghost.text) : ghost.text;
  view.dispatch({
    changes: { from: ghost.pos, insert: text },
    selection: EditorSelection.cursor(ghost.pos + text.length),
    scrollIntoView: true,
    userEvent: "input.complete",
  });
  return { ghost, text, whole: text === ghost.text };
}
