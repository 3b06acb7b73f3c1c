package inventory

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/structseal/structseal/manifest"
)

// Stale reports whether a manifest that was committed says something else than the one
// that the source has now. Line numbers don't count: a comment above a record would
// make every file stale.
func Stale(committed, now *manifest.Manifest) bool {
	a, errA := withoutLines(committed).Text()
	b, errB := withoutLines(now).Text()
	return errA != nil || errB != nil || !bytes.Equal(a, b)
}

func withoutLines(m *manifest.Manifest) *manifest.Manifest {
	out := &manifest.Manifest{Format: m.Format, Records: slices.Clone(m.Records)}
	for i := range out.Records {
		r := &out.Records[i]
		r.Position = fileOf(r.Position)
		r.Binds, r.Fields = slices.Clone(r.Binds), slices.Clone(r.Fields)
		for j := range r.Binds {
			r.Binds[j].Position = fileOf(r.Binds[j].Position)
		}
		for j := range r.Fields {
			r.Fields[j].Position = fileOf(r.Fields[j].Position)
		}
	}
	return out
}

func fileOf(position string) string {
	if i := strings.LastIndexByte(position, ':'); i >= 0 {
		return position[:i]
	}
	return position
}

// Write puts a manifest into a file, whole or not at all. It returns whether the file
// had to change.
func Write(name string, m *manifest.Manifest) (written bool, err error) {
	text, err := m.Text()
	if err != nil {
		return false, err
	}
	if old, err := os.ReadFile(name); err == nil && bytes.Equal(old, text) {
		return false, nil
	}
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*")
	if err != nil {
		return false, fmt.Errorf("inventory: %w", err)
	}
	defer os.Remove(f.Name()) // fails once it is renamed
	_, err = f.Write(text)
	if err == nil {
		err = f.Chmod(0o644)
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		return false, fmt.Errorf("inventory: %w", err)
	}
	return true, nil
}
