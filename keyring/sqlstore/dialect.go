package sqlstore

import (
	"fmt"
	"strings"
)

// A Dialect is the SQL that a database speaks.
type Dialect uint8

const (
	// PostgreSQL is PostgreSQL 12 and later.
	PostgreSQL Dialect = iota + 1
	// MySQL is MySQL 8 and MariaDB 10.5 and later, with InnoDB.
	MySQL
	// SQLite is SQLite 3.24 and later.
	SQLite
)

// String returns the dialect's name.
func (d Dialect) String() string {
	if d < PostgreSQL || d > SQLite {
		return fmt.Sprintf("Dialect(%d)", uint8(d))
	}
	return [...]string{PostgreSQL: "PostgreSQL", MySQL: "MySQL", SQLite: "SQLite"}[d]
}

// quote makes an identifier of a name that checkPrefix has seen.
func (d Dialect) quote(name string) string {
	if d == MySQL {
		return "`" + name + "`"
	}
	return `"` + name + `"`
}

// statements are what a store sends. Names and data are always parameters.
type statements struct {
	load     string // (name): revision, data, unfit; NULLs or no row if there is none
	lockLoad string // the same, in a transaction that goes on to write
	insert   string // (name, revision, data); touches no row if there is one
	update   string // (revision, data, name, old)
}

// statements builds them for the table.
//
// The column unfit is 1 on a connection that may not be used: what it shows may
// be behind (a replica), or what it writes may never be committed. The outer
// join makes it answer also when there is no such ring, before one is created.
func (d Dialect) statements(table string) statements {
	s := statements{
		load:     "SELECT revision, data, 0 FROM @ WHERE name = ?",
		lockLoad: "SELECT revision, data, 0 FROM @ WHERE name = ?",
		insert:   "INSERT INTO @ (name, revision, data) VALUES (?, ?, ?) ON CONFLICT (name) DO NOTHING",
		update:   "UPDATE @ SET revision = ?, data = ? WHERE name = ? AND revision = ?",
	}
	switch d {
	case PostgreSQL:
		s.load = "SELECT r.revision, r.data, CASE WHEN pg_is_in_recovery() THEN 1 ELSE 0 END FROM (SELECT 1) AS one LEFT JOIN @ AS r ON r.name = $1"
		s.lockLoad = "SELECT revision, data, 0 FROM @ WHERE name = $1 FOR UPDATE"
		s.insert = "INSERT INTO @ (name, revision, data) VALUES ($1, $2, $3) ON CONFLICT (name) DO NOTHING"
		s.update = "UPDATE @ SET revision = $1, data = $2 WHERE name = $3 AND revision = $4"
	case MySQL:
		s.load = "SELECT r.revision, r.data, @@autocommit = 0 FROM (SELECT 1) AS one LEFT JOIN @ AS r ON r.name = ?"
		// A plain SELECT would show what was there when the transaction began,
		// and the UPDATE would then conflict for ever.
		s.lockLoad += " FOR UPDATE"
		// IGNORE would also cut values that are too long: swap has checked them.
		// ON DUPLICATE KEY UPDATE can't tell the cases apart, because the rows
		// that it reports depend on the connection's flags.
		s.insert = "INSERT IGNORE INTO @ (name, revision, data) VALUES (?, ?, ?)"
	}
	for _, p := range []*string{&s.load, &s.lockLoad, &s.insert, &s.update} {
		*p = strings.Replace(*p, " @ ", " "+table+" ", 1)
	}
	return s
}
