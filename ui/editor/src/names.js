// SQL highlighting, and the popup that completes names of the schema and keywords.

import { autocompletion } from "@codemirror/autocomplete";
import { MSSQL, MySQL, PostgreSQL, SQLite, StandardSQL, sql } from "@codemirror/lang-sql";

const DIALECTS = { sqlite: SQLite, postgres: PostgreSQL, redshift: PostgreSQL, duckdb: PostgreSQL, mysql: MySQL, tsql: MSSQL };

// `tables`: [{name, columns: [{name, type}]}] as GET /v1/sql/schemas/{id} gives them.
export function language(dialect, tables) {
  const schema = {};
  for (const table of tables) {
    schema[table.name] = table.columns.map((column) => ({
      label: column.name,
      type: "property",
      detail: (column.type ?? "").toLowerCase(),
    }));
  }
  return sql({ dialect: DIALECTS[dialect] ?? StandardSQL, schema, upperCaseKeywords: true });
}

// Nothing is preselected, so that Tab and Enter keep their meaning until an arrow key picks an entry.
export function popup() {
  return autocompletion({ selectOnOpen: false, icons: false, activateOnTypingDelay: 150, maxRenderedOptions: 50 });
}
