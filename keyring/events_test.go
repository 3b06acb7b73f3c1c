package keyring

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/structseal/structseal/crypto"
	"github.com/structseal/structseal/kmsprovider"
)

// eventLog is a handler that keeps what it is told, and uses the ring, as a handler
// may.
type eventLog struct {
	mu   sync.Mutex
	ring *Keyring
	told []event
	text bytes.Buffer
}

type event struct {
	name  string
	level slog.Level
	attrs map[string]string
	order []string
}

func (l *eventLog) Enabled(context.Context, slog.Level) bool { return true }
func (l *eventLog) WithAttrs([]slog.Attr) slog.Handler       { return l }
func (l *eventLog) WithGroup(string) slog.Handler            { return l }

func (l *eventLog) Handle(ctx context.Context, rec slog.Record) error {
	l.mu.Lock()
	e := event{name: rec.Message, level: rec.Level, attrs: make(map[string]string)}
	rec.Attrs(func(a slog.Attr) bool {
		e.attrs[a.Key] = a.Value.String()
		e.order = append(e.order, a.Key)
		return true
	})
	l.told = append(l.told, e)
	slog.NewTextHandler(&l.text, nil).Handle(ctx, rec)
	ring := l.ring
	l.mu.Unlock()
	if ring != nil {
		ring.Stats()
		ring.Keys()
		ring.withMAC(func(hidden) error { return nil })
		ring.wake()
	}
	return nil
}

// take returns what was told since.
func (l *eventLog) take() []event {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := l.told
	l.told = nil
	return out
}

func (l *eventLog) use(r *Keyring) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ring = r
}

// expect takes the events and compares their names, levels and attributes.
func (l *eventLog) expect(t *testing.T, what string, want ...string) []event {
	t.Helper()
	synctest.Wait() // events are told in the background
	told := l.take()
	var got []string
	for _, e := range told {
		got = append(got, fmt.Sprintf("%s %s %s", e.level, e.name, strings.Join(e.order, " ")))
		if e.attrs["ring"] != "app" {
			t.Errorf("%s: ring %q", what, e.attrs["ring"])
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("%s: told\n%s\nwant\n%s", what, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	return told
}

func TestEvents(t *testing.T) {
	const (
		promoted  = "INFO keyring.key.promoted ring key purpose revision from"
		state     = "INFO keyring.key.state ring key purpose revision from to"
		refused   = "ERROR keyring.key.refused ring key purpose error"
		expired   = "WARN keyring.key.expired ring key purpose"
		opened    = "WARN keyring.circuit.opened ring kek error"
		closed    = "INFO keyring.circuit.closed ring kek"
		failed    = "WARN keyring.refresh.failed ring error"
		recovered = "INFO keyring.refresh.recovered ring failures"
		tampered  = "ERROR keyring.record.tampered ring error"
	)
	inRandomBubble(t, func(t *testing.T, store *fakeStore, kms *fakeKMS, pin Pin) {
		ctx := t.Context()
		log := new(eventLog)
		opts := &OpenOptions{Logger: slog.New(log)}
		ring := must[*Keyring](t)(Open(ctx, "app", store, kms, pin, opts))
		defer ring.Close()
		log.use(ring)
		silent := must[*Keyring](t)(Open(ctx, "app", store, kms, pin, nil))
		defer silent.Close()
		old := store.get(t, "app")
		first := must[*crypto.Key](t)(ring.Primary(ctx, Data))
		log.expect(t, "a good ring")

		// Its own change, and another's.
		id := must[uint32](t)(ring.Rotate(ctx, Data, &RotateOptions{Now: true}))
		for _, e := range log.expect(t, "rotate", promoted, state) {
			want := map[string]string{"ring": "app", "key": fmt.Sprintf("%08x", id), "purpose": "data", "revision": "2", "from": ""}
			if e.name == EventKeyState {
				want["key"], want["from"], want["to"] = fmt.Sprintf("%08x", first.ID()), "primary", "enabled"
			}
			if fmt.Sprint(e.attrs) != fmt.Sprint(want) {
				t.Errorf("%v, want %v", e.attrs, want)
			}
		}
		if err := silent.Disable(ctx, first.ID(), nil); err != nil {
			t.Fatal(err)
		}
		log.expect(t, "not seen yet")
		if err := ring.Refresh(ctx); err != nil {
			t.Fatal(err)
		}
		log.expect(t, "seen", state)

		// The KMS refuses what is in use, and then what is asked for.
		must[*crypto.Key](t)(ring.Primary(ctx, Data))
		kms.down(kmsprovider.ErrDenied)
		time.Sleep(DefaultTTL)
		synctest.Wait()
		log.expect(t, "refused", refused)
		ring.Primary(ctx, Data)
		log.expect(t, "refused again", refused)

		// It is away: once per streak, however many looks fail.
		kms.down(nil)
		time.Sleep(backoffCap)
		must[*crypto.Key](t)(ring.Primary(ctx, Data))
		kms.down(kmsprovider.ErrThrottled)
		time.Sleep(DefaultMaxStale / 2)
		synctest.Wait()
		log.expect(t, "away", failed, opened)
		kms.down(nil)
		time.Sleep(time.Minute)
		synctest.Wait()
		log.expect(t, "back", closed, recovered)

		// So is the store, until the keys expire.
		must[*crypto.Key](t)(ring.Primary(ctx, Data))
		store.down(errors.New("connection refused"))
		time.Sleep(DefaultMaxStale + DefaultTTL)
		synctest.Wait()
		log.expect(t, "store away", failed, expired)
		store.down(nil)
		must[*crypto.Key](t)(ring.Primary(ctx, Data))
		time.Sleep(DefaultTTL)
		synctest.Wait()
		log.expect(t, "store back")

		// Rollback and tampering: once until the record is good again.
		good := store.get(t, "app")
		bad := Record{good.Revision, bytes.Replace(good.Data, []byte("disabled"), []byte("enabled"), 1)}
		for what, r := range map[string]Record{"tampered": bad, "rolled back": old} {
			store.put(t, "app", r)
			for range 3 {
				if err := ring.Refresh(ctx); !suspicious(err) {
					t.Errorf("%s: %v", what, err)
				}
			}
			log.expect(t, what, tampered)
			if what == "tampered" {
				if _, err := Open(ctx, "app", store, kms, pin, opts); !errors.Is(err, ErrTampered) {
					t.Errorf("opened: %v", err)
				}
				log.expect(t, "Open", tampered)
			}
			store.put(t, "app", good)
			if err := ring.Refresh(ctx); err != nil {
				t.Fatal(err)
			}
		}

		for _, secret := range kms.secrets {
			for _, form := range []string{string(secret), hex.EncodeToString(secret), base64.StdEncoding.EncodeToString(secret), base64.RawURLEncoding.EncodeToString(secret), fmt.Sprint(secret)} {
				if strings.Contains(log.text.String(), form) {
					t.Error("a key in the log")
				}
			}
		}
	})
}
