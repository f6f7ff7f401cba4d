// window.distilsql.workbench(element): the editor with everything around it: schema, dialect, model,
// examples, tree, validation, repair, theme.

import { get, remove } from "./api.js";
import { button, choice, element, setChoices } from "./dom.js";
import { mount } from "./mount.js";
import { problemList } from "./problems.js";
import { askForSchema } from "./schema_dialog.js";
import { recall, remember } from "./storage.js";
import { schemaTree } from "./tree.js";

const SAVE_AFTER_MS = 300;
const WATCH_EVERY_MS = 1500;
const NO_SCHEMA = "";

export async function workbench(container) {
  const root = element("div", "dq dq-workbench");
  container.replaceChildren(root);
  const [session, listed] = await loaded(root);
  const kept = recall();

  const schemas = choice("Schema", "schema-select");
  const addSchema = button("Add …", "", { "data-testid": "schema-open" });
  const dropSchema = button("Delete", "", { "data-testid": "schema-delete" });
  const dialects = choice("Dialect", "dialect-select", session.dialects.map(({ name, label }) => [name, label]));
  const models = choice("Model", "model-select", modelChoices(session));
  const examples = choice("Example", "example-select", [["", "Choose …"], ...session.examples.map(({ title }, at) => [String(at), title])]);
  const validate = button("Validate", "", { "data-testid": "validate" });
  const repair = button("Repair", "", { "data-testid": "repair" });
  const theme = button("", "dq-theme", { "data-testid": "theme" });
  const bar = element("div", "dq-bar", "", { role: "toolbar", "aria-label": "Editor" });
  bar.append(schemas.wrapped, addSchema, dropSchema, dialects.wrapped, models.wrapped, examples.wrapped, element("span", "dq-space"), validate, repair, theme);

  const side = element("details", "dq-side");
  side.open = window.matchMedia("(min-width: 760px)").matches;
  side.append(element("summary", "", "Schema"));
  const tree = schemaTree({ onPick: (name) => editor.insert(name) });
  side.append(tree.element);
  const place = element("div", "dq-place");
  const problems = problemList({ onJump: (offset) => editor.jumpTo(offset) });
  const readiness = element("p", "dq-note dq-readiness", "", { role: "status", "data-testid": "readiness" });
  const message = element("p", "dq-message", "", { role: "alert", "data-testid": "message" });
  const main = element("div", "dq-main");
  main.append(place, keyHelp(), readiness, message, problems.element);
  const body = element("div", "dq-body");
  body.append(side, main);
  root.append(bar, body);

  let known = listed;
  showSchemas(kept.schemaId ?? session.sample_schema);
  const first = session.examples[0];
  const start = typeof kept.text === "string" ? { text: kept.text, cursor: kept.cursor } : first ?? { text: "", cursor: 0 };
  if (chosenSchema()) dialects.select.value = chosenSchema().dialect;
  if (session.dialects.some(({ name }) => name === kept.dialect)) dialects.select.value = kept.dialect;
  if (session.models.some(({ name }) => name === kept.model)) models.select.value = kept.model;
  let dark = kept.dark ?? window.matchMedia("(prefers-color-scheme: dark)").matches;
  const editor = mount(place, {
    value: start.text,
    cursor: start.cursor,
    dialect: dialects.select.value,
    schemaId: schemas.select.value || null,
    model: models.select.value || null,
    onChange: saveSoon,
    onIssues: (issues, { unfinished }) => problems.show(issues, editor.getValue(), unfinished),
  });
  setTheme(dark);
  showTables();
  watch();
  editor.focus();
  if (start === first) editor.requestSuggestion();

  schemas.select.addEventListener("change", () => {
    const chosen = chosenSchema();
    if (chosen) setDialect(chosen.dialect);
    schemaChanged();
  });
  dialects.select.addEventListener("change", () => setDialect(dialects.select.value));
  models.select.addEventListener("change", () => {
    editor.setModel(models.select.value || null);
    remember({ model: models.select.value });
  });
  examples.select.addEventListener("change", () => {
    const example = session.examples[Number(examples.select.value)];
    if (examples.select.value === "" || !example) return;
    examples.select.value = "";
    if (session.sample_schema && known.some((one) => one.schema_id === session.sample_schema)) {
      schemas.select.value = session.sample_schema;
      setDialect("sqlite");
      schemaChanged();
    }
    editor.setValue(example.text, example.cursor);
    editor.focus();
    editor.requestSuggestion();
  });
  addSchema.addEventListener("click", attempt(addSchema, async () => {
    const added = await askForSchema({ root, dialects: session.dialects.map(({ name, label }) => [name, label]), dialect: dialects.select.value, urlsAllowed: session.urls_allowed });
    if (added === null) return;
    await refresh(added.schema_id);
    setDialect(added.dialect);
    tell(`${added.name}: ${added.tables} tables.`);
  }));
  dropSchema.addEventListener("click", attempt(dropSchema, async () => {
    const chosen = chosenSchema();
    if (!chosen || !window.confirm(`Delete the schema “${chosen.name}” from this server, for everyone? The database itself is not touched.`)) return;
    await remove(`/v1/sql/schemas/${encodeURIComponent(chosen.schema_id)}`);
    await refresh(session.sample_schema);
  }));
  validate.addEventListener("click", attempt(validate, async () => {
    await editor.validateNow();
    problems.element.scrollIntoView({ block: "nearest" });
  }));
  repair.addEventListener("click", attempt(repair, async () => {
    const outcome = await editor.repair();
    if (outcome === "nothing") tell("There is nothing to repair, or no repair was found.");
    if (outcome === "stale") tell("The text has changed meanwhile: nothing was replaced.");
    if (outcome === "applied") await editor.validateNow();
  }));
  theme.addEventListener("click", () => {
    setTheme(!dark);
    remember({ dark });
  });

  // Runs `work` with the button out of use, and tells what went wrong.
  function attempt(pressed, work) {
    return async () => {
      tell("");
      pressed.disabled = true;
      try {
        await work();
      } catch (error) {
        if (error.name !== "AbortError") tell(error.message);
      } finally {
        pressed.disabled = false;
        dropSchema.disabled = !chosenSchema();
      }
    };
  }

  function tell(text) {
    message.textContent = text;
  }

  function chosenSchema() {
    return known.find((one) => one.schema_id === schemas.select.value) ?? null;
  }

  function showSchemas(wanted) {
    setChoices(schemas.select, [[NO_SCHEMA, "none: syntax only"], ...known.map((one) => [one.schema_id, one.name])], wanted ?? NO_SCHEMA);
    dropSchema.disabled = !chosenSchema();
  }

  async function refresh(wanted) {
    known = (await get("/v1/sql/schemas")).schemas;
    showSchemas(wanted);
    schemaChanged();
  }

  function schemaChanged() {
    dropSchema.disabled = !chosenSchema();
    editor.setSchema(schemas.select.value || null);
    remember({ schemaId: schemas.select.value });
    showTables();
    watch();
  }

  function setDialect(name) {
    dialects.select.value = name;
    editor.setDialect(name);
    remember({ dialect: name });
  }

  async function showTables() {
    const id = schemas.select.value;
    if (!id) return tree.message("No schema is chosen: names are not checked.");
    tree.message("Reading …");
    try {
      const { schema } = await get(`/v1/sql/schemas/${encodeURIComponent(id)}`);
      if (id === schemas.select.value) tree.show(schema.tables);
    } catch (error) {
      if (id === schemas.select.value) tree.message(error.message);
    }
  }

  // Until the model knows the schema, say why suggestions take longer.
  async function watch() {
    const id = schemas.select.value;
    while (id && id === schemas.select.value && root.isConnected) {
      let state;
      try {
        state = await get(`/v1/sql/schemas/${encodeURIComponent(id)}`);
      } catch (error) {
        readiness.textContent = error.status === 404 ? "This schema has been deleted on the server." : "";
        if (error.status === 404) return;
      }
      if (id !== schemas.select.value) return;
      if (state) readiness.textContent = state.warm ? "" : state.tokens === null ? "The model is being loaded …" : `The model is reading the schema (${state.tokens} tokens) …`;
      if (state?.warm) return;
      await new Promise((resolve) => setTimeout(resolve, WATCH_EVERY_MS));
    }
    if (!id) readiness.textContent = "";
  }

  let saving = null;
  function saveSoon() {
    clearTimeout(saving);
    saving = setTimeout(save, SAVE_AFTER_MS);
  }
  function save() {
    remember({ text: editor.getValue(), cursor: editor.getCursor() });
  }
  window.addEventListener("pagehide", save);

  function setTheme(wanted) {
    dark = wanted;
    root.classList.toggle("dq-dark", dark);
    editor.setDark(dark);
    document.body.classList.toggle("dark", dark);
    document.documentElement.style.colorScheme = dark ? "dark" : "light";
    theme.textContent = dark ? "Light" : "Dark";
    theme.setAttribute("aria-label", `Use the ${dark ? "light" : "dark"} theme`);
  }

  // The keys, which are buttons too: a phone has none of them.
  function keyHelp() {
    const help = element("div", "dq-keys", "", { role: "toolbar", "aria-label": "Suggestion" });
    const control = /Mac|iPhone|iPad/.test(navigator.platform) ? "⌘" : "Ctrl";
    const actions = [
      ["Tab", "accept", () => editor.accept(false)],
      [`${control} →`, "next word", () => editor.accept(true)],
      ["Esc", "dismiss", () => editor.dismiss()],
      ["Alt \\", "suggest now", () => editor.requestSuggestion()],
    ];
    for (const [key, label, run] of actions) {
      const one = element("button", "dq-key", "", { type: "button", "data-testid": `key-${label.replace(" ", "-")}` });
      one.append(element("kbd", "", key), ` ${label}`);
      // Without this the editor would lose the focus, and a phone its keyboard.
      one.addEventListener("pointerdown", (event) => event.preventDefault());
      one.addEventListener("click", () => {
        run();
        editor.focus();
      });
      help.append(one);
    }
    return help;
  }
}

function modelChoices(session) {
  return session.models.map(({ name, parameters, is_default: isDefault }) => [
    name,
    [name, parameters && !name.includes(parameters.toLowerCase()) ? `(${parameters})` : "", isDefault ? "· default" : ""].filter(Boolean).join(" "),
  ]);
}

// The page's settings and the registered schemas, however long the server takes to come up.
async function loaded(root) {
  const note = element("p", "dq-note", "Loading …", { role: "status" });
  root.append(note);
  for (;;) {
    try {
      const found = await Promise.all([get("/ui/session"), get("/v1/sql/schemas")]);
      note.remove();
      return [found[0], found[1].schemas];
    } catch (error) {
      if (error.status === 401) {
        note.replaceChildren(element("a", "", "Sign in", { href: "/login" }), " to use the editor.");
        throw error;
      }
      note.textContent = `${error.message}; trying again …`;
      await new Promise((resolve) => setTimeout(resolve, 2000));
    }
  }
}
