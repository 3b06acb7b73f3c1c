// Package rotate works through the rows of live tables: it re-encrypts what is under an
// old key, encrypts what is still plaintext, and counts which keys are in use, so that
// an old one may be destroyed.
//
//	table, err := sqlrows.New(ctx, db, sqlstore.PostgreSQL, record, nil)   // a Source
//	plan, err := rotate.Plan(ctx, ring, rotate.Reencrypt, table, nil)      // a dry run
//	for p, err := range rotate.Run(ctx, ring, rotate.Reencrypt, table, nil) {
//		if err != nil { ... }
//		fmt.Println(p.Rows, p.Rate, p.Left)                            // a durable batch
//	}
//	report, census, err := rotate.Verify(ctx, ring, []rotate.Source{table}, nil)
//	err = ring.Destroy(ctx, old, census, nil)
//
// The application goes on reading and writing all the time. A row is written only if
// every value that was read of it is still there; otherwise it is read again and done
// again. A value is skipped by its header, without decrypting it, when it is under the
// primary key already. What was sealed is opened again and compared before it is
// written.
//
// A job is stopped by leaving the loop, and goes on with the next Run, in this process
// or another. Any number of workers share a job. A worker that is killed loses the
// batch that it was at, and nothing else.
//
// The rows come from a [Source]; package rotate/sqlrows has the one for PostgreSQL,
// MySQL, MariaDB and SQLite. What is sealed in them comes from a manifest (package
// manifest), so a tool can do it that doesn't know the program's types.
//
// # Security considerations
//
// A job has the rights of the application: it unwraps keys and sees plaintexts, for as
// long as a batch takes. A census proves no more than what was looked at: backups,
// replicas, exports and queues hold ciphertexts, too. A row whose key is changed, or
// that is put back from a copy while a job runs, may be left out: the census finds it.
package rotate
