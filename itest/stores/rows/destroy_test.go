package rows

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/structseal/structseal"
	"github.com/structseal/structseal/keyring"
	"github.com/structseal/structseal/rotate"
)

// The whole way of a key: rotated, rows re-encrypted, verified, refused while one row
// names it, destroyed, erased; every row reads all the time. The waits are short here.
func TestKeyIsDestroyedAfterwards(t *testing.T) {
	const n = 300
	for name, open := range databases {
		t.Run(name, func(t *testing.T) {
			s := open(t)
			ctx := t.Context()
			ring, err := keyring.Open(ctx, "app", s.store, s.kms, s.pin, &keyring.OpenOptions{
				TTL: 100 * time.Millisecond, MaxStale: 2 * time.Second, LongestTransaction: 20 * time.Millisecond, DestroyWait: 100 * time.Millisecond,
			})
			if err != nil {
				t.Fatal(err)
			}
			defer ring.Close()
			app := s.ring(t)
			s.fill(t, app, 1, n)
			old, err := ring.Primary(ctx, keyring.Data)
			if err != nil {
				t.Fatal(err)
			}
			id := old.ID()
			kept := s.read(t)[5] // somebody has a copy of a row
			if _, err := ring.Rotate(ctx, keyring.Data, &keyring.RotateOptions{Now: true}); err != nil {
				t.Fatal(err)
			}
			table := s.table(t, nil)
			all(t, ring, rotate.Reencrypt, table, nil)
			// verified verifies until nothing but what is wrong is in the way.
			verified := func() (*keyring.Census, rotate.KeyReport) {
				for {
					report, census, err := rotate.Verify(ctx, ring, []rotate.Source{table}, &rotate.VerifyOptions{Everything: true})
					if err != nil {
						t.Fatal(err)
					}
					for _, k := range report.Keys {
						if k.ID != fmt.Sprintf("%08x", id) {
							continue
						}
						if !k.TooEarly {
							return census, k
						}
						select {
						case <-time.After(k.Wait):
						case <-ctx.Done():
							t.Fatal(ctx.Err())
						}
					}
				}
			}
			execute1(t, s, "UPDATE customers SET email = ? WHERE id = ?", kept.Email, kept.ID)
			census, k := verified()
			if err := ring.Destroy(ctx, id, census, nil); !errors.Is(err, keyring.ErrInUse) || k.May || k.Values != 1 {
				t.Fatalf("one row is left: %v; %+v", err, k)
			}
			all(t, ring, rotate.Reencrypt, table, nil)
			for _, step := range []func(*keyring.Census) error{
				func(c *keyring.Census) error { return ring.Destroy(ctx, id, c, nil) },
				func(c *keyring.Census) error { return ring.Erase(ctx, id, c, nil) },
			} {
				census, k := verified()
				if !k.May {
					t.Fatalf("%+v", k)
				}
				if err := step(census); err != nil {
					t.Fatal(err)
				}
				s.check(t, app, n, func(int64) int { return 0 })
			}
			if _, err := structseal.Decrypt(ctx, ring, kept); !errors.Is(err, keyring.ErrKeyDestroyed) {
				t.Errorf("the copy of a row: %v", err)
			}
		})
	}
}
