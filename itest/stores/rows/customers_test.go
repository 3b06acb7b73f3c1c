package rows

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/structseal/structseal"
	"github.com/structseal/structseal/itest/stores/dbserver"
	"github.com/structseal/structseal/keyring"
	"github.com/structseal/structseal/keyring/sqlstore"
	"github.com/structseal/structseal/kmsprovider/localkms"
	"github.com/structseal/structseal/manifest"
	"github.com/structseal/structseal/rotate/sqlrows"
)

var long = os.Getenv("STRUCTSEAL_LONG") == "1"

func TestMain(m *testing.M) {
	for env, child := range map[string]func() error{childEnv: child, riverChildEnv: riverChild} {
		if os.Getenv(env) == "" {
			continue
		}
		if err := child(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(dbserver.Run(m))
}

// customer is the row of the tests: text, text that may be NULL, bytes, and a column
// that isn't sealed.
type customer struct {
	_     structseal.Record      `seal:"customer"`
	ID    int64                  `seal:"id,bind"`
	Email string                 `seal:"email"`
	Phone sql.NullString         `seal:"phone"`
	Photo []byte                 `seal:"photo"`
	Score structseal.Sealed[int] `seal:"score"`
	City  string
}

// described is what an inventory says of it.
var described = manifest.Record{
	Label: "customer", Type: "rows.customer", Table: "customers",
	Binds: []manifest.Bind{{Label: "id", Field: "ID", Column: "id", Kind: manifest.BindInteger}},
	Fields: []manifest.Field{
		{Path: []string{"email"}, Field: "Email", Type: "string", Column: "email", Form: manifest.FormString},
		{Path: []string{"phone"}, Field: "Phone", Type: "sql.NullString", Column: "phone", Form: manifest.FormString, Nullable: true},
		{Path: []string{"photo"}, Field: "Photo", Type: "[]byte", Column: "photo", Form: manifest.FormBytes},
		{Path: []string{"score"}, Field: "Score", Type: "structseal.Sealed[int]", Column: "score", Form: manifest.FormSealed},
	},
}

// A site is a database with a ring and a table of customers.
type site struct {
	dialect sqlstore.Dialect
	db      *sql.DB
	driver  string
	dsn     string
	store   *sqlstore.Store
	keyFile string
	kms     *localkms.Provider
	pin     keyring.Pin
}

var databases = map[string]func(testing.TB) *site{"PostgreSQL": postgres, "MariaDB": maria, "SQLite": sqlite}

func name() string {
	b := make([]byte, 6)
	rand.Read(b)
	return "t" + hex.EncodeToString(b)
}

func execute(t testing.TB, db *sql.DB, statements ...string) {
	t.Helper()
	for _, s := range statements {
		if _, err := db.ExecContext(t.Context(), s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}

func connect(t testing.TB, driver, dsn string) *sql.DB {
	t.Helper()
	db, err := sql.Open(driver, dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func postgres(t testing.TB) *site {
	t.Helper()
	c, err := dbserver.Postgres()
	dbserver.Need(t, err)
	return postgresIn(t, c)
}

func postgresIn(t testing.TB, c dbserver.Cluster) *site {
	t.Helper()
	n := name()
	execute(t, connect(t, "pgx", c.DSN()), "CREATE DATABASE "+n)
	return newSite(t, sqlstore.PostgreSQL, "pgx", "host="+c.Dir+" user=postgres dbname="+n,
		"CREATE TABLE customers (id bigint PRIMARY KEY, email text NOT NULL, phone varchar(500), photo bytea, score text NOT NULL, city text NOT NULL)")
}

func maria(t testing.TB) *site {
	t.Helper()
	socket, err := dbserver.MariaDB()
	dbserver.Need(t, err)
	n := name()
	// The collation that makes the most alike: case, accents and final spaces.
	execute(t, connect(t, "mysql", "root@unix("+socket+")/"), "CREATE DATABASE "+n+" CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci")
	return newSite(t, sqlstore.MySQL, "mysql", "root@unix("+socket+")/"+n+"?charset=utf8mb4",
		"CREATE TABLE customers (id bigint PRIMARY KEY, email text NOT NULL, phone varchar(500), photo longblob, score text NOT NULL, city text NOT NULL)")
}

func sqlite(t testing.TB) *site {
	t.Helper()
	dsn := "file:" + filepath.Join(t.TempDir(), "rows.db") + "?_pragma=busy_timeout(60000)&_pragma=journal_mode(WAL)&_pragma=synchronous(OFF)"
	return newSite(t, sqlstore.SQLite, "sqlite", dsn,
		"CREATE TABLE customers (id INTEGER PRIMARY KEY, email TEXT NOT NULL, phone TEXT, photo BLOB, score TEXT NOT NULL, city TEXT NOT NULL)")
}

func newSite(t testing.TB, d sqlstore.Dialect, driver, dsn, table string) *site {
	t.Helper()
	s := &site{dialect: d, driver: driver, dsn: dsn, db: connect(t, driver, dsn), keyFile: filepath.Join(t.TempDir(), "app.kek")}
	s.db.SetMaxIdleConns(16)
	execute(t, s.db, table)
	var err error
	if s.kms, err = localkms.CreateKeyFile(s.keyFile); err != nil {
		t.Fatal(err)
	}
	if s.store, err = sqlstore.New(s.db, d, nil); err != nil {
		t.Fatal(err)
	}
	if err := s.store.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := sqlrows.Migrate(t.Context(), s.db, d, nil); err != nil {
		t.Fatal(err)
	}
	ring, pin, err := keyring.Create(t.Context(), "app", s.store, s.kms, nil)
	if err != nil {
		t.Fatal(err)
	}
	ring.Close()
	s.pin = pin
	return s
}

func (s *site) ring(t testing.TB) *keyring.Keyring {
	t.Helper()
	ring, err := keyring.Open(t.Context(), "app", s.store, s.kms, s.pin, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ring.Close() })
	return ring
}

func (s *site) table(t testing.TB, opts *sqlrows.Options) *sqlrows.Table {
	t.Helper()
	table, err := sqlrows.New(t.Context(), s.db, s.dialect, described, opts)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// sql writes the parameters of a statement as the database wants them.
func (s *site) sql(statement string) string {
	if s.dialect != sqlstore.PostgreSQL {
		return statement
	}
	for n := 1; strings.Contains(statement, "?"); n++ {
		statement = strings.Replace(statement, "?", fmt.Sprintf("$%d", n), 1)
	}
	return statement
}

// person is a customer in plaintext; version tells its writes apart.
func person(id int64, version int) customer {
	c := customer{ID: id, Email: fmt.Sprintf("%d.%d@example.net", id, version), Score: structseal.Of(version), City: "Łódź"}
	if id%3 != 0 {
		c.Phone = sql.NullString{String: fmt.Sprintf("+44 20 %07d", id), Valid: true}
	}
	switch id % 4 {
	case 1:
		c.Photo = []byte{}
	case 2:
		c.Photo = []byte(strings.Repeat("photo", int(id%50)))
	}
	return c
}

func (s *site) insert(ctx context.Context, rows []customer) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	stmt, err := tx.PrepareContext(ctx, s.sql("INSERT INTO customers (id, email, phone, photo, score, city) VALUES (?, ?, ?, ?, ?, ?)"))
	if err != nil {
		return err
	}
	for _, c := range rows {
		if _, err := stmt.ExecContext(ctx, c.ID, c.Email, c.Phone, c.Photo, c.Score, c.City); err != nil {
			return err
		}
	}
	return tx.Commit()
}

// fill inserts customers from..to, encrypted by the ring.
func (s *site) fill(t testing.TB, ring *keyring.Keyring, from, to int64) {
	t.Helper()
	for at := from; at <= to; at += 5000 {
		var rows []customer
		for id := at; id < at+5000 && id <= to; id++ {
			rows = append(rows, person(id, 0))
		}
		if ring != nil {
			var err error
			if rows, err = structseal.EncryptAll(t.Context(), ring, rows); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.insert(t.Context(), rows); err != nil {
			t.Fatal(err)
		}
	}
}

// read returns all rows as they are stored, by id.
func (s *site) read(t testing.TB) map[int64]customer {
	t.Helper()
	rows, err := s.db.QueryContext(t.Context(), "SELECT id, email, phone, photo, score, city FROM customers")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	out := make(map[int64]customer)
	for rows.Next() {
		c, err := scan(rows)
		if err != nil {
			t.Fatal(err)
		}
		out[c.ID] = c
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

func scan(row interface{ Scan(...any) error }) (c customer, err error) {
	err = row.Scan(&c.ID, &c.Email, &c.Phone, &c.Photo, &c.Score, &c.City)
	return c, err
}

// check decrypts all rows and compares them with what they are to be.
func (s *site) check(t testing.TB, ring *keyring.Keyring, rows int, version func(id int64) int) {
	t.Helper()
	stored := s.read(t)
	if len(stored) != rows {
		t.Fatalf("%d rows, want %d", len(stored), rows)
	}
	for id, row := range stored {
		same(t, ring, row, version(id))
	}
}

// same decrypts a row and compares it with a version of its person.
func same(t testing.TB, ring *keyring.Keyring, row customer, version int) {
	t.Helper()
	got, err := structseal.Decrypt(t.Context(), ring, row)
	if err != nil {
		t.Fatal(err)
	}
	want := person(row.ID, version)
	score, _ := got.Score.Get()
	if got.Email != want.Email || got.Phone != want.Phone || string(got.Photo) != string(want.Photo) || (got.Photo == nil) != (want.Photo == nil) || score != version || got.City != want.City {
		t.Fatalf("row %d: %+v, want %+v", row.ID, got, want)
	}
}

// readOnly is the transaction of a long reader.
var readOnly = &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true}
