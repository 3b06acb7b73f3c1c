// Package sqlstore keeps rings in a SQL database: PostgreSQL, MySQL, MariaDB or
// SQLite, through database/sql and whatever driver the program uses.
//
//	db, err := sql.Open("pgx", "postgres://...")
//	store, err := sqlstore.New(db, sqlstore.PostgreSQL, nil)
//	err = store.Migrate(ctx)                                       // at every start, or by hand: see Schema
//	ring, err := keyring.Open(ctx, "app", store, kms, pin, nil)
//
// # What it asks of the database
//
//   - The pool reaches one server that sees every commit. A replica lags: it
//     shows a ring without the key that another process already encrypts with.
//     On PostgreSQL, Load refuses a server in recovery. On MySQL it can't tell;
//     keep the pool away from readers and from proxies that split reads off.
//   - A commit is durable when it returns: not synchronous_commit=off in
//     PostgreSQL, innodb_flush_log_at_trx_commit=1 in MySQL, and
//     synchronous=FULL in SQLite (in WAL mode too, where NORMAL loses the last
//     commits in a power cut, and with them keys that were already used).
//   - In MySQL, autocommit is on for the pool's connections; Load refuses others.
//   - In SQLite, connections wait for each other: PRAGMA busy_timeout. Without it
//     a writer that meets another one fails at once.
//
// # Notices
//
// On PostgreSQL each update tells of itself with NOTIFY, so that programs with
// module keyring/pgnotify see it at once; see [Store.NoticeChannel].
//
// # Conflicts
//
// CompareAndSwap is one statement, a transaction of its own. A driver that
// reports driver.ErrBadConn after it has sent the statement makes database/sql
// send it again, and the second time finds what the first one wrote: an
// ErrConflict with oneself. Package keyring recognises that, by looking whether
// the stored record is its own.
//
// Errors that say that the server can't be reached wrap keyring.ErrUnavailable;
// a context's own error stays one.
package sqlstore
