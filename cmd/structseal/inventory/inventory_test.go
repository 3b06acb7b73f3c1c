package inventory_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/structseal/structseal/cmd/structseal/inventory"
	"github.com/structseal/structseal/manifest"
)

func TestLoadErrors(t *testing.T) {
	var le *inventory.LoadError
	if _, err := inventory.Load(t.Context(), inventory.Options{Patterns: []string{"./nothing"}}); !errors.As(err, &le) || len(le.Errors) == 0 {
		t.Errorf("a directory that isn't there: %v", err)
	}
	if _, err := inventory.Load(t.Context(), inventory.Options{Dir: filepath.Join(t.TempDir(), "none")}); !errors.As(err, &le) {
		t.Errorf("no working directory: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := inventory.Load(ctx, inventory.Options{Patterns: []string{"./testdata/good"}}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestStale(t *testing.T) {
	record := func(change func(*manifest.Record)) *manifest.Manifest {
		r := manifest.Record{Label: "a", Type: "m.A", Position: "a.go:1",
			Binds:  []manifest.Bind{{Label: "id", Field: "ID", Type: "string", Position: "a.go:2", Kind: manifest.BindText}},
			Fields: []manifest.Field{{Path: []string{"b"}, Field: "B", Type: "string", Position: "a.go:3", Form: manifest.FormString}}}
		change(&r)
		return &manifest.Manifest{Format: manifest.Format, Records: []manifest.Record{r}}
	}
	was := record(func(*manifest.Record) {})
	for name, c := range map[string]struct {
		change func(*manifest.Record)
		stale  bool
	}{
		"nothing": {func(*manifest.Record) {}, false},
		"lines": {func(r *manifest.Record) {
			r.Position, r.Binds[0].Position, r.Fields[0].Position = "a.go:10", "a.go:11", "a.go:12"
		}, false},
		"a file":       {func(r *manifest.Record) { r.Fields[0].Position = "b.go:3" }, true},
		"bind's file":  {func(r *manifest.Record) { r.Binds[0].Position = "b.go:2" }, true},
		"the record's": {func(r *manifest.Record) { r.Position = "b.go:1" }, true},
		"a type":       {func(r *manifest.Record) { r.Fields[0].Type = "m.B" }, true},
		"a column":     {func(r *manifest.Record) { r.Fields[0].Column = "b" }, true},
	} {
		if now := record(c.change); inventory.Stale(was, now) != c.stale || inventory.Stale(now, was) != c.stale {
			t.Errorf("%s: want %t", name, c.stale)
		}
	}
	if was.Records[0].Fields[0].Position != "a.go:3" {
		t.Error("the manifest was changed")
	}
}

// TestWrite: whole or not at all, and not when nothing changed.
func TestWrite(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "structseal.json")
	m := &manifest.Manifest{Format: manifest.Format}
	if written, err := inventory.Write(name, m); err != nil || !written {
		t.Fatal(written, err)
	}
	if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o644 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if written, err := inventory.Write(name, m); err != nil || written {
		t.Errorf("again: %t, %v", written, err)
	}
	if err := os.Mkdir(filepath.Join(dir, "taken"), 0o700); err != nil {
		t.Fatal(err)
	}
	if written, err := inventory.Write(filepath.Join(dir, "taken"), m); err == nil || written {
		t.Errorf("over a directory: %t, %v", written, err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 2 {
		t.Errorf("left over: %v, %v", entries, err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			t.Errorf("left over: %s", e.Name())
		}
	}
}
