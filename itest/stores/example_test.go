package stores

import (
	"context"
	"database/sql"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/structseal/structseal/keyring"
	"github.com/structseal/structseal/keyring/sqlstore"
	"github.com/structseal/structseal/kmsprovider/localkms"
)

// A ring in a SQLite file. The driver is the program's choice.
func Example() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "structseal")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	db, err := sql.Open("sqlite", "file:"+filepath.Join(dir, "rings.db")+"?_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)")
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	store, err := sqlstore.New(db, sqlstore.SQLite, nil)
	if err != nil {
		log.Fatal(err)
	}
	if err := store.Migrate(ctx); err != nil {
		log.Fatal(err)
	}
	kms := localkms.NewRandom()
	if _, _, err := keyring.Create(ctx, "app", store, kms, nil); err != nil {
		log.Fatal(err)
	}
	ring, err := keyring.Open(ctx, "app", store, kms, keyring.TrustOnFirstUse, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer ring.Close()
	if _, err := ring.Rotate(ctx, keyring.Data, &keyring.RotateOptions{Now: true}); err != nil {
		log.Fatal(err)
	}
	fmt.Println("revision", ring.Revision())
	// Output: revision 2
}
