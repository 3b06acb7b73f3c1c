// Package sqlrows gives package rotate the rows of a table in PostgreSQL, MySQL,
// MariaDB or SQLite.
//
//	err = sqlrows.Migrate(ctx, db, sqlstore.PostgreSQL, nil) // once: the tables of jobs
//	table, err := sqlrows.New(ctx, db, sqlstore.PostgreSQL, record, nil)
//	for progress, err := range rotate.Run(ctx, ring, rotate.Reencrypt, table, nil) { ... }
//
// Rows are read along the primary key, never by OFFSET. A batch is one short
// transaction, which also writes how far the job is. Each row is written by an UPDATE
// that names every value that was read of it; where it meets no row, somebody else has
// written: the row is locked, read again, and done again.
//
// The program needs SELECT and UPDATE on the table, and all of SELECT, INSERT, UPDATE
// and DELETE on the two tables of jobs.
package sqlrows
