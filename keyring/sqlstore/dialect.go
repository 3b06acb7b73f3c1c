package sqlstore

import (
	"fmt"
	"strings"

	"github.com/structseal/structseal/internal/placeholder"
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

// statements are what a store sends. Names, hashes and data are always parameters.
type statements struct {
	load   string // (name): revision, data, unfit; NULLs or no row if there is none
	insert string // (name, revision, data); touches no row if there is one
	update string // (revision, data, name, old)

	loadSubjects  string // (ring, subjects instead of @@): subject, revision, data, unfit
	listSubjects  string // (ring, after, limit): subject, unfit
	insertSubject string // (ring, subject, revision, data)
	updateSubject string // (revision, data, ring, subject, old)
}

// statements builds them for the tables; locking, in a transaction that goes on to
// write what it has loaded.
//
// The column unfit is 1 on a connection that may not be used: what it shows may
// be behind (a replica), or what it writes may never be committed. The outer
// join makes it answer also when there is no such ring, before one is created.
//
// With a channel, PostgreSQL tells of each update there, as part of the statement:
// listeners hear of it when it is committed, and only then.
func (d Dialect) statements(prefix, channel string, locking bool) statements {
	s := statements{
		load:         "SELECT revision, data, 0 FROM @rings WHERE name = ?",
		insert:       "INSERT INTO @rings (name, revision, data) VALUES (?, ?, ?) ON CONFLICT (name) DO NOTHING",
		update:       "UPDATE @rings SET revision = ?, data = ? WHERE name = ? AND revision = ?",
		loadSubjects: "SELECT subject, revision, data, 0 FROM @subjects WHERE ring = ? AND subject IN (@@)",
		listSubjects: "SELECT subject, 0 FROM @subjects WHERE ring = ? AND subject > ? ORDER BY subject LIMIT ?",

		insertSubject: "INSERT INTO @subjects (ring, subject, revision, data) VALUES (?, ?, ?, ?) ON CONFLICT (ring, subject) DO NOTHING",
		updateSubject: "UPDATE @subjects SET revision = ?, data = ? WHERE ring = ? AND subject = ? AND revision = ?",
	}
	unfit := ""
	switch d {
	case PostgreSQL:
		unfit = "CASE WHEN pg_is_in_recovery() THEN 1 ELSE 0 END"
		if channel != "" {
			s.update = "WITH changed AS (" + s.update + " RETURNING name) SELECT pg_notify('" + channel + "', name) FROM changed"
			s.updateSubject = "WITH changed AS (" + s.updateSubject + " RETURNING ring, subject) SELECT pg_notify('" + channel + "', ring || '/' || encode(subject, 'hex')) FROM changed"
		}
	case MySQL:
		unfit = "@@autocommit = 0"
		// IGNORE would also cut values that are too long: swap has checked them.
		// ON DUPLICATE KEY UPDATE can't tell the cases apart, because the rows
		// that it reports depend on the connection's flags.
		s.insert = "INSERT IGNORE INTO @rings (name, revision, data) VALUES (?, ?, ?)"
		s.insertSubject = "INSERT IGNORE INTO @subjects (ring, subject, revision, data) VALUES (?, ?, ?, ?)"
	}
	switch {
	case d == SQLite:
	case locking:
		// A plain SELECT in MySQL would show what was there when the transaction
		// began, and the UPDATE would then conflict for ever. Subjects are locked
		// in one order, or two transactions would wait for each other.
		s.load += " FOR UPDATE"
		s.loadSubjects += " ORDER BY subject FOR UPDATE"
		if d == MySQL {
			s.listSubjects += " FOR UPDATE"
		}
	default:
		const one = " FROM (SELECT 1) AS one LEFT JOIN "
		s.load = "SELECT r.revision, r.data, " + unfit + one + "@rings AS r ON r.name = ?"
		s.loadSubjects = "SELECT s.subject, s.revision, s.data, " + unfit + one + "@subjects AS s ON s.ring = ? AND s.subject IN (@@)"
		s.listSubjects = "SELECT s.subject, " + unfit + one + "(SELECT subject FROM @subjects WHERE ring = ? AND subject > ? ORDER BY subject LIMIT ?) AS s ON 1 = 1 ORDER BY s.subject"
	}
	for _, p := range []*string{&s.load, &s.insert, &s.update, &s.loadSubjects, &s.listSubjects, &s.insertSubject, &s.updateSubject} {
		for _, table := range tables {
			*p = strings.Replace(*p, " @"+table+" ", " "+d.quote(prefix+table)+" ", 1)
		}
		if p != &s.loadSubjects {
			*p = d.number(*p)
		}
	}
	return s
}

// tables are the tables for records, without the prefix.
var tables = []string{"rings", "subjects"}

// number numbers the parameters where the dialect wants that.
func (d Dialect) number(query string) string {
	if d != PostgreSQL {
		return query
	}
	return placeholder.Number(query)
}

// subjects is the statement loadSubjects for n of them.
func (s statements) subjects(d Dialect, n int) string {
	return d.number(strings.Replace(s.loadSubjects, "@@)", strings.Repeat("?, ", n-1)+"?)", 1))
}
