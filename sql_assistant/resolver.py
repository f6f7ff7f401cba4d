"""Resolves every table and column of a parsed statement against a schema and reports what is not there.

Our own walk rather than sqlglot's qualifier, because it keeps exact offsets, goes on after the first
finding, and stays silent where it cannot know: a column is reported only when every source in its
scope and in the scopes around it is known completely and none has it.

Still known to be wrong about, hence never reported: columns of table functions, pivots, struct
fields, views whose query could not be resolved, and files or variables used as tables.
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlglot import exp

from sql_assistant.dialects import Dialect
from sql_assistant.findings import Findings
from sql_assistant.names import UNKNOWN, Columns, NameIndex, column_key, key, table_key, true_name
from sql_assistant.scopes import Scope, Source
from sql_assistant.types import Issue

Env = dict[str, Columns]
"""Common table expressions in scope, by table key."""

# Bare words that are values or units, which sqlglot reads as columns in some calls.
_BARE_WORDS = frozenset(
    "current_date current_time current_timestamp current_user session_user system_user user localtime "
    "localtimestamp sysdate current_catalog current_role current_schema current_database utc_date utc_time "
    "utc_timestamp rownum level true false default null unknown maxvalue".split()
)
_UNITS = frozenset(
    "year years yy yyyy quarter quarters qq month months mm mon day days dd dayofyear doy dy week weeks wk "
    "ww isoweek isoyear weekday dow dayofweek hour hours hh minute minutes mi second seconds ss "
    "millisecond milliseconds ms microsecond microseconds mcs us nanosecond nanoseconds ns epoch decade "
    "century millennium "
    "timezone timezone_hour timezone_minute both leading trailing date time datetime timestamp".split()
)


def resolve(tree: exp.Expr, text: str, index: NameIndex) -> list[Issue]:
    """What is wrong with the names of one statement; offsets into `text`, which it was parsed from."""
    walk = _Resolver(index, text)
    walk.statement(tree)
    return walk.findings.issues


def output_columns(query: exp.Expr, index: NameIndex) -> Columns:
    """The columns a query yields; incomplete where they cannot be told."""
    return _Resolver(index, "").query(query, None, {})


class _Resolver:
    def __init__(self, index: NameIndex, text: str) -> None:
        self.index = index
        self.dialect: Dialect = index.dialect
        self.findings = Findings(index, text)

    # -- statements ---------------------------------------------------------------------------

    def statement(self, tree: exp.Expr) -> None:
        env: Env = {}
        if isinstance(tree, exp.Query):
            self.query(tree, None, env)
        elif isinstance(tree, exp.Insert):
            self._insert(tree, self._with(tree, None, env))
        elif isinstance(tree, exp.Update):
            self._update(tree, self._with(tree, None, env))
        elif isinstance(tree, exp.Delete):
            self._delete(tree, self._with(tree, None, env))
        elif isinstance(tree, exp.Merge):
            self._merge(tree, self._with(tree, None, env))
        elif isinstance(tree, exp.Create):
            self._create(tree, self._with(tree, None, env))
        elif isinstance(tree, (exp.Drop, exp.Alter)) and not tree.args.get("exists"):
            if str(tree.args.get("kind")).upper() == "TABLE" and isinstance(tree.this, exp.Table):
                self._table_source(tree.this, env)
        elif isinstance(tree, exp.TruncateTable):
            for table in tree.expressions:
                if isinstance(table, exp.Table):
                    self._table_source(table, env)

    def _insert(self, tree: exp.Insert, env: Env) -> None:
        scope = Scope(self.dialect)
        target = tree.this.this if isinstance(tree.this, exp.Schema) else tree.this
        if isinstance(target, exp.Table):
            source = self._table_source(target, env)
            scope.sources.append(source)
            if isinstance(tree.this, exp.Schema):
                self._target_columns(tree.this.expressions, source)
        query = tree.args.get("expression")
        if isinstance(query, exp.Query):
            self.query(query, None, env)
        elif isinstance(query, exp.Expr):
            self.expressions([query], Scope(self.dialect, locals=frozenset({"default"})), env)
        conflict = tree.args.get("conflict")
        if isinstance(conflict, exp.Expr) and scope.sources:
            inner = Scope(self.dialect, sources=list(scope.sources))
            self._add_row_names(inner, ("excluded", "new"))
            if isinstance(query, exp.Query):
                # MySQL lets ON DUPLICATE KEY UPDATE see the tables of INSERT ... SELECT.
                inner.fuzzy = True
                if self.dialect.name == "mysql":
                    inner.sources.append(Source.of("", "", UNKNOWN, self.dialect))
            self.expressions(_children(conflict), _assignments_scope(inner), env)
        self._returning(tree, scope, env)

    def _update(self, tree: exp.Update, env: Env) -> None:
        scope = Scope(self.dialect)
        from_ = tree.args.get("from_")
        if isinstance(from_, exp.From):
            self._from_item(from_.this, scope, env)
        target = tree.this
        if isinstance(target, exp.Table):
            alias = _alias_of(target)
            named = (
                alias is None and target.args.get("db") is None and isinstance(target.this, exp.Identifier)
            )
            if not (named and scope.source(table_key(target.this, self.dialect))):
                self._from_item(target, scope, env)
                scope.sources.insert(0, scope.sources.pop())
        assigned = [e for e in tree.expressions if isinstance(e, exp.EQ)]
        first = Scope(self.dialect, sources=scope.sources[:1] if not _has_joins(tree) else scope.sources)
        for assignment in assigned:
            self.expressions([assignment.this], first, env)
            self.expressions([assignment.expression], scope, env)
        rest = [e for e in tree.expressions if not isinstance(e, exp.EQ)]
        self.expressions([*rest, *_args(tree, "where", "order", "limit")], scope, env)
        self._returning(tree, scope, env)

    def _delete(self, tree: exp.Delete, env: Env) -> None:
        scope = Scope(self.dialect)
        using = tree.args.get("using")
        for item in using if isinstance(using, list) else []:
            self._from_item(item, scope, env)
        tables = tree.args.get("tables") or []
        if not tree.this and tables:
            self._from_item(tables[0], scope, env)  # BigQuery's DELETE without FROM
        if isinstance(tree.this, exp.Table):
            known = tree.this.args.get("db") is None and isinstance(tree.this.this, exp.Identifier)
            if not (known and using and scope.source(table_key(tree.this.this, self.dialect))):
                self._from_item(tree.this, scope, env)
        self.expressions(_args(tree, "where", "order", "limit"), scope, env)
        self._returning(tree, scope, env)

    def _merge(self, tree: exp.Merge, env: Env) -> None:
        scope = Scope(self.dialect)
        self._from_item(tree.this, scope, env)
        target = scope.sources[0] if scope.sources else None
        using = tree.args.get("using")
        if isinstance(using, exp.Expr):
            self._from_item(using, scope, env)
        self.expressions(_args(tree, "on"), scope, env)
        whens = tree.args.get("whens")
        for when in whens.expressions if isinstance(whens, exp.Expr) else []:
            self.expressions(_args(when, "condition"), scope, env)
            then = when.args.get("then")
            if isinstance(then, exp.Insert) and isinstance(then.this, exp.Tuple) and target:
                self.expressions(then.this.expressions, Scope(self.dialect, sources=[target]), env)
                self.expressions(_args(then, "expression"), scope, env)
            elif isinstance(then, exp.Expr):
                self.expressions(_children(then), _assignments_scope(scope), env)
        self._returning(tree, scope, env)

    def _create(self, tree: exp.Create, env: Env) -> None:
        query = tree.args.get("expression")
        if str(tree.args.get("kind")).upper() in ("TABLE", "VIEW") and isinstance(query, exp.Query):
            self.query(query, None, env)
        index = tree.this
        if isinstance(index, exp.Index) and isinstance(index.args.get("table"), exp.Table):
            scope = Scope(self.dialect, sources=[self._table_source(index.args["table"], env)])
            self.expressions(_args(index, "params"), scope, env)

    def _returning(self, tree: exp.Expr, scope: Scope, env: Env) -> None:
        returning = tree.args.get("returning")
        if isinstance(returning, exp.Expr):
            inner = Scope(self.dialect, sources=list(scope.sources))
            self._add_row_names(inner, ("old", "new", "inserted", "deleted"))
            self.expressions(returning.expressions, inner, env)

    def _add_row_names(self, scope: Scope, names: Iterable[str]) -> None:
        """excluded.x, inserted.x and the like: known as qualifiers, of unknown columns, never bare."""
        outer = Scope(self.dialect)
        outer.sources = [Source.of(n, n, Columns((), complete=True), self.dialect) for n in names]
        for source, table in ((s, scope.sources[0]) for s in outer.sources if scope.sources):
            source.columns, source.keys, source.is_table = table.columns, table.keys, table.is_table
        scope.parent = outer

    def _target_columns(self, identifiers: Iterable[exp.Expr], source: Source) -> None:
        for identifier in identifiers:
            name = identifier.this if isinstance(identifier, (exp.Column, exp.ColumnDef)) else identifier
            if isinstance(name, exp.Identifier) and source.columns.complete:
                if not source.has(column_key(name, self.dialect), self.dialect):
                    self.findings.unknown_column_of(name, source)

    # -- queries ------------------------------------------------------------------------------

    def query(self, node: exp.Expr, parent: Scope | None, env: Env) -> Columns:
        """Resolve a query; its output columns."""
        env = self._with(node, parent, env)
        if isinstance(node, exp.SetOperation):
            return self._set_operation(node, parent, env)
        if isinstance(node, exp.Select):
            return self._select(node, parent, env)
        if isinstance(node, exp.Subquery):
            columns = self._subquery_body(node, parent, env)
            scope = Scope(self.dialect, parent)
            scope.sources.append(Source.of("this query", "", columns, self.dialect))
            self.expressions(_args(node, "order", "limit", "offset"), scope, env)
            return columns
        if isinstance(node, exp.Values):
            scope = Scope(self.dialect, parent)
            self.expressions(node.expressions, scope, env)
            return UNKNOWN
        if isinstance(node, exp.Table):
            scope = Scope(self.dialect, parent)
            self._from_item(node, scope, env)
            return self._star(scope.sources)
        if isinstance(node, (exp.Insert, exp.Update, exp.Delete, exp.Merge)):
            self.statement(node)
            return UNKNOWN
        return UNKNOWN

    def _subquery_body(self, node: exp.Subquery, parent: Scope | None, env: Env) -> Columns:
        if isinstance(node.this, exp.Query) and not isinstance(node.this, exp.Table):
            return self.query(node.this, parent, env)
        scope = Scope(self.dialect, parent)
        self._from_item(node, scope, env)
        return self._star(scope.sources)

    def _with(self, node: exp.Expr, parent: Scope | None, env: Env) -> Env:
        with_ = node.args.get("with_")
        if not isinstance(with_, exp.With):
            return env
        env = dict(env)
        ctes = [cte for cte in with_.expressions if isinstance(cte, exp.CTE)]
        for cte in ctes:
            alias = _alias_of(cte)
            if alias is not None and (with_.args.get("recursive") or self.dialect.name in ("sqlite", "tsql")):
                env.setdefault(table_key(alias, self.dialect), UNKNOWN)
        for cte in ctes:
            alias = _alias_of(cte)
            if alias is None:
                continue
            name = table_key(alias, self.dialect)
            listed = _column_aliases(cte, self.dialect)
            body, inner = cte.this, env
            recursive = with_.args.get("recursive") or self.dialect.name in ("sqlite", "tsql")
            if recursive and isinstance(body, exp.SetOperation) and env.get(name) is UNKNOWN:
                anchor = _leftmost(body)
                quiet = _Resolver(self.index, "")
                columns = quiet.query(anchor, parent, {**env, **quiet._with(body, parent, env)})
                inner = {**env, name: _renamed(columns, listed)}
            env[name] = _renamed(self.query(body, parent, inner), listed)
        return env

    def _set_operation(self, node: exp.SetOperation, parent: Scope | None, env: Env) -> Columns:
        # A chain of thousands of UNIONs leans to the left: walk it without recursion.
        branches: list[exp.Expr] = []
        left: exp.Expr = node
        while isinstance(left, exp.SetOperation):
            if left is not node and left.args.get("with_"):
                env = self._with(left, parent, env)
            branches.append(left.expression)
            left = left.this
        outputs = [self.query(branch, parent, env) for branch in (left, *reversed(branches))]
        by_name = bool(node.args.get("by_name"))
        scope = Scope(self.dialect, parent)
        every = Columns(tuple(n for o in outputs for n in o.names), all(o.complete for o in outputs))
        scope.sources.append(Source.of("this query", "", every, self.dialect))
        self.expressions(_args(node, "order", "limit", "offset"), scope, env)
        return Columns(tuple(dict.fromkeys(every.names)), every.complete) if by_name else outputs[0]

    def _select(self, node: exp.Select, parent: Scope | None, env: Env) -> Columns:
        scope = Scope(self.dialect, parent)
        from_ = node.args.get("from_")
        if isinstance(from_, exp.From):
            self._from_item(from_.this, scope, env)
        for item in node.args.get("laterals") or []:
            self._from_item(item, scope, env)
        self._joins(node, scope, env)
        windows = frozenset(
            key(w.this.name, "insensitive")
            for w in node.args.get("windows") or []
            if isinstance(w.this, exp.Expr)
        )
        scope.locals |= windows
        aliases = frozenset(
            column_key(e.args["alias"], self.dialect)
            for e in node.expressions
            if isinstance(e, exp.Alias) and isinstance(e.args.get("alias"), exp.Identifier)
        )
        aliases |= frozenset(
            column_key(name, self.dialect)
            for e in node.expressions
            if isinstance(e, exp.Aliases)
            for name in e.args.get("expressions") or []
            if isinstance(name, exp.Identifier)
        )
        dialect, none = self.dialect, frozenset[str]()
        outputs = self._outputs(node, scope)
        for allowed, names in (
            (dialect.alias_in_select, ("expressions", "distinct", "kind")),
            (dialect.alias_in_where, ("where", "prewhere", "connect")),
            (dialect.alias_in_group_by, ("group",)),
            (dialect.alias_in_having, ("having", "qualify")),
            (dialect.alias_in_select, ("windows",)),
            (True, ("limit", "offset", "cluster", "distribute", "sort")),
        ):
            scope.aliases = aliases if allowed else none
            self.expressions(_args(node, *names), scope, env)
        scope.aliases = aliases
        self._order(node, scope, env, outputs)
        return outputs

    def _order(self, node: exp.Expr, scope: Scope, env: Env, outputs: Columns) -> None:
        """A bare name in ORDER BY is an output column first; inside an expression it is not."""
        order = node.args.get("order")
        if not isinstance(order, exp.Expr):
            return
        keys = {key(name, self.dialect.column_case) for name in outputs.names}
        for item in order.expressions:
            term = item.this if isinstance(item, exp.Ordered) else item
            if (
                isinstance(term, exp.Column)
                and not term.args.get("table")
                and isinstance(term.this, exp.Identifier)
            ):
                if column_key(term.this, self.dialect) in keys:
                    continue
            self.expressions([item], scope, env)

    def _outputs(self, node: exp.Select, scope: Scope) -> Columns:
        names: list[str] = []
        complete = True
        for item in node.expressions:
            if isinstance(item, exp.Star):
                complete &= self._expand(item, scope.sources, names)
            elif isinstance(item, exp.Column) and isinstance(item.this, exp.Star):
                table = item.args.get("table")
                found = (
                    scope.source(table_key(table, self.dialect))
                    if isinstance(table, exp.Identifier)
                    else None
                )
                complete &= self._expand(item.this, [found] if found else [], names) and found is not None
            else:
                name = self._output_name(item)
                if name is None:
                    complete = False
                else:
                    names.append(name)
        return Columns(tuple(names), complete)

    def _expand(self, star: exp.Star, sources: list[Source], names: list[str]) -> bool:
        """Append the columns a star stands for; False where that cannot be told completely."""
        gone = {
            column_key(e.this if isinstance(e, exp.Column) else e, self.dialect)
            for e in star.args.get("except_") or []
            if isinstance(e, exp.Identifier) or isinstance(e.this, exp.Identifier)
        }
        columns = self._star(sources)
        names += [n for n in columns.names if key(n, self.dialect.column_case) not in gone]
        return columns.complete and not star.args.get("rename")

    def _star(self, sources: list[Source]) -> Columns:
        return Columns(
            tuple(n for s in sources for n in s.columns.names), all(s.columns.complete for s in sources)
        )

    def _output_name(self, item: exp.Expr) -> str | None:
        """The column name that a select item makes; None where engines differ or none is known."""
        identifier = item.args.get("alias") if isinstance(item, (exp.Alias, exp.PropertyEQ)) else None
        if identifier is None and isinstance(item, exp.Column):
            identifier = item.this
        if isinstance(identifier, exp.Identifier):
            quoted = bool(identifier.args.get("quoted"))
            return true_name(identifier.name, quoted, self.dialect.column_case)
        return None

    # -- FROM ---------------------------------------------------------------------------------

    def _from_item(self, node: exp.Expr, scope: Scope, env: Env) -> None:
        """Add what an item of FROM brings into scope."""
        if isinstance(node, exp.Table):
            scope.sources.append(self._from_table(node, scope, env))
        elif isinstance(node, exp.Subquery) and not (
            isinstance(node.this, exp.Query) and not isinstance(node.this, (exp.Table,))
        ):
            self._bracketed_join(node, scope, env)
        elif isinstance(node, (exp.Subquery, exp.Query)) and not isinstance(node, exp.Values):
            parent = scope if self.dialect.name == "duckdb" else scope.parent
            self._derived(node, self.query(node, parent, env), scope)
        elif isinstance(node, exp.Lateral):
            inner = node.this
            columns = UNKNOWN
            if isinstance(inner, exp.Subquery):
                columns = self.query(inner, scope, env)
            else:
                self.expressions([inner], scope, env)
            self._derived(node, columns, scope)
        elif isinstance(node, exp.Paren):
            self._from_item(node.this, scope, env)
        else:
            self.expressions(_args(node, "expressions", "this"), scope, env)
            self._derived(node, UNKNOWN, scope)
        self._joins(node, scope, env)

    def _bracketed_join(self, node: exp.Subquery, scope: Scope, env: Env) -> None:
        alias = _alias_of(node)
        if alias is None:
            self._from_item(node.this, scope, env)
            return
        inner = Scope(self.dialect, scope.parent)
        self._from_item(node.this, inner, env)
        self._derived(node, self._star(inner.sources), scope)

    def _derived(self, node: exp.Expr, columns: Columns, scope: Scope) -> None:
        alias = _alias_of(node)
        listed_names = _column_aliases(node, self.dialect)
        columns = _renamed(columns, listed_names)
        if isinstance(node, exp.Values) and node.expressions:
            width = len(node.expressions[0].expressions)
            columns = Columns(columns.names, complete=0 < width <= len(listed_names))
        if node.args.get("pivots"):
            columns = UNKNOWN
            alias = next((a for a in map(_alias_of, node.args["pivots"]) if a is not None), alias)
        name = alias.name if alias is not None else "subquery"
        aliased = table_key(alias, self.dialect) if alias is not None else ""
        scope.sources.append(Source.of(name, aliased, columns, self.dialect))
        listed = node.args.get("alias")
        if alias is None and isinstance(listed, exp.TableAlias):
            # UNNEST(x) AS item: the alias names the value itself.
            names = [c for c in listed.args.get("columns") or [] if isinstance(c, exp.Identifier)]
            for item in names[:1]:
                scope.sources.append(
                    Source.of(item.name, table_key(item, self.dialect), UNKNOWN, self.dialect)
                )

    def _from_table(self, node: exp.Table, scope: Scope, env: Env) -> Source:
        name = node.this
        if not isinstance(name, exp.Identifier):
            if isinstance(name, exp.Expr):
                self.expressions(_children(name), scope, env)
            return self._aliased(node, UNKNOWN, "table function")
        first = node.args.get("db") or node.args.get("catalog")
        if isinstance(first, exp.Identifier) and scope.source(table_key(first, self.dialect)) is not None:
            return self._aliased(node, UNKNOWN, name.name)  # BigQuery: FROM t, t.items
        return self._table_source(node, env)

    def _table_source(self, node: exp.Table, env: Env) -> Source:
        name = node.this
        if not isinstance(name, exp.Identifier):
            return self._aliased(node, UNKNOWN, "table function")
        columns: Columns | None = None
        is_table = False
        if not node.args.get("db"):
            columns = env.get(table_key(name, self.dialect))
        if columns is None:
            columns, is_table = self.index.find(node), True
        if columns is None:
            if not self._is_no_table_name(name):
                self.findings.unknown_table(name, env)
            columns = UNKNOWN
        return self._aliased(node, columns, name.name, is_table=is_table)

    def _is_no_table_name(self, name: exp.Identifier) -> bool:
        """Files (DuckDB), temporary tables and variables (SQL Server) are not in any schema."""
        text = name.name
        if name.args.get("temporary") or name.args.get("global_"):
            return True
        if self.dialect.name == "duckdb":
            return "." in text or "/" in text
        if self.dialect.name in ("sqlite", "mysql", "postgres"):
            return False
        return text.startswith(("#", "@", "$"))

    def _aliased(self, node: exp.Table, columns: Columns, name: str, *, is_table: bool = False) -> Source:
        alias = _alias_of(node)
        columns = _renamed(columns, _column_aliases(node, self.dialect))
        pivots = node.args.get("pivots") or []
        if pivots or node.args.get("changes") or node.args.get("system_time_changes"):
            columns = UNKNOWN
            alias = next((a for a in map(_alias_of, pivots) if a is not None), alias)
        identifier = alias if alias is not None else node.this
        aliased = table_key(identifier, self.dialect) if isinstance(identifier, exp.Identifier) else ""
        if not aliased and isinstance(node.this, exp.Expr):
            aliased = key(
                node.this.name or node.this.sql_name() if isinstance(node.this, exp.Func) else "",
                "insensitive",
            )
        space = node.args.get("db")
        namespace = table_key(space, self.dialect) if isinstance(space, exp.Identifier) else ""
        return Source.of(name, aliased, columns, self.dialect, is_table=is_table, namespace=namespace)

    def _joins(self, node: exp.Expr, scope: Scope, env: Env) -> None:
        conditions: list[exp.Expr] = []
        for join in node.args.get("joins") or []:
            before = len(scope.sources)
            self._from_item(join.this, scope, env)
            if str(join.args.get("method")).upper() == "NATURAL":
                self._natural(scope, before)
            using = [u.this if isinstance(u, exp.Column) else u for u in join.args.get("using") or []]
            if using and len(scope.sources) > before:
                self._using([u for u in using if isinstance(u, exp.Identifier)], scope, before)
            conditions += _args(join, "on", "match_condition")
        self.expressions(conditions, scope, env)

    def _natural(self, scope: Scope, right: int) -> None:
        if not all(source.columns.complete for source in scope.sources):
            scope.fuzzy = True
        for source in range(right, len(scope.sources)):
            left: set[str] = set().union(*(s.keys for s in scope.sources[:right]))
            scope.merge(left & scope.sources[source].keys, source)

    def _using(self, names: list[exp.Identifier], scope: Scope, right: int) -> None:
        keys = [column_key(name, self.dialect) for name in names]
        for name, column in zip(names, keys, strict=True):
            new = scope.sources[right:]
            if all(s.columns.complete and not s.has(column, self.dialect) for s in new):
                self.findings.unknown_column_of(name, new[0])
            elif all(s.columns.complete and not s.has(column, self.dialect) for s in scope.sources[:right]):
                self.findings.unknown_column(name, Scope(self.dialect, sources=scope.sources[:right]))
        for source in range(right, len(scope.sources)):
            scope.merge(keys, source)

    # -- expressions --------------------------------------------------------------------------

    def expressions(self, nodes: Iterable[exp.Expr], scope: Scope, env: Env) -> None:
        """Resolve the columns under `nodes` and the queries nested in them."""
        stack = list(nodes)[::-1]
        while stack:
            node = stack.pop()
            if isinstance(node, exp.Column):
                self.column(node, scope, env)
            elif isinstance(node, (exp.Query, exp.Insert, exp.Update, exp.Delete)):
                self.query(node, scope, env)
            elif isinstance(node, (exp.DataType, exp.Identifier, exp.Table)):
                continue
            elif isinstance(node, exp.Lambda):
                names = {i.name.lower() for i in node.expressions}
                self.expressions([node.this], _with_locals(scope, names), env)
            elif isinstance(node, exp.Comprehension):
                names = {node.expression.name.lower()}
                self.expressions(_args(node, "iterator"), scope, env)
                self.expressions(_args(node, "this", "condition"), _with_locals(scope, names), env)
            elif isinstance(node, (exp.Kwarg, exp.PropertyEQ)):
                stack.append(node.expression)
            elif isinstance(node, exp.In) and isinstance(node.args.get("field"), exp.Column):
                if not self._names_table(node.args["field"], env):
                    stack.append(node.args["field"])
                stack.append(node.this)
            elif isinstance(node, exp.Star):
                stack += [e for e in node.args.get("replace") or [] if isinstance(e, exp.Expr)]
            else:
                stack += _children(node)[::-1]

    def _names_table(self, column: exp.Column, env: Env) -> bool:
        """SQLite's `x IN table`."""
        name = column.this
        if column.args.get("db") or not isinstance(name, exp.Identifier) or self.dialect.name != "sqlite":
            return False
        return self.index.is_table(name) or table_key(name, self.dialect) in env

    def column(self, node: exp.Column, scope: Scope, env: Env) -> None:
        """Look one column up and report it where it cannot be there."""
        name = node.this
        parts = [node.args.get(arg) for arg in ("catalog", "db", "table")]
        qualifiers = [part for part in parts if isinstance(part, exp.Identifier)]
        if qualifiers:
            self._qualified(node, qualifiers, scope)
        elif isinstance(name, exp.Identifier):
            self._bare(node, name, scope)

    def _qualified(self, node: exp.Column, qualifiers: list[exp.Identifier], scope: Scope) -> None:
        name = node.this
        source = scope.source(table_key(qualifiers[-1], self.dialect))
        if source is not None and self._fits_namespace(source, qualifiers):
            is_name = isinstance(name, exp.Identifier)
            if (
                is_name
                and source.columns.complete
                and not source.has(column_key(name, self.dialect), self.dialect)
            ):
                if not (self.dialect.row_values and self.dialect.struct_columns and len(qualifiers) > 1):
                    self.findings.unknown_column_of(name, source)
            return
        outer = scope.source(table_key(qualifiers[0], self.dialect))
        if outer is not None and len(qualifiers) > 1:
            if self.dialect.struct_columns:
                field = column_key(qualifiers[1], self.dialect)
                if outer.columns.complete and not outer.has(field, self.dialect):
                    self.findings.unknown_column_of(qualifiers[1], outer)
                return
        if self.dialect.struct_columns and self._is_column(qualifiers[0], scope):
            return
        if any(qualifiers[0].name.lower() in around.locals for around in scope.chain()) or qualifiers[
            -1
        ].name.startswith(("$", "@", ":")):
            return
        self.findings.unknown_qualifier(qualifiers[-1], scope)

    def _fits_namespace(self, source: Source, qualifiers: list[exp.Identifier]) -> bool:
        if len(qualifiers) == 1 or not source.namespace:
            return True
        return source.namespace == table_key(qualifiers[-2], self.dialect)

    def _is_column(self, name: exp.Identifier, scope: Scope) -> bool:
        """Whether `name` could be a column in scope: then `name.x` is a field of it."""
        column = column_key(name, self.dialect)
        if not scope.is_complete():
            return True
        return any(outer.holders(column) or column in outer.aliases for outer in scope.chain())

    def _bare(self, node: exp.Column, name: exp.Identifier, scope: Scope) -> None:
        column, text, quoted = column_key(name, self.dialect), name.name, bool(name.args.get("quoted"))
        for around in scope.chain():
            holders = around.holders(column)
            if len(holders) > 1 and not around.fuzzy:
                self.findings.ambiguous(name, holders)
            if holders or column in around.aliases or text.lower() in around.locals:
                return
            if not all(source.columns.complete for source in around.sources):
                return
        if not quoted and (text.lower() in _BARE_WORDS or text.startswith(("@", "$", ":", "?"))):
            return
        if not quoted and text.lower() in _UNITS and isinstance(node.parent, (exp.Func, exp.Anonymous)):
            return
        if self.dialect.row_values and scope.source(table_key(name, self.dialect)) is not None:
            return
        if quoted and self.dialect.quoted_name_may_be_string and self._is_double_quoted(name):
            self.findings.quoted_string(name, scope)
            return
        self.findings.unknown_column(name, scope)

    def _is_double_quoted(self, name: exp.Identifier) -> bool:
        """SQLite: "x" may be a string, [x] and `x` never."""
        return self.findings.quote_of(name) == '"'


def _children(node: exp.Expr) -> list[exp.Expr]:
    return list(node.iter_expressions())


def _args(node: exp.Expr, *names: str) -> list[exp.Expr]:
    found: list[exp.Expr] = []
    for name in names:
        value = node.args.get(name)
        items = value if isinstance(value, list) else [value]
        found.extend(item for item in items if isinstance(item, exp.Expr))
    return found


def _alias_of(node: exp.Expr) -> exp.Identifier | None:
    alias = node.args.get("alias")
    if isinstance(alias, exp.TableAlias):
        alias = alias.this
    return alias if isinstance(alias, exp.Identifier) else None


def _column_aliases(node: exp.Expr, dialect: Dialect) -> tuple[str, ...]:
    alias = node.args.get("alias")
    columns = alias.args.get("columns") if isinstance(alias, exp.TableAlias) else None
    names = (c.this if isinstance(c, exp.ColumnDef) else c for c in columns or [])
    return tuple(
        true_name(n.name, bool(n.args.get("quoted")), dialect.column_case)
        for n in names
        if isinstance(n, exp.Identifier)
    )


def _renamed(columns: Columns, listed: tuple[str, ...]) -> Columns:
    """`listed` names the first columns; where it names at least all known ones, they are complete."""
    if not listed:
        return columns
    return Columns((*listed, *columns.names[len(listed) :]), columns.complete)


def _leftmost(query: exp.SetOperation) -> exp.Expr:
    left: exp.Expr = query
    while isinstance(left, exp.SetOperation):
        left = left.this
    return left


def _has_joins(tree: exp.Update) -> bool:
    return bool(isinstance(tree.this, exp.Expr) and tree.this.args.get("joins"))


def _assignments_scope(scope: Scope) -> Scope:
    """In `SET x = ...` of an upsert or MERGE the left side is the target's, so nothing is ambiguous."""
    return Scope(scope.dialect, scope.parent, scope.sources, scope.merged, True, scope.aliases, scope.locals)


def _with_locals(scope: Scope, names: Iterable[str]) -> Scope:
    return Scope(
        scope.dialect,
        scope.parent,
        scope.sources,
        scope.merged,
        scope.fuzzy,
        scope.aliases,
        scope.locals | frozenset(names),
    )
