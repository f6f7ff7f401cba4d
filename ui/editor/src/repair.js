// The repair dialog: what would change, as a diff, to apply or to leave.

import { unifiedMergeView } from "@codemirror/merge";
import { EditorState } from "@codemirror/state";
import { EditorView } from "@codemirror/view";
import { post } from "./api.js";
import { button, element } from "./dom.js";

const WANTED = 3;

// Resolves to the text to put in place, or null. `extensions` highlight the diff like the editor.
export async function askForRepair({ text, context, root, extensions }) {
  const body = { sql: text, dialect: context.dialect, n: WANTED };
  if (context.schemaId) body.schema_id = context.schemaId;
  const { suggestions } = await post("/v1/sql/repair", body);
  if (suggestions.length === 0) return { sql: null, found: 0 };
  return { sql: await choose(suggestions, text, root, extensions), found: suggestions.length };
}

function choose(suggestions, text, root, extensions) {
  return new Promise((resolve) => {
    const dialog = document.createElement("dialog");
    dialog.className = "dq-dialog dq-repair";
    dialog.setAttribute("aria-label", "Suggested repair");
    dialog.dataset.testid = "repair-dialog";
    const explanation = element("p", "dq-dialog-why");
    const diff = element("div", "dq-repair-diff");
    const choices = element("div", "dq-repair-choices");
    const apply = button("Apply", "dq-primary");
    const cancel = button("Cancel", "");
    const buttons = element("div", "dq-dialog-buttons");
    buttons.append(choices, cancel, apply);
    dialog.append(element("h2", "", "Repair"), explanation, diff, buttons);
    let chosen = 0;
    let view = null;
    const show = (index) => {
      chosen = index;
      const { sql, explanation: why, source, valid } = suggestions[index];
      const doubt = valid ? "" : " It is still not valid.";
      explanation.textContent = `${capital(why || "Changed as shown")}${source === "model" ? " (by the model)" : ""}.${doubt}`;
      view?.destroy();
      view = new EditorView({
        parent: diff,
        doc: sql,
        extensions: [
          ...extensions,
          EditorState.readOnly.of(true),
          EditorView.editable.of(false),
          EditorView.lineWrapping,
          unifiedMergeView({ original: text, mergeControls: false, gutter: true }),
        ],
      });
      for (const [at, one] of [...choices.children].entries()) one.setAttribute("aria-pressed", String(at === index));
    };
    if (suggestions.length > 1) {
      for (const index of suggestions.keys()) {
        const one = button(String(index + 1), "dq-choice");
        one.setAttribute("aria-label", `Suggestion ${index + 1} of ${suggestions.length}`);
        one.addEventListener("click", () => show(index));
        choices.append(one);
      }
    }
    let answer = null;
    apply.addEventListener("click", () => {
      answer = suggestions[chosen].sql;
      dialog.close();
    });
    cancel.addEventListener("click", () => dialog.close());
    dialog.addEventListener("close", () => {
      view.destroy();
      dialog.remove();
      resolve(answer);
    });
    root.append(dialog);
    dialog.showModal();
    show(0);
    apply.focus();
  });
}

function capital(text) {
  const trimmed = text.trim().replace(/\.$/, "");
  return trimmed.charAt(0).toUpperCase() + trimmed.slice(1);
}
