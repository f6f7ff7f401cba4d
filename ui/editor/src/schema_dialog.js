// The dialog that adds a schema: from DDL, from a database file, or from a database's URL.

import { post, upload } from "./api.js";
import { button, choice, element } from "./dom.js";

const WAYS = [
  ["ddl", "Paste DDL"],
  ["file", "Database file"],
  ["url", "Database URL"],
];

// options: {root, dialects: [[name, label]], dialect, urlsAllowed}. Resolves to the new schema's summary, or null.
export function askForSchema({ root, dialects, dialect, urlsAllowed }) {
  return new Promise((resolve) => {
    const dialog = element("dialog", "dq-dialog", "", { "aria-label": "Add a schema", "data-testid": "schema-dialog" });
    const form = element("form", "", "", { method: "dialog", novalidate: "" });
    const name = field("Name", element("input", "", "", { required: "", maxlength: "200", "data-testid": "schema-name" }));
    const ways = element("div", "dq-ways", "", { role: "radiogroup", "aria-label": "Where the schema comes from" });
    const language = choice("Dialect", "schema-dialect", dialects);
    language.select.value = dialect;
    const ddl = field(
      "CREATE TABLE statements",
      element("textarea", "", "", { rows: "9", spellcheck: "false", "data-testid": "schema-ddl", placeholder: "CREATE TABLE …" }),
    );
    const file = field(
      "SQLite or DuckDB file: only its schema is kept, no rows",
      element("input", "", "", { type: "file", "data-testid": "schema-file" }),
    );
    const url = field(
      "Address of the database, with a user who may read its catalog",
      element("input", "", "", { type: "text", "data-testid": "schema-url", placeholder: "postgresql://reader:password@host/database", autocomplete: "off" }),
    );
    const closed = element(
      "p",
      "dq-note",
      "The server reads no databases yet. Its operator allows some with DISTILSQL_SCHEMA_DATABASE_URLS (prefixes of their URLs), as operations.md describes.",
    );
    const problem = element("p", "dq-problem", "", { role: "alert", "data-testid": "schema-problem" });
    const cancel = button("Cancel");
    const add = button("Add schema", "dq-primary", { type: "submit", "data-testid": "schema-add" });
    const buttons = element("div", "dq-dialog-buttons");
    buttons.append(cancel, add);
    let way = "ddl";
    for (const [value, label] of WAYS) {
      const one = element("label", "", label);
      const radio = element("input", "", "", { type: "radio", name: "way", value });
      radio.checked = value === way;
      radio.addEventListener("change", () => show(value));
      one.prepend(radio);
      ways.append(one);
    }
    form.append(element("h2", "", "Add a schema"), name.wrapped, ways, language.wrapped, ddl.wrapped, file.wrapped, url.wrapped, closed, problem, buttons);
    dialog.append(form);
    show(way);

    function show(value) {
      way = value;
      problem.textContent = "";
      language.wrapped.hidden = ddl.wrapped.hidden = way !== "ddl";
      file.wrapped.hidden = way !== "file";
      url.wrapped.hidden = way !== "url" || !urlsAllowed;
      closed.hidden = way !== "url" || urlsAllowed;
      add.disabled = way === "url" && !urlsAllowed;
    }

    file.input.addEventListener("change", () => {
      const chosen = file.input.files[0];
      if (chosen && name.input.value.trim() === "") name.input.value = chosen.name.replace(/\.[^.]*$/, "");
    });

    function send() {
      const called = name.input.value.trim();
      if (called === "") throw new Error("Give the schema a name.");
      if (way === "ddl") {
        if (ddl.input.value.trim() === "") throw new Error("Paste the CREATE TABLE statements of the schema.");
        return post("/v1/sql/schemas", { name: called, ddl: ddl.input.value, dialect: language.select.value });
      }
      if (way === "url") {
        if (url.input.value.trim() === "") throw new Error("Give the address of the database.");
        return post("/v1/sql/schemas", { name: called, url: url.input.value.trim() });
      }
      const chosen = file.input.files[0];
      if (!chosen) throw new Error("Choose a database file.");
      return upload(`/v1/sql/schemas/upload?name=${encodeURIComponent(called)}`, chosen);
    }

    let added = null;
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      problem.textContent = "";
      add.disabled = true;
      add.textContent = "Reading …";
      try {
        added = await send();
        dialog.close();
      } catch (error) {
        problem.textContent = error.message;
      } finally {
        add.disabled = false;
        add.textContent = "Add schema";
      }
    });
    cancel.addEventListener("click", () => dialog.close());
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(added);
    });
    root.append(dialog);
    dialog.showModal();
    name.input.focus();
  });
}

function field(label, input) {
  const wrapped = element("label", "dq-field dq-wide", label);
  wrapped.append(input);
  return { wrapped, input };
}
