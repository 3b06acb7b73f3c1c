package riverrows_test

import (
	"context"
	"database/sql"
	"fmt"
	"log"
	"os"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverdatabasesql"

	"github.com/structseal/structseal/keyring"
	"github.com/structseal/structseal/keyring/sqlstore"
	"github.com/structseal/structseal/manifest"
	"github.com/structseal/structseal/rotate"
	"github.com/structseal/structseal/rotate/riverrows"
	"github.com/structseal/structseal/rotate/sqlrows"
)

var ring *keyring.Keyring // of the program

// Every process works; one of them enqueues and tells how far it is.
func Example() {
	ctx := context.Background()
	db, err := sql.Open("pgx", os.Getenv("DATABASE_URL"))
	if err != nil {
		log.Fatal(err)
	}
	m, err := manifest.Load(manifest.FileName)
	if err != nil {
		log.Fatal(err)
	}
	table, err := sqlrows.New(ctx, db, sqlstore.PostgreSQL, m.Record("customer")[0], nil)
	if err != nil {
		log.Fatal(err)
	}
	jobs, err := riverrows.New(db, &riverrows.Options{Schema: "structseal_river"})
	if err != nil {
		log.Fatal(err)
	}

	worker := jobs.NewWorker(ring, []*sqlrows.Table{table}, &riverrows.WorkerOptions{RowsPerSecond: 5000})
	client, err := river.NewClient(riverdatabasesql.New(db), jobs.Config(worker, 4))
	if err != nil {
		log.Fatal(err)
	}
	if err := client.Start(ctx); err != nil {
		log.Fatal(err)
	}
	defer client.Stop(ctx)

	if _, err := jobs.Enqueue(ctx, ring.Name(), rotate.Reencrypt, table, nil); err != nil {
		log.Fatal(err)
	}
	for {
		p, err := jobs.Progress(ctx, ring.Name(), rotate.Reencrypt, table, nil)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%d of %d parts, %d rows written, %d bad\n", p.Ended, p.Parts, p.Written, p.BadRows)
		if p.Done || p.Stopped {
			return
		}
		time.Sleep(time.Second)
	}
}
