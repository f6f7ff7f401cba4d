// Underlines what the server's validation finds, shortly after the typing stops.

import { setDiagnostics } from "@codemirror/lint";
import { ViewPlugin } from "@codemirror/view";
import { post } from "./api.js";
import { codeUnits } from "./offsets.js";

const AFTER_MS = 400;

export class Checker {
  #view;
  #options;
  #timer = null;
  #running = null;

  // options: {context() -> {dialect, schemaId}, onIssues(issues, {unfinished})}
  constructor(view, options) {
    this.#view = view;
    this.#options = options;
    this.#later();
  }

  destroy() {
    clearTimeout(this.#timer);
    this.#running?.abort();
  }

  update(update) {
    if (update.docChanged) this.#later();
  }

  contextChanged() {
    this.#later();
  }

  #later() {
    this.#running?.abort();
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#quietly(), AFTER_MS);
  }

  // In passing: a failure shows in the corner with the next suggestion, not twice.
  async #quietly() {
    try {
      await this.#check(false);
    } catch (error) {
      if (error.name !== "AbortError") console.debug("validation:", error.message);
    }
  }

  // Issues of the whole text, those of an unfinished statement too. Throws ApiError.
  async now() {
    return await this.#check(true);
  }

  async #check(asked) {
    clearTimeout(this.#timer);
    this.#running?.abort();
    const controller = new AbortController();
    this.#running = controller;
    const { doc } = this.#view.state;
    const text = doc.toString();
    const issues = text.trim() === "" ? [] : await this.#ask(text, controller.signal);
    if (this.#view.state.doc !== doc) return issues;
    const shown = asked ? issues : issues.filter((issue) => !this.#isBeingTyped(issue));
    this.#view.dispatch(setDiagnostics(this.#view.state, shown.map((issue) => diagnostic(issue, doc.length))));
    this.#options.onIssues(shown, { unfinished: shown.length < issues.length });
    return issues;
  }

  async #ask(text, signal) {
    const { dialect, schemaId } = this.#options.context();
    const body = { sql: text, dialect };
    if (schemaId) body.schema_id = schemaId;
    const { issues } = await post("/v1/sql/validate", body, signal);
    const at = codeUnits(text);
    return issues.map((issue) => ({ ...issue, start: at(issue.start), end: at(issue.end) }));
  }

  // A statement that ends at the cursor is unfinished, not wrong; those before it are not excused.
  #isBeingTyped(issue) {
    const { head } = this.#view.state.selection.main;
    const rest = this.#view.state.sliceDoc(head);
    const unfinished = rest.trim() === "" || /^\s*;/.test(rest);
    if (!this.#view.hasFocus || issue.kind !== "syntax" || !unfinished || issue.start > head) return false;
    return !this.#view.state.sliceDoc(issue.start, head).includes(";");
  }
}

function diagnostic(issue, length) {
  const from = Math.min(issue.start, Math.max(0, length - 1));
  return {
    from,
    to: Math.max(Math.min(issue.end, length), Math.min(from + 1, length)),
    severity: issue.severity === "warning" ? "warning" : "error",
    message: issue.message,
  };
}

export function checking(options) {
  return ViewPlugin.define((view) => new Checker(view, options));
}
