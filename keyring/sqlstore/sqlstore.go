package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"

	"github.com/structseal/structseal/keyring"
)

// DefaultTablePrefix begins the names of the tables.
const DefaultTablePrefix = "structseal_"

var (
	// ErrOptions: an unknown dialect, no database, or a table prefix that isn't
	// one.
	ErrOptions = errors.New("invalid option")
	// ErrSchema: the tables are missing, or a newer program made them.
	ErrSchema = errors.New("database schema does not fit this program")
)

// Options are optional: nil and the zero value are the defaults.
type Options struct {
	// TablePrefix begins the names of the tables: 1 to 40 of a-z 0-9 _, the
	// first one a letter. Default: DefaultTablePrefix.
	TablePrefix string

	// NoNotices leaves out the notices of changes that PostgreSQL sends; see
	// [Store.NoticeChannel]. For transactions of [Store.WithTx] that are prepared
	// for a two-phase commit, and for servers that only speak like PostgreSQL.
	NoNotices bool
}

// channel is where notices are sent; empty: nowhere.
func (o *Options) channel(d Dialect, prefix string) string {
	if d != PostgreSQL || o != nil && o.NoNotices {
		return ""
	}
	return prefix + "notices"
}

// A Store keeps rings in a database. It is safe for concurrent use by as many
// processes as the database serves. It doesn't close the database.
type Store struct {
	dialect Dialect
	prefix  string
	channel string
	sql     statements
	// conn is a closure, so that printers that walk unexported fields by
	// reflection don't get at the password in the pool's data source name.
	conn func() conn
	pool func() *sql.DB // nil inside a transaction of the caller's
}

var _ keyring.SubjectStore = (*Store)(nil)

// conn is what *sql.DB and *sql.Tx have in common here.
type conn interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

// New returns the store in db. It doesn't connect. The tables must be there
// before rings are: see [Store.Migrate] and [Schema].
//
// Errors: ErrOptions.
func New(db *sql.DB, d Dialect, opts *Options) (*Store, error) {
	if db == nil {
		return nil, fmt.Errorf("sqlstore: %w: no database given", ErrOptions)
	}
	prefix, err := prefixOf(d, opts)
	if err != nil {
		return nil, err
	}
	channel := opts.channel(d, prefix)
	return &Store{
		dialect: d,
		prefix:  prefix,
		channel: channel,
		sql:     d.statements(prefix, channel, false),
		conn:    func() conn { return db },
		pool:    func() *sql.DB { return db },
	}, nil
}

// prefixOf checks what New and Schema are given.
func prefixOf(d Dialect, opts *Options) (string, error) {
	if d < PostgreSQL || d > SQLite {
		return "", fmt.Errorf("sqlstore: %w: %s; use PostgreSQL, MySQL or SQLite", ErrOptions, d)
	}
	if opts == nil || opts.TablePrefix == "" {
		return DefaultTablePrefix, nil
	}
	p := opts.TablePrefix
	ok := len(p) <= 40
	for i := 0; ok && i < len(p); i++ {
		c := p[i]
		ok = c >= 'a' && c <= 'z' || i > 0 && (c >= '0' && c <= '9' || c == '_')
	}
	if !ok {
		return "", fmt.Errorf("sqlstore: %w: table prefix %.60q; use 1 to 40 of a-z 0-9 _, starting with a letter", ErrOptions, p)
	}
	return p, nil
}

// WithTx returns a store that works inside tx, for changes of a ring that must
// be committed together with something else. Its Load locks the ring's row until
// the transaction ends, and LoadSubjects those of the subjects (in SQLite there is
// no such lock: begin the transaction with BEGIN IMMEDIATE). It is a
// keyring.SubjectStore, too, and as safe for concurrent use as tx is.
//
// What CompareAndSwap stores there is durable when tx is committed, not when it
// returns, and a key that isn't durable must not encrypt anything. So open a ring
// on it, change the ring, and close it, all before the commit; don't seal with
// that ring. Rings that stay open are on the store itself, and learn of the
// change by Refresh. A cancelled call or a failed statement may have ended the
// transaction: roll it back after any error but ErrNotFound and ErrConflict.
func (s *Store) WithTx(tx *sql.Tx) keyring.Store {
	return txStore{&Store{dialect: s.dialect, prefix: s.prefix, sql: s.dialect.statements(s.prefix, s.channel, true), conn: func() conn { return tx }}}
}

// NoticeChannel returns the channel on which PostgreSQL tells of each update of a
// record with NOTIFY: the table prefix and "notices"; empty for other databases,
// and with Options.NoNotices. The payload is the ring's name, and for a subject a
// slash and its hash in hexadecimal besides. The notice is part of the statement
// that changes the record, so it is delivered exactly if that is committed, also by
// a transaction of the caller's. Module keyring/pgnotify listens there. Creations
// aren't told: nobody knows what wasn't there.
func (s *Store) NoticeChannel() string { return s.channel }

// txStore has no Migrate.
type txStore struct{ s *Store }

var _ keyring.SubjectStore = txStore{}

func (t txStore) Load(ctx context.Context, name string) (keyring.Record, error) {
	return t.s.Load(ctx, name)
}

func (t txStore) CompareAndSwap(ctx context.Context, name string, old uint64, next keyring.Record) error {
	return t.s.CompareAndSwap(ctx, name, old, next)
}

func (t txStore) LoadSubjects(ctx context.Context, name string, subjects []keyring.SubjectHash) (map[keyring.SubjectHash]keyring.Record, error) {
	return t.s.LoadSubjects(ctx, name, subjects)
}

func (t txStore) CompareAndSwapSubject(ctx context.Context, name string, subject keyring.SubjectHash, old uint64, next keyring.Record) error {
	return t.s.CompareAndSwapSubject(ctx, name, subject, old, next)
}

func (t txStore) ListSubjects(ctx context.Context, name string, after keyring.SubjectHash, limit int) ([]keyring.SubjectHash, error) {
	return t.s.ListSubjects(ctx, name, after, limit)
}

func (t txStore) String() string { return t.s.String() }

// String returns the dialect and the table.
func (s *Store) String() string {
	return fmt.Sprintf("sqlstore.Store(%s, %srings)", s.dialect, s.prefix)
}

// GoString is String.
func (s *Store) GoString() string { return s.String() }

// Load implements [keyring.Store]. It reads the one row, never from a cache.
//
// Errors: keyring.ErrNotFound; keyring.ErrName; keyring.ErrUnavailable; ctx's
// own; the database's, for example when the table is missing.
func (s *Store) Load(ctx context.Context, name string) (keyring.Record, error) {
	r, err := s.load(ctx, name)
	if err != nil {
		return keyring.Record{}, s.wrap(ctx, err)
	}
	return r, nil
}

func (s *Store) load(ctx context.Context, name string) (keyring.Record, error) {
	if err := checkCall(ctx, name); err != nil {
		return keyring.Record{}, err
	}
	var revision sql.NullInt64
	var unfit int64
	var data []byte // Scan copies into it
	err := s.conn().QueryRowContext(ctx, s.sql.load, name).Scan(&revision, &data, &unfit)
	if errors.Is(err, sql.ErrNoRows) {
		return keyring.Record{}, keyring.ErrNotFound
	}
	if err != nil {
		return keyring.Record{}, err
	}
	if err := s.fit(unfit); err != nil {
		return keyring.Record{}, err
	}
	if !revision.Valid {
		return keyring.Record{}, keyring.ErrNotFound
	}
	return record(revision.Int64, data)
}

// fit refuses a connection that may not be used.
func (s *Store) fit(unfit int64) error {
	switch {
	case unfit == 0:
		return nil
	case s.dialect == PostgreSQL:
		return errors.New("this server is a replica, which may lag; connect to the primary")
	}
	return errors.New("autocommit is off, so that nothing written would stay; connect with autocommit on")
}

func record(revision int64, data []byte) (keyring.Record, error) {
	if revision <= 0 {
		return keyring.Record{}, fmt.Errorf("%w: revision %d in the table", keyring.ErrCorrupt, revision)
	}
	return keyring.Record{Revision: uint64(revision), Data: data}, nil
}

// CompareAndSwap implements [keyring.Store] with one INSERT or UPDATE.
//
// Errors: keyring.ErrConflict; keyring.ErrName; keyring.ErrTooLarge for more
// than keyring.MaxRecordSize bytes; keyring.ErrUnavailable; ctx's own; the
// database's. Except after ErrConflict, ErrName and ErrTooLarge the record may
// have been stored nevertheless.
func (s *Store) CompareAndSwap(ctx context.Context, name string, old uint64, next keyring.Record) error {
	err := s.swap(ctx, name, old, next)
	if err == nil {
		return nil
	}
	return s.wrap(ctx, err)
}

func (s *Store) swap(ctx context.Context, name string, old uint64, next keyring.Record) error {
	if err := checkCall(ctx, name); err != nil {
		return err
	}
	data, err := checkSwap(old, next, keyring.MaxRecordSize)
	if err != nil {
		return err
	}
	if old == 0 {
		return s.change(ctx, old, s.sql.insert, name, int64(next.Revision), data)
	}
	return s.change(ctx, old, s.sql.update, int64(next.Revision), data, name, int64(old))
}

// checkSwap refuses what can't be stored, and returns what is.
func checkSwap(old uint64, next keyring.Record, most int) ([]byte, error) {
	switch {
	case next.Revision == 0 || next.Revision > math.MaxInt64:
		return nil, fmt.Errorf("%w: revision %d", keyring.ErrCorrupt, next.Revision)
	case next.Revision == old:
		// MySQL counts rows that changed, not rows that matched, unless the
		// connection says otherwise. A change always moves the revision, so both
		// are the same.
		return nil, fmt.Errorf("%w: a change that leaves the revision at %d", keyring.ErrCorrupt, old)
	case len(next.Data) > most:
		return nil, fmt.Errorf("%w: %d bytes", keyring.ErrTooLarge, len(next.Data))
	case old > math.MaxInt64:
		return nil, keyring.ErrConflict
	case next.Data == nil:
		return []byte{}, nil // not NULL
	}
	return next.Data, nil
}

// change sends a statement that must touch one row.
func (s *Store) change(ctx context.Context, old uint64, query string, args ...any) error {
	res, err := s.conn().ExecContext(ctx, query, args...)
	if err != nil {
		return err
	}
	switch n, err := res.RowsAffected(); {
	case err != nil:
		return err
	case n == 0 && old == 0:
		return fmt.Errorf("%w: there is a record already", keyring.ErrConflict)
	case n == 0:
		return fmt.Errorf("%w: not at revision %d", keyring.ErrConflict, old)
	}
	return nil
}

// checkCall refuses what no statement needs to be sent for. It also keeps names
// away from the database that it would fold, pad or cut.
func checkCall(ctx context.Context, name string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return keyring.CheckName(name)
}
