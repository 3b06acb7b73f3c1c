package sqlrows

import (
	"context"
	"database/sql"
	"strings"

	"github.com/structseal/structseal/internal/placeholder"
	"github.com/structseal/structseal/keyring/sqlstore"
)

// A dialect is the SQL that a database speaks.
type dialect struct{ sqlstore.Dialect }

// quote quotes a table's name, each part of it.
func (d dialect) quote(name string) string {
	parts := strings.Split(name, ".")
	for i, p := range parts {
		parts[i] = d.column(p)
	}
	return strings.Join(parts, ".")
}

// column quotes a name that has no parts.
func (d dialect) column(name string) string {
	q := `"`
	if d.Dialect == sqlstore.MySQL {
		q = "`"
	}
	return q + strings.ReplaceAll(name, q, q+q) + q
}

// number numbers the parameters where the dialect wants that. No name that is quoted
// into a statement may have a question mark.
func (d dialect) number(query string) string {
	if d.Dialect != sqlstore.PostgreSQL {
		return query
	}
	return placeholder.Number(query)
}

// isBytes reports whether a type is of bytes, not of text.
func (d dialect) isBytes(typ string) bool {
	typ = strings.ToUpper(typ)
	return typ == "BYTEA" || strings.Contains(typ, "BLOB") || strings.Contains(typ, "BINARY") || typ == "" && d.Dialect == sqlstore.SQLite
}

// same is the condition that a column still is as it was read, NULL included: by its
// bytes, whatever its collation makes alike.
func (d dialect) same(c column, value any) string {
	name := d.column(c.name)
	_, isText := value.(string)
	switch {
	case d.Dialect == sqlstore.SQLite:
		return name + " COLLATE BINARY IS ?"
	case d.Dialect == sqlstore.MySQL && c.text: // in the character set that it was read in
		return "CAST(CONVERT(" + name + " USING utf8mb4) AS BINARY) <=> CAST(CONVERT(? USING utf8mb4) AS BINARY)"
	case d.Dialect == sqlstore.MySQL:
		return name + " <=> ?"
	case isText && c.typ != "BPCHAR": // which loses its spaces
		return "CAST(" + name + ` AS text) COLLATE "C" IS NOT DISTINCT FROM ?`
	}
	return name + " IS NOT DISTINCT FROM ?"
}

// now is the database's clock in milliseconds.
func (d dialect) now() string {
	switch d.Dialect {
	case sqlstore.PostgreSQL:
		return "CAST(extract(epoch FROM clock_timestamp()) * 1000 AS bigint)"
	case sqlstore.MySQL:
		return "CAST(UNIX_TIMESTAMP(SYSDATE(3)) * 1000 AS SIGNED)"
	default:
		return "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)"
	}
}

// lock ends a SELECT that locks its rows.
func (d dialect) lock() string {
	if d.Dialect == sqlstore.SQLite { // which has locked the whole database
		return ""
	}
	return " FOR UPDATE"
}

// estimate is a query for about how many rows a table has.
func (d dialect) estimate(table string) (string, []any) {
	switch d.Dialect {
	case sqlstore.PostgreSQL:
		return "SELECT CAST(reltuples AS bigint) FROM pg_class WHERE oid = CAST($1 AS regclass)", []any{d.quote(table)}
	case sqlstore.MySQL:
		schema, name := d.split(table)
		return "SELECT table_rows FROM information_schema.tables WHERE table_schema = coalesce(?, DATABASE()) AND table_name = ?", []any{schema, name}
	}
	return "", nil
}

// split is a table's schema, if it has one, and its name.
func (d dialect) split(table string) (schema sql.NullString, name string) {
	if before, after, ok := strings.Cut(table, "."); ok {
		return sql.NullString{String: before, Valid: true}, after
	}
	return schema, table
}

// primaryKey returns the columns of a table's primary key, in its order.
func (d dialect) primaryKey(ctx context.Context, db *sql.DB, table string) (columns []string, err error) {
	var query string
	var args []any
	schema, name := d.split(table)
	switch d.Dialect {
	case sqlstore.PostgreSQL:
		query = `SELECT a.attname FROM pg_index i, unnest(i.indkey::int2[]) WITH ORDINALITY AS k(attnum, n), pg_attribute a
			WHERE i.indrelid = CAST($1 AS regclass) AND i.indisprimary AND a.attrelid = i.indrelid AND a.attnum = k.attnum ORDER BY k.n`
		args = []any{d.quote(table)}
	case sqlstore.MySQL:
		query = `SELECT column_name FROM information_schema.statistics
			WHERE table_schema = coalesce(?, DATABASE()) AND table_name = ? AND index_name = 'PRIMARY' ORDER BY seq_in_index`
		args = []any{schema, name}
	default:
		query = "SELECT name FROM pragma_table_info(?) WHERE pk > 0 ORDER BY pk"
		args = []any{name}
		if schema.Valid {
			query, args = "SELECT name FROM pragma_table_info(?, ?) WHERE pk > 0 ORDER BY pk", []any{name, schema.String}
		}
	}
	rows, err := db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var column string
		if err := rows.Scan(&column); err != nil {
			return nil, err
		}
		columns = append(columns, column)
	}
	return columns, rows.Err()
}
