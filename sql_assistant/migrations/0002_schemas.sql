-- Registered schemas; `tables` is the JSON form of sql_assistant.schema.Schema, `id` its content hash.
CREATE TABLE distilsql_schemas (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    dialect TEXT NOT NULL,
    tables TEXT NOT NULL,
    created_ms BIGINT NOT NULL
);
