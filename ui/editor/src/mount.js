// A SQL editor with inline suggestions.

import { completionKeymap } from "@codemirror/autocomplete";
import { defaultKeymap, history, historyKeymap } from "@codemirror/commands";
import { bracketMatching } from "@codemirror/language";
import { lintGutter } from "@codemirror/lint";
import { highlightSelectionMatches, search, searchKeymap } from "@codemirror/search";
import { Compartment, EditorState, Prec } from "@codemirror/state";
import {
  EditorView,
  drawSelection,
  highlightActiveLine,
  highlightActiveLineGutter,
  keymap,
  lineNumbers,
} from "@codemirror/view";
import { get } from "./api.js";
import { checking } from "./checker.js";
import { language, popup } from "./names.js";
import { askForRepair } from "./repair.js";
import { statusCorner } from "./status.js";
import { suggesting } from "./suggester.js";
import { colours } from "./theme.js";

// options: {value, cursor?, dialect, schemaId, model, dark, onChange?(text), onStatus?(status), onIssues?(issues, {unfinished})}
// Returns the controller: see the methods below. Offsets count UTF-16 units, as the browser does.
export function mount(element, options) {
  const context = { dialect: options.dialect ?? "sqlite", schemaId: options.schemaId ?? null, model: options.model ?? null };
  const root = document.createElement("div");
  root.className = "dq dq-editor";
  root.dataset.testid = "sql-editor";
  const corner = statusCorner();
  const status = (now) => {
    corner.show(now);
    options.onStatus?.(now);
  };
  const languageSlot = new Compartment();
  let tables = [];
  const suggestions = suggesting({ context: () => context, status });
  const checker = checking({ context: () => context, onIssues: (...found) => options.onIssues?.(...found) });
  const changes = EditorView.updateListener.of((update) => {
    if (update.docChanged) options.onChange?.(update.state.doc.toString());
  });
  const value = options.value ?? "";
  const view = new EditorView({
    parent: root,
    doc: value,
    selection: { anchor: Math.min(options.cursor ?? value.length, value.length) },
    extensions: [
      Prec.highest(keymap.of(suggestions.keys)),
      suggestions.extension,
      lineNumbers(),
      highlightActiveLine(),
      highlightActiveLineGutter(),
      history(),
      drawSelection(),
      bracketMatching(),
      highlightSelectionMatches(),
      search({ top: true }),
      lintGutter(),
      popup(),
      colours,
      languageSlot.of(language(context.dialect, tables)),
      EditorView.lineWrapping,
      EditorState.tabSize.of(4),
      EditorView.contentAttributes.of({ "aria-label": "SQL statement", spellcheck: "false", autocorrect: "off", autocapitalize: "off" }),
      keymap.of([...completionKeymap, ...searchKeymap, ...historyKeymap, ...defaultKeymap]),
      checker,
      changes,
    ],
  });
  root.append(...corner.elements);
  element.replaceChildren(root);
  setDark(options.dark ?? false);
  loadNames();

  // A slow answer for a schema that is no longer chosen is dropped.
  async function loadNames() {
    const wanted = context.schemaId;
    let found = [];
    try {
      if (wanted) found = (await get(`/v1/sql/schemas/${encodeURIComponent(wanted)}`)).schema.tables;
    } catch (error) {
      status({ state: "error", message: error.message, login: error.status === 401 });
    }
    if (context.schemaId !== wanted) return;
    tables = found;
    applyLanguage();
  }

  function applyLanguage() {
    view.dispatch({ effects: languageSlot.reconfigure(language(context.dialect, tables)) });
  }

  function changed() {
    view.plugin(suggestions.plugin).contextChanged();
    view.plugin(checker).contextChanged();
  }

  function setDark(dark) {
    root.classList.toggle("dq-dark", dark);
  }

  return {
    getValue: () => view.state.doc.toString(),
    getCursor: () => view.state.selection.main.head,
    setValue(text, cursor = text.length) {
      view.dispatch({
        changes: { from: 0, to: view.state.doc.length, insert: text },
        selection: { anchor: Math.min(cursor, text.length) },
        scrollIntoView: true,
      });
    },
    setDialect(name) {
      if (name === context.dialect) return;
      context.dialect = name;
      applyLanguage();
      changed();
    },
    setSchema(schemaId) {
      if (schemaId === context.schemaId) return;
      context.schemaId = schemaId;
      loadNames();
      changed();
    },
    setModel(name) {
      if (name === context.model) return;
      context.model = name;
      changed();
    },
    setDark,
    // What the keys do, for buttons. False where there is no suggestion.
    accept: (word) => view.plugin(suggestions.plugin).accept(word),
    dismiss: () => view.plugin(suggestions.plugin).dismiss(),
    requestSuggestion: () => view.plugin(suggestions.plugin).askNow(),
    // The issues of the whole text. Throws ApiError.
    validateNow: () => view.plugin(checker).now(),
    // Resolves to "applied", "left", "nothing" or "stale" (the text changed meanwhile). Throws ApiError.
    async repair() {
      const before = view.state.doc;
      const extensions = [colours, language(context.dialect, tables)];
      const { sql, found } = await askForRepair({ text: before.toString(), context, root, extensions });
      view.focus();
      if (found === 0) return "nothing";
      if (sql === null) return "left";
      if (view.state.doc !== before) return "stale";
      view.dispatch({
        changes: { from: 0, to: before.length, insert: sql },
        selection: { anchor: Math.min(view.state.selection.main.head, sql.length) },
        userEvent: "input.repair",
      });
      return "applied";
    },
    jumpTo(offset) {
      view.dispatch({ selection: { anchor: Math.min(offset, view.state.doc.length) }, scrollIntoView: true });
      view.focus();
    },
    insert(text) {
      view.dispatch(view.state.replaceSelection(text));
      view.focus();
    },
    focus: () => view.focus(),
    destroy() {
      view.destroy();
      root.remove();
    },
  };
}
