package keyring

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/structseal/structseal/internal/durable"
)

const (
	// anchorMagic is a file anchor's first line. A line for each ring follows, in
	// the order of their names: name, revision, digest in unpadded base64url.
	anchorMagic = "structseal-anchor/1"
	maxAnchor   = 1 << 20
)

// A FileAnchor keeps the highest revisions of rings in a file, for the programs of
// one machine. Put it where whoever can write the store, or restore its backups,
// can't: another disk, another owner. Deleting the file forgets them all; the next
// Open begins anew.
//
// Its writes are as durable as those of [FileStore]: beside the file there are
// path.lock, which stays, and for a moment path.tmp.
type FileAnchor struct{ path string }

var _ Anchor = (*FileAnchor)(nil)

// fileAnchorHook is told each step of a write by name, for tests that kill the
// process there.
var fileAnchorHook = func(step string) {}

// NewFileAnchor returns the anchor in the file at path. The file is made by the
// first Raise, its directory here, with mode 0700, if it does not exist.
//
// Errors: ErrInsecure if others may write the directory.
func NewFileAnchor(path string) (*FileAnchor, error) {
	// A relative path must not follow a later chdir.
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("keyring: file anchor: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(abs), 0o700); err != nil {
		return nil, fmt.Errorf("keyring: file anchor: %w", err)
	}
	a := &FileAnchor{abs}
	if err := a.checkDir(); err != nil {
		return nil, fmt.Errorf("keyring: %w", err)
	}
	return a, nil
}

// checkDir refuses a directory in which others could put another file.
func (a *FileAnchor) checkDir() error {
	dir := filepath.Dir(a.path)
	fi, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("file anchor: %w", err)
	}
	if runtime.GOOS != "windows" && fi.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("file anchor: %s: %w: mode %#o; run chmod go-w and find out who changed it", dir, ErrInsecure, fi.Mode().Perm())
	}
	return nil
}

// Highest implements [Anchor]. What it returns is durable.
//
// Errors: ErrName; ErrInsecure; ErrFormat, ErrCorrupt.
func (a *FileAnchor) Highest(ctx context.Context, name string) (revision uint64, digest [32]byte, err error) {
	if err := a.check(ctx, name); err != nil {
		return 0, digest, err
	}
	all, err := a.read()
	if err != nil {
		return 0, digest, err
	}
	h := all[name]
	return h.revision, h.digest, a.sync()
}

// Raise implements [Anchor]. It waits for others as long as ctx allows.
//
// Errors: ErrRollback; ErrTooLarge for about 7,000 rings with the longest names;
// ErrName; ErrInsecure; ErrFormat, ErrCorrupt; ErrUnavailable when the lock could
// not be had in time.
func (a *FileAnchor) Raise(ctx context.Context, name string, revision uint64, digest [32]byte) error {
	if err := a.check(ctx, name); err != nil {
		return err
	}
	unlock, err := lockFile(ctx, a.path+".lock")
	if err != nil {
		return fmt.Errorf("file anchor: %w", err)
	}
	defer unlock()
	fileAnchorHook("locked")
	all, err := a.read()
	if err != nil {
		return err
	}
	have := all[name]
	switch {
	case have.revision == revision && have.digest != digest:
		return fmt.Errorf("file anchor: %w: another revision %d was raised", ErrRollback, revision)
	case have.revision >= revision:
		return a.sync()
	}
	all[name] = anchored{revision, digest}
	text := formatAnchors(all)
	if len(text) > maxAnchor {
		return fmt.Errorf("file anchor: %s: %w: %d rings; use several files", a.path, ErrTooLarge, len(all))
	}
	if err := replaceFile(a.path, a.path+".tmp", a.sync, fileAnchorHook, text); err != nil {
		return fmt.Errorf("file anchor: %w", err)
	}
	return nil
}

func (a *FileAnchor) sync() error { return durable.SyncDir(filepath.Dir(a.path)) }

func (a *FileAnchor) check(ctx context.Context, name string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := validName(name); err != nil {
		return err
	}
	return a.checkDir()
}

func (a *FileAnchor) read() (map[string]anchored, error) {
	text, err := readPrivate(a.path, maxAnchor+1)
	if errors.Is(err, fs.ErrNotExist) {
		return make(map[string]anchored), nil
	}
	if err != nil {
		return nil, fmt.Errorf("file anchor: %w", err)
	}
	all, err := parseAnchors(text)
	if err != nil {
		return nil, fmt.Errorf("file anchor: %s: %w", a.path, err)
	}
	return all, nil
}

func formatAnchors(all map[string]anchored) []byte {
	var names []string
	for name := range all {
		names = append(names, name)
	}
	slices.Sort(names)
	out := []byte(anchorMagic + "\n")
	for _, name := range names {
		h := all[name]
		out = fmt.Appendf(out, "%s %d %s\n", name, h.revision, encoding.EncodeToString(h.digest[:]))
	}
	return out
}

// parseAnchors accepts exactly what formatAnchors makes.
//
// Errors: ErrFormat, ErrCorrupt.
func parseAnchors(text []byte) (map[string]anchored, error) {
	rest, ok := strings.CutPrefix(string(text), anchorMagic+"\n")
	if !ok {
		return nil, fmt.Errorf("%w: the file does not start with %q", ErrFormat, anchorMagic)
	}
	all := make(map[string]anchored)
	for line := range strings.Lines(rest) {
		fields := strings.Split(strings.TrimSuffix(line, "\n"), " ")
		if len(fields) != 3 || validName(fields[0]) != nil {
			return nil, fmt.Errorf("%w: a line is damaged", ErrCorrupt)
		}
		revision, err := strconv.ParseUint(fields[1], 10, 63)
		digest, err2 := encoding.DecodeString(fields[2])
		if err != nil || err2 != nil || len(digest) != 32 || revision == 0 {
			return nil, fmt.Errorf("%w: the line of ring %q is damaged", ErrCorrupt, fields[0])
		}
		all[fields[0]] = anchored{revision, [32]byte(digest)}
	}
	if len(text) > maxAnchor || !bytes.Equal(formatAnchors(all), text) {
		return nil, fmt.Errorf("%w: not in canonical form", ErrCorrupt)
	}
	return all, nil
}
