// Package riverrows spreads the row jobs of package rotate over many processes with
// River (github.com/riverqueue/river), a queue of jobs in PostgreSQL: for tables that are
// too large for one process.
//
//	jobs, err := riverrows.New(db, &riverrows.Options{Schema: "structseal_river"})
//	err = jobs.Migrate(ctx)                                     // once: River's tables, and two
//	run, err := jobs.Enqueue(ctx, "app", rotate.Reencrypt, table, nil)
//
//	worker, err := jobs.NewWorker(ring, []*sqlrows.Table{table}, nil)   // in each process
//	client, err := river.NewClient(riverdatabasesql.New(db), jobs.Config(worker, 4))
//	err = client.Start(ctx)
//
//	p, err := jobs.Progress(ctx, "app", rotate.Reencrypt, table, nil)   // anywhere
//
// One River job is a part of the table, of 1,000 rows by default. What it writes of the
// rows, that the part is done, and that the River job is completed, is one transaction
// (river.JobCompleteTx): a completed job's rows are written, and a job whose transaction
// was rolled back isn't completed. Rows are written as package sqlrows does it, so what
// the application writes meanwhile is never lost.
//
// # What is remembered
//
// River deletes the jobs that it has completed, after a day by default, and a run may
// last longer. So two tables beside River's hold what must not be lost:
// structseal_river_runs has a row for each run, and how far it was divided into parts;
// structseal_river_parts has a row for each part: where it begins and ends, how far it
// is, what was done, and the River job that does it. A run is done when it is divided to
// the end, and each part is done, by these tables alone. They hold positions of keys,
// which are primary keys of rows, and counts; no values. River's jobs hold neither, but
// the keys of up to 20 bad rows in their output.
//
// A part and its River job are inserted in one transaction, which also moves the end of
// what is divided. So an enqueuer may be killed anywhere: the next one goes on behind
// the last part that is there. A part whose River job was discarded, cancelled or
// deleted gets a new one from the next Enqueue.
//
// # River
//
// The module uses River's driver for database/sql, riverdatabasesql, so the clients that
// work are of type river.Client[*sql.Tx]; one on pgxpool can't. The driver has no LISTEN
// by itself: clients poll, each second by default, which matters only when a queue was
// empty. (riverdatabasesql.NewWithPgxListener adds it.)
//
// A River client that is elected leader looks after all jobs in its schema, and discards
// stuck ones whose kind it has no worker for. So either all River clients of a schema
// have this package's worker, or the jobs are in a schema of their own.
//
// A worker that is killed leaves its job as running. River notices after
// river.Config.RescueStuckJobsAfter (an hour by default, 90 s with Jobs.Config), looks
// each 30 s, and gives it to another one, which goes on behind the last batch. Each such
// rescue counts as an attempt of the job's 25. What waits, for a KMS or a database that
// is away, doesn't count.
package riverrows
