package stores

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/structseal/structseal/keyring"
	"github.com/structseal/structseal/keyring/pgnotify"
	"github.com/structseal/structseal/keyring/sqlstore"
	"github.com/structseal/structseal/kmsprovider/localkms"
)

// longAge is a TTL that no test sees the end of: what is noticed was told.
const longAge = 1000 * time.Hour

// listener hears what is told in a database. gate is asked before each connection.
func (s site) listener(t testing.TB, gate func()) *pgnotify.Listener {
	t.Helper()
	l, err := pgnotify.New(func(ctx context.Context) (*pgx.Conn, error) {
		if gate != nil {
			gate()
		}
		return pgx.Connect(ctx, s.dsn)
	}, &pgnotify.Options{Channel: s.store(t).NoticeChannel()})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// handle is a store, with its notices where it has some.
func (s site) handle(t testing.TB) keyring.Store {
	t.Helper()
	if s.dialect != sqlstore.PostgreSQL {
		return s.store(t)
	}
	return struct {
		*sqlstore.Store
		keyring.Notifier
	}{s.store(t), s.listener(t, nil)}
}

// eventually waits until something is so.
func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !is() {
		if time.Now().After(deadline) {
			t.Fatalf("not within half a minute: %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// pair is two processes with one ring, as it were: the second one listens.
type pair struct {
	site
	*shared
	writer, reader *keyring.Keyring
}

func noticed(t *testing.T, gate func()) pair {
	t.Helper()
	p := pair{site: postgres(t).migrated(t)}
	p.shared = share(t, p.site)
	open := func(opts *keyring.OpenOptions) *keyring.Keyring {
		ring, err := keyring.Open(t.Context(), p.name, p.site.store(t), p.keks[0], p.pin, opts)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { ring.Close() })
		return ring
	}
	p.writer = open(&keyring.OpenOptions{TTL: longAge})
	p.reader = open(&keyring.OpenOptions{TTL: longAge, Notifier: p.listener(t, gate)})
	eventually(t, "the reader listens", func() bool { return p.reader.Stats().Notices > 0 })
	return p
}

func warm(t *testing.T, ring *keyring.Keyring, s keyring.Subject) {
	t.Helper()
	keys, err := ring.EnsureSubject(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	keys.Release()
}

func (p pair) refuses(t *testing.T, s keyring.Subject) func() bool {
	return func() bool {
		keys, err := p.reader.Subject(t.Context(), s)
		if err == nil {
			keys.Release()
			return false
		}
		if !errors.Is(err, keyring.ErrForgotten) {
			t.Fatal(err)
		}
		return true
	}
}

// What one program changes another one notices long before TTL.
func TestNoticesReachOthers(t *testing.T) {
	p := noticed(t, nil)
	ctx := t.Context()
	ada, bob := keyring.Subject{ID: "ada"}, keyring.Subject{ID: "bob"}
	for _, s := range []keyring.Subject{ada, bob} {
		warm(t, p.writer, s)
		warm(t, p.reader, s)
	}
	old, err := p.reader.Primary(ctx, keyring.Data)
	if err != nil {
		t.Fatal(err)
	}
	id, err := p.writer.Rotate(ctx, keyring.Data, &keyring.RotateOptions{Now: true})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the new primary", func() bool {
		key, err := p.reader.Primary(ctx, keyring.Data)
		return err == nil && key.ID() == id
	})
	if err := p.writer.Disable(ctx, old.ID(), nil); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the disabled key", func() bool {
		_, err := p.reader.Key(ctx, keyring.Data, old.ID())
		return errors.Is(err, keyring.ErrKeyDisabled)
	})
	if _, err := p.writer.Forget(ctx, ada, nil); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	eventually(t, "the forgotten subject", p.refuses(t, ada))
	t.Logf("Forget was noticed after %v", time.Since(began).Round(time.Millisecond))
	if p.refuses(t, bob)() {
		t.Error("another subject is gone")
	}
	// And from another process.
	revision := p.reader.Revision()
	child := p.start(t, workRotate, childCount+"=3")
	child.until("ready", func(string) {})
	child.goOn()
	if _, ok := child.until("done", func(string) {}); !ok {
		t.Fatal("the child did not rotate")
	}
	eventually(t, "the child's rotations", func() bool { return p.reader.Revision() == revision+3 })
	child.goOn()
}

// A connection that is lost is replaced, and what was changed meanwhile is noticed
// then.
func TestNoticesAfterReconnect(t *testing.T) {
	open := make(chan bool, 1)
	open <- true
	p := noticed(t, func() { <-open })
	ctx := t.Context()
	db := p.site.open(t)
	ada := keyring.Subject{ID: "ada"}
	for range 3 {
		warm(t, p.writer, ada)
		warm(t, p.reader, ada)
		if n := count(t, db, "SELECT COUNT(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN %'"); n != 1 {
			t.Fatalf("%d listeners", n)
		}
		eventually(t, "the listener is gone", func() bool {
			return count(t, db, "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN %'") == 0
		})
		if _, err := p.writer.Rotate(ctx, keyring.Data, &keyring.RotateOptions{Now: true}); err != nil {
			t.Fatal(err)
		}
		if _, err := p.writer.Forget(ctx, ada, nil); err != nil {
			t.Fatal(err)
		}
		if p.refuses(t, ada)() || p.reader.Revision() == p.writer.Revision() {
			t.Fatal("noticed without a connection: the test says nothing")
		}
		open <- true
		eventually(t, "the forgotten subject", p.refuses(t, ada))
		eventually(t, "the rotation", func() bool { return p.reader.Revision() == p.writer.Revision() })
		if err := p.writer.Revive(ctx, ada, &keyring.ReviveOptions{Now: true}); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the revived subject", func() bool { return !p.refusesEnsure(t, ada) })
	}
	p.reader.Close()
	eventually(t, "no connection is left", func() bool {
		return count(t, db, "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN %'") == 0
	})
}

func (p pair) refusesEnsure(t *testing.T, s keyring.Subject) bool {
	keys, err := p.reader.EnsureSubject(t.Context(), s)
	keys.Release()
	return err != nil
}

// Every role may send notices: 10,000 forged ones make few reads.
func TestForgedNoticesAreLimited(t *testing.T) {
	p := noticed(t, nil)
	ctx := t.Context()
	warm(t, p.reader, keyring.Subject{ID: "ada"})
	c, err := p.site.open(t).Conn(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var subject string
	if err := c.QueryRowContext(ctx, "SELECT ring || '/' || encode(subject, 'hex') FROM structseal_subjects").Scan(&subject); err != nil {
		t.Fatal(err)
	}
	before, began := p.reader.Stats(), time.Now()
	const forged = 10_000
	for i := range forged {
		payload := []string{p.name, subject, "nonsense", p.name + "/" + strings.Repeat("00", 32)}[i%4]
		if _, err := c.ExecContext(ctx, "SELECT pg_notify('structseal_notices', $1)", payload); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the notices have arrived", func() bool { return p.reader.Stats().Notices-before.Notices >= forged/4*3 })
	after, seconds := p.reader.Stats(), uint64(time.Since(began)/time.Second)
	// Eight looks at once and one a second, each at the record and at subjects.
	reads, most := after.StoreReads-before.StoreReads, 2*(8+seconds+1)
	if reads > most || reads < 2 {
		t.Errorf("%d reads in %d seconds, at most %d", reads, seconds, most)
	}
	if n := after.KEKs[0].Unwraps - before.KEKs[0].Unwraps; n != 0 {
		t.Errorf("%d KMS calls", n)
	}
	t.Logf("%d forged notices in %d seconds made %d reads", forged, seconds, reads)
}

// A notice goes out with the commit, and not at all with a rollback or where they are
// switched off.
func TestNoticesFollowTheCommit(t *testing.T) {
	s := postgres(t).migrated(t)
	ctx := t.Context()
	conn, err := pgx.Connect(ctx, s.dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	store, db := s.store(t), s.open(t)
	if _, err := conn.Exec(ctx, "LISTEN "+store.NoticeChannel()); err != nil {
		t.Fatal(err)
	}
	marks := 0
	// heard returns what was told up to now: up to a mark of our own.
	heard := func() (list []string) {
		t.Helper()
		marks++
		mark := fmt.Sprint("mark ", marks)
		if _, err := db.ExecContext(ctx, "SELECT pg_notify($1, $2)", store.NoticeChannel(), mark); err != nil {
			t.Fatal(err)
		}
		for {
			n, err := conn.WaitForNotification(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if n.Payload == mark {
				return list
			}
			list = append(list, n.Payload)
		}
	}
	expect := func(what string, want ...string) {
		t.Helper()
		if got := heard(); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: heard %q, want %q", what, got, want)
		}
	}
	h := keyring.SubjectHash{0xab}
	subject := "app/ab" + strings.Repeat("00", 31)
	change := func(in keyring.SubjectStore, old uint64, conflict bool) {
		t.Helper()
		next := keyring.Record{Revision: old + 1}
		for _, err := range []error{in.CompareAndSwap(ctx, "app", old, next), in.CompareAndSwapSubject(ctx, "app", h, old, next)} {
			if errors.Is(err, keyring.ErrConflict) != conflict || err != nil && !conflict {
				t.Fatal(err)
			}
		}
	}
	change(store, 0, false)
	expect("creation")
	change(store, 1, false)
	expect("change", "app", subject)
	change(store, 1, true)
	expect("conflict")
	tx := begin(t, db)
	change(store.WithTx(tx).(keyring.SubjectStore), 2, false)
	expect("before the commit")
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	expect("commit", "app", subject)
	tx = begin(t, db)
	change(store.WithTx(tx).(keyring.SubjectStore), 3, false)
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	expect("rollback")
	mute, err := sqlstore.New(db, s.dialect, &sqlstore.Options{NoNotices: true})
	if err != nil {
		t.Fatal(err)
	}
	change(mute, 3, false)
	expect("NoNotices")
}

// One connection for many rings, and none without.
func TestOneListenerForManyRings(t *testing.T) {
	s := postgres(t).migrated(t)
	ctx, kms := t.Context(), localkms.NewRandom()
	store, listener, db := s.store(t), s.listener(t, nil), s.open(t)
	listeners := func() int {
		return count(t, db, "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN %'")
	}
	for range 2 {
		var rings []*keyring.Keyring
		for range 10 {
			ring, _, err := keyring.Create(ctx, random(), store, kms, &keyring.CreateOptions{OpenOptions: keyring.OpenOptions{TTL: longAge, Notifier: listener}})
			if err != nil {
				t.Fatal(err)
			}
			defer ring.Close()
			rings = append(rings, ring)
		}
		for _, r := range rings {
			eventually(t, "each listens", func() bool { return r.Stats().Notices == 1 })
		}
		if n := listeners(); n != 1 {
			t.Errorf("%d connections", n)
		}
		other, err := keyring.Open(ctx, rings[3].Name(), store, kms, rings[3].Pin(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := other.Rotate(ctx, keyring.Data, nil); err != nil {
			t.Fatal(err)
		}
		other.Close()
		eventually(t, "the one", func() bool { return rings[3].Revision() == 2 })
		if n := rings[4].Stats().Notices; n != 1 {
			t.Errorf("another ring was told: %d notices", n)
		}
		for _, r := range rings {
			r.Close()
		}
		eventually(t, "no connection is left", func() bool { return listeners() == 0 })
	}
}
