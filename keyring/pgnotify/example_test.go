package pgnotify_test

import (
	"context"
	"database/sql"
	"log"
	"os"

	"github.com/jackc/pgx/v5"
	_ "github.com/jackc/pgx/v5/stdlib"

	"github.com/structseal/structseal/keyring"
	"github.com/structseal/structseal/keyring/pgnotify"
	"github.com/structseal/structseal/keyring/sqlstore"
	"github.com/structseal/structseal/kmsprovider/localkms"
)

// The store is on any pool; the listener has a connection of its own, to the server
// itself.
func Example() {
	ctx := context.Background()
	db, err := sql.Open("pgx", os.Getenv("DATABASE_URL"))
	if err != nil {
		log.Fatal(err)
	}
	store, err := sqlstore.New(db, sqlstore.PostgreSQL, nil)
	if err != nil {
		log.Fatal(err)
	}
	listener, err := pgnotify.New(func(ctx context.Context) (*pgx.Conn, error) {
		return pgx.Connect(ctx, os.Getenv("DATABASE_DIRECT_URL"))
	}, &pgnotify.Options{Channel: store.NoticeChannel()})
	if err != nil {
		log.Fatal(err)
	}
	kms, err := localkms.OpenKeyFile("app.kek")
	if err != nil {
		log.Fatal(err)
	}
	pin, err := keyring.ParsePin(os.Getenv("RING_PIN"))
	if err != nil {
		log.Fatal(err)
	}
	ring, err := keyring.Open(ctx, "app", store, kms, pin, &keyring.OpenOptions{Notifier: listener})
	if err != nil {
		log.Fatal(err)
	}
	defer ring.Close()
}
