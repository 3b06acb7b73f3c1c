package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/structseal/structseal/cmd/structseal/inventory"
	"github.com/structseal/structseal/keyring"
	"github.com/structseal/structseal/manifest"
	"github.com/structseal/structseal/rotate"
	"github.com/structseal/structseal/rotate/sqlrows"
)

// lookAtRows looks at the manifest, and at rows. ring may be nil.
func (x *examination) lookAtRows(ctx context.Context, ring *keyring.Keyring) {
	if x.Manifest == "" {
		x.found(isSkipped, "manifest", "", "none is given", "")
		return
	}
	m, err := x.loadManifest()
	do := ""
	if errors.Is(err, fs.ErrNotExist) {
		do = "structseal inventory writes it."
	}
	if x.failed("manifest", "", err, do) {
		return
	}
	if len(x.source) > 0 {
		x.compareSource(ctx, m)
	}
	if x.DSN == "" {
		x.found(isSkipped, "manifest", "tables", "no database with rows is given", "")
		return
	}
	records, apart, err := x.tablesOf(m)
	if x.failed("manifest", "", err, "") {
		return
	}
	if len(apart) > 0 {
		x.found(isSkipped, "manifest", strings.Join(apart, ", "), "no table is known", "Name it in the file with settings, if there is one.")
	}
	db, err := x.openRows(ctx)
	if x.failed("manifest", "tables", err, "Look at --dsn.") {
		return
	}
	x.compareClock(databaseClock(ctx, "the rows'", db))
	for _, r := range records {
		about := fmt.Sprintf("%s in %s", r.Label, r.Table)
		table, err := sqlrows.New(ctx, db.DB, db.dialect, r.Record, &r.options)
		if x.failed("manifest", about, err, "The manifest and the table are of different versions of the program; or name the table in the file with settings.") {
			continue
		}
		x.found(isFine, "manifest", about, "it fits the table", "")
		if ring != nil {
			x.lookForPlaintext(ctx, ring, about, table)
		}
	}
}

// compareSource tells whether the manifest says what the source says.
func (x *examination) compareSource(ctx context.Context, m *manifest.Manifest) {
	inv, err := inventory.Load(ctx, inventory.Options{Patterns: x.source})
	if x.failed("manifest", "source", err, "") {
		return
	}
	if len(inv.Problems) > 0 {
		x.found(isFailed, "manifest", "source", fmt.Sprintf("%s that package structseal refuses", count(len(inv.Problems), "tag")), "structseal inventory lists them.")
		return
	}
	if inventory.Stale(m, inv.Manifest) {
		x.found(isFailed, "manifest", "source", "it doesn't say what the source says", fmt.Sprintf("structseal inventory -o %s %s", x.Manifest, strings.Join(x.source, " ")))
		return
	}
	x.found(isFine, "manifest", "source", "it says what the source says", "")
}

// lookForPlaintext counts what is in the first rows of a table.
func (x *examination) lookForPlaintext(ctx context.Context, ring *keyring.Keyring, about string, table *sqlrows.Table) {
	report, _, err := rotate.Verify(ctx, ring, []rotate.Source{&sampled{Table: table, left: x.sample}}, &rotate.VerifyOptions{RowsOnly: true})
	if x.failed("plaintext", about, err, "") {
		return
	}
	s := report.Sources[0]
	fine := true
	for _, f := range s.Fields {
		for _, bad := range []struct {
			n        int64
			what, do string
		}{
			{f.Plaintext, "plaintext", "rows backfill encrypts it. A program that forgot Encrypt, or a column that is new?"},
			{f.Malformed, "broken", ""},
			{f.Unknown, "of keys that the ring doesn't have", "Look at --ring, and whether an older ring was restored."},
		} {
			if bad.n > 0 {
				fine = false
				x.found(isFailed, "plaintext", about, fmt.Sprintf("%s: %d of %s are %s", f.Field, bad.n, count(int(s.Rows), "row"), bad.what), bad.do)
			}
		}
	}
	if fine {
		x.found(isFine, "plaintext", about, fmt.Sprintf("none in %s", count(int(s.Rows), "row")), "")
	}
}

// A sampled source has only the first rows.
type sampled struct {
	*sqlrows.Table
	left int
}

func (s *sampled) Scan(ctx context.Context, after string, limit int) ([]rotate.Row, string, error) {
	rows, next, err := s.Table.Scan(ctx, after, min(limit, s.left))
	if s.left -= len(rows); s.left <= 0 {
		next = ""
	}
	return rows, next, err
}
