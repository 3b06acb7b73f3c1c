package riverrows

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverdatabasesql"
	"github.com/riverqueue/river/rivermigrate"

	"github.com/structseal/structseal/rotate"
	"github.com/structseal/structseal/rotate/sqlrows"
)

var (
	// ErrOptions: an option that makes no sense.
	ErrOptions = errors.New("invalid option")
	// ErrNoRun: no such job was ever enqueued, or its tables were dropped.
	ErrNoRun = errors.New("no run of that job")
)

// Options are optional: nil and the zero value are the defaults.
type Options struct {
	// Schema is where River's tables are, and those of this package: lower-case letters,
	// digits and underscores. It is River's Config.Schema. Default: where the
	// connection's search_path leads.
	Schema string

	// Queue is River's queue for the jobs. Default: "structseal".
	Queue string

	// Logger gets what River's clients have to say. Default: River's own, which writes
	// warnings to standard output.
	Logger *slog.Logger
}

// Jobs are the row jobs in a database. It is safe for concurrent use.
type Jobs struct {
	db     *sql.DB
	opts   Options
	runs   string // quoted tables
	parts  string
	river  string
	client *river.Client[*sql.Tx] // inserts
}

// New returns the jobs in a database, which is PostgreSQL. It makes no query. The rows
// have to be in the same database: they are written in one transaction with the jobs.
//
// Errors: ErrOptions.
func New(db *sql.DB, opts *Options) (*Jobs, error) {
	j := &Jobs{db: db}
	if opts != nil {
		j.opts = *opts
	}
	j.opts.Queue = cmp.Or(j.opts.Queue, "structseal")
	if db == nil {
		return nil, fmt.Errorf("riverrows: %w: no database", ErrOptions)
	}
	prefix := ""
	if s := j.opts.Schema; s != "" {
		if !schemaName.MatchString(s) {
			return nil, fmt.Errorf("riverrows: %w: schema %q: lower-case letters, digits and underscores are allowed, 46 at most", ErrOptions, s)
		}
		prefix = s + "."
	}
	j.runs, j.parts, j.river = prefix+"structseal_river_runs", prefix+"structseal_river_parts", prefix+"river_job"
	var err error
	j.client, err = river.NewClient(riverdatabasesql.New(db), &river.Config{Schema: j.opts.Schema, Logger: j.opts.Logger})
	if err != nil {
		return nil, fmt.Errorf("riverrows: %w: %w", ErrOptions, err)
	}
	return j, nil
}

var schemaName = regexp.MustCompile(`^[a-z_][a-z0-9_]{0,45}$`)

// Migrated reports whether Migrate has nothing to do.
//
// Errors: the database's.
func (j *Jobs) Migrated(ctx context.Context) (bool, error) {
	var there bool
	err := j.db.QueryRowContext(ctx, "SELECT to_regclass($1) IS NOT NULL AND to_regclass($2) IS NOT NULL AND to_regclass($3) IS NOT NULL", j.river, j.runs, j.parts).Scan(&there)
	if err != nil || !there {
		return false, j.failed(err)
	}
	m, err := j.migrator()
	if err != nil {
		return false, err
	}
	result, err := m.Validate(ctx, nil)
	if err != nil {
		return false, fmt.Errorf("riverrows: tables of River: %w", err)
	}
	return result.OK, nil
}

func (j *Jobs) failed(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("riverrows: %w", err)
}

func (j *Jobs) migrator() (*rivermigrate.Migrator[*sql.Tx], error) {
	m, err := rivermigrate.New(riverdatabasesql.New(j.db), &rivermigrate.Config{Schema: j.opts.Schema, Logger: j.opts.Logger})
	return m, j.failed(err)
}

// migrateLock is the number of an advisory lock: "structse" in ASCII.
const migrateLock = 0x7374727563747365

// Migrate makes the schema, River's tables and those of this package, or brings River's
// up to the version of this module, or does nothing. Its role needs CREATE on the
// database, or on a schema that is there. Who only enqueues and works needs USAGE on the schema,
// SELECT, INSERT, UPDATE and DELETE on all tables in it, and USAGE on all sequences.
//
// Errors: the database's.
func (j *Jobs) Migrate(ctx context.Context) error {
	// Where a role may make nothing, making what is there fails, too.
	if done, err := j.Migrated(ctx); done || err != nil {
		return err
	}
	// Workers that begin at the same time make it one after the other.
	lock, err := j.db.Conn(ctx)
	if err != nil {
		return j.failed(err)
	}
	defer lock.Close()
	if _, err := lock.ExecContext(ctx, "SELECT pg_advisory_lock($1)", migrateLock); err != nil {
		return j.failed(err)
	}
	defer lock.ExecContext(context.WithoutCancel(ctx), "SELECT pg_advisory_unlock($1)", migrateLock)
	if done, err := j.Migrated(ctx); done || err != nil {
		return err
	}
	if j.opts.Schema != "" {
		var there bool
		err := j.db.QueryRowContext(ctx, "SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1)", j.opts.Schema).Scan(&there)
		if err == nil && !there {
			_, err = j.db.ExecContext(ctx, "CREATE SCHEMA IF NOT EXISTS "+j.opts.Schema)
		}
		if err != nil {
			return j.failed(err)
		}
	}
	m, err := j.migrator()
	if err != nil {
		return err
	}
	if _, err := m.Migrate(ctx, rivermigrate.DirectionUp, nil); err != nil {
		return fmt.Errorf("riverrows: tables of River: %w", err)
	}
	for _, statement := range []string{
		`CREATE TABLE IF NOT EXISTS ` + j.runs + ` (
			run bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
			job text NOT NULL UNIQUE,
			fields text NOT NULL,
			frontier text NOT NULL DEFAULT '',
			parts bigint NOT NULL DEFAULT 0,
			handed boolean NOT NULL DEFAULT false,
			estimate bigint NOT NULL,
			bad bigint NOT NULL DEFAULT 0,
			max_bad bigint NOT NULL,
			began timestamptz NOT NULL DEFAULT now()
		)`,
		`CREATE TABLE IF NOT EXISTS ` + j.parts + ` (
			run bigint NOT NULL REFERENCES ` + j.runs + ` ON DELETE CASCADE,
			part bigint NOT NULL,
			reached text NOT NULL,
			upto text NOT NULL,
			river_job bigint NOT NULL,
			seen bigint NOT NULL DEFAULT 0,
			written bigint NOT NULL DEFAULT 0,
			conflicts bigint NOT NULL DEFAULT 0,
			bad bigint NOT NULL DEFAULT 0,
			told text NOT NULL DEFAULT '',
			done timestamptz,
			PRIMARY KEY (run, part)
		)`,
		`CREATE INDEX IF NOT EXISTS structseal_river_parts_open ON ` + j.parts + ` (run, part) WHERE done IS NULL`,
	} {
		if _, err := j.db.ExecContext(ctx, statement); err != nil {
			return j.failed(err)
		}
	}
	return nil
}

// Args are those of a River job: which part of which run, and how to do it. Where the
// part begins and ends is in structseal_river_parts.
type Args struct {
	Run           int64  `json:"run"`
	Part          int64  `json:"part"`
	Job           string `json:"job"` // as rotate.Kind is written
	Ring          string `json:"ring"`
	Record        string `json:"record"` // label
	Table         string `json:"table"`
	Deterministic bool   `json:"deterministic,omitempty"`
}

// Kind implements [river.JobArgs].
func (Args) Kind() string { return "structseal_rows" }

func (a Args) kind() (rotate.Kind, error) {
	for k := rotate.Reencrypt; k <= rotate.Sweep; k++ {
		if k.String() == a.Job {
			return k, nil
		}
	}
	return 0, fmt.Errorf("%w: a job to %q: this version of the worker knows none", rotate.ErrMismatch, a.Job)
}

// fieldsOf are what a job does in a table.
func fieldsOf(t *sqlrows.Table) []string {
	r := t.Record()
	var out []string
	for i := range r.Fields {
		out = append(out, "field "+r.FieldLabel(&r.Fields[i])+" in column "+r.Fields[i].Column)
	}
	for _, x := range r.Indexes {
		out = append(out, "index in column "+x.Column)
	}
	slices.Sort(out)
	return out
}

// without are those of some fields that aren't among others.
func without(fields, others []string) (out []string) {
	for _, f := range fields {
		if !slices.Contains(others, f) {
			out = append(out, f)
		}
	}
	return out
}

// name is what the table of runs calls the job.
func (a Args) name() string {
	name := a.Job + " " + a.Ring + "/" + a.Record + " in " + a.Table
	if a.Deterministic {
		name += ", deterministic fields too"
	}
	return name
}

func argsOf(ring string, kind rotate.Kind, table *sqlrows.Table, deterministic bool) Args {
	return Args{Job: kind.String(), Ring: ring, Record: table.Record().Label, Table: table.Name(), Deterministic: deterministic && kind == rotate.Reencrypt}
}

// cooldown bounds how often a client fetches jobs, which are short.
const cooldown = 5 * time.Millisecond

// Config returns what a River client needs that does nothing but these jobs, so many at
// once: the queue, the worker, the schema, a short time between fetches, and half as much
// again as the worker's Timeout, 90 s by default, after which the job of a killed worker
// is given to another one. It reindexes nothing at midnight, for which the client would
// have to own the tables. Change what you like before river.NewClient.
func (j *Jobs) Config(w *Worker, maxWorkers int) *river.Config {
	workers := river.NewWorkers()
	river.AddWorker(workers, w)
	return &river.Config{
		Schema:               j.opts.Schema,
		Logger:               j.opts.Logger,
		Queues:               map[string]river.QueueConfig{j.opts.Queue: {MaxWorkers: max(1, maxWorkers)}},
		Workers:              workers,
		FetchCooldown:        cooldown,
		JobTimeout:           w.opts.Timeout,
		RescueStuckJobsAfter: w.opts.Timeout * 3 / 2,
		ReindexerIndexNames:  []string{},
	}
}
