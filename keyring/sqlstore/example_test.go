package sqlstore_test

import (
	"fmt"
	"log"

	"github.com/structseal/structseal/keyring/sqlstore"
)

// Programs call Migrate at every start. Where administrators make the tables,
// this is what they run.
func ExampleSchema() {
	text, err := sqlstore.Schema(sqlstore.PostgreSQL, nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Print(text)
	// Output:
	// CREATE TABLE IF NOT EXISTS "structseal_schema" (version INTEGER NOT NULL PRIMARY KEY);
	//
	// CREATE TABLE IF NOT EXISTS "structseal_rings" (
	// 	name     text COLLATE "C" PRIMARY KEY,
	// 	revision bigint NOT NULL CHECK (revision > 0),
	// 	data     bytea NOT NULL
	// );
	//
	// INSERT INTO "structseal_schema" (version) VALUES (1) ON CONFLICT (version) DO NOTHING;
	//
	// CREATE TABLE IF NOT EXISTS "structseal_subjects" (
	// 	ring     text COLLATE "C" NOT NULL,
	// 	subject  bytea NOT NULL CHECK (octet_length(subject) = 32),
	// 	revision bigint NOT NULL CHECK (revision > 0),
	// 	data     bytea NOT NULL,
	// 	PRIMARY KEY (ring, subject)
	// );
	//
	// INSERT INTO "structseal_schema" (version) VALUES (2) ON CONFLICT (version) DO NOTHING;
}
