// The schema as a tree: tables and views, their columns, keys and comments; a click inserts the name.

import { element } from "./dom.js";

const OPEN_UP_TO = 3;

// options: {onPick(name)}. Returns {element, show(tables), message(text)}.
export function schemaTree({ onPick }) {
  const root = element("div", "dq-tree");
  const filter = element("input", "dq-filter", "", {
    type: "search",
    placeholder: "Filter tables and columns",
    "aria-label": "Filter tables and columns",
    "data-testid": "schema-filter",
  });
  const list = element("div", "dq-tables", "", { "data-testid": "schema-tree" });
  const note = element("p", "dq-note");
  root.append(filter, note, list);
  let tables = [];
  filter.addEventListener("input", draw);

  function draw() {
    const wanted = filter.value.trim().toLowerCase();
    const shown = tables.map((table) => matching(table, wanted)).filter(Boolean);
    const open = wanted !== "" || tables.length <= OPEN_UP_TO;
    list.replaceChildren(...shown.map(({ table, columns }) => branch(table, columns, open, onPick)));
    note.textContent = tables.length > 0 && shown.length === 0 ? `Nothing is called “${filter.value.trim()}”.` : "";
  }

  return {
    element: root,
    show(found) {
      tables = found;
      filter.value = "";
      draw();
    },
    message(text) {
      tables = [];
      list.replaceChildren();
      note.textContent = text;
    },
  };
}

// The table with those of its columns that match; all of them where its own name does.
function matching(table, wanted) {
  if (table.name.toLowerCase().includes(wanted)) return { table, columns: table.columns };
  const columns = table.columns.filter((column) => column.name.toLowerCase().includes(wanted));
  return columns.length > 0 ? { table, columns } : null;
}

function branch(table, columns, open, onPick) {
  const details = element("details", "dq-table");
  details.open = open;
  const summary = element("summary", "", "", { title: table.comment || `${table.columns.length} columns` });
  summary.append(element("span", "dq-name", qualified(table)));
  if (table.is_view) summary.append(element("span", "dq-badge", "view"));
  summary.append(insert(qualified(table), onPick));
  details.append(summary);
  if (table.comment) details.append(element("p", "dq-comment", table.comment));
  const rows = element("ul");
  const references = referencesOf(table);
  for (const column of columns) rows.append(leaf(table, column, references.get(column.name), onPick));
  details.append(rows);
  return details;
}

function leaf(table, column, reference, onPick) {
  const row = element("li");
  const pick = element("button", "dq-column", "", { type: "button", title: `Insert ${column.name}` });
  pick.append(element("span", "dq-name", column.name));
  if (table.primary_key.includes(column.name)) pick.append(element("span", "dq-badge", "PK", { title: "primary key" }));
  if (reference) pick.append(element("span", "dq-badge", "FK", { title: `refers to ${reference}` }));
  pick.append(element("span", "dq-type", column.type.toLowerCase()));
  pick.addEventListener("click", () => onPick(column.name));
  row.append(pick);
  if (column.comment) row.append(element("p", "dq-comment", column.comment));
  return row;
}

function insert(name, onPick) {
  const made = element("button", "dq-insert", "+", { type: "button", title: `Insert ${name}`, "aria-label": `Insert ${name}` });
  made.addEventListener("click", (event) => {
    event.preventDefault();
    onPick(name);
  });
  return made;
}

function qualified(table) {
  return table.schema ? `${table.schema}.${table.name}` : table.name;
}

// Column → "table.column" that its foreign key refers to.
function referencesOf(table) {
  const found = new Map();
  for (const key of table.foreign_keys) {
    for (const [at, column] of key.columns.entries()) {
      found.set(column, [key.ref_table, key.ref_columns[at]].filter(Boolean).join("."));
    }
  }
  return found;
}
