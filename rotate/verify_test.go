package rotate_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/structseal/structseal/keyring"
	"github.com/structseal/structseal/kmsprovider/localkms"
	"github.com/structseal/structseal/rotate"
)

var errListed = errors.New("subjects were listed")

type unlisted struct{ *keyring.MemoryStore }

func (unlisted) ListSubjects(context.Context, string, keyring.SubjectHash, int) ([]keyring.SubjectHash, error) {
	return nil, errListed
}

// A look at rows alone doesn't go through the subjects, and justifies nothing.
func TestRowsOnly(t *testing.T) {
	ctx := t.Context()
	ring, _, err := keyring.Create(ctx, "app", unlisted{keyring.NewMemoryStore()}, localkms.NewRandom(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer ring.Close()
	id, err := ring.Rotate(ctx, keyring.Data, nil)
	if err != nil {
		t.Fatal(err)
	}
	sources := []rotate.Source{&memory{values: []string{"ada@example.net", ""}}}
	if _, _, err := rotate.Verify(ctx, ring, sources, &rotate.VerifyOptions{Everything: true}); !errors.Is(err, errListed) {
		t.Errorf("with subjects: %v", err)
	}
	report, census, err := rotate.Verify(ctx, ring, sources, &rotate.VerifyOptions{Everything: true, RowsOnly: true})
	if err != nil || report.Sources[0].Fields[0].Plaintext != 1 || report.Sources[0].Fields[0].Null != 1 {
		t.Fatalf("%v, %v", report, err)
	}
	if err := ring.Destroy(ctx, id, census, nil); !errors.Is(err, keyring.ErrCensus) {
		t.Errorf("destroyed on the ground of rows alone: %v", err)
	}
}

// slow is a table that takes a while to be read.
type slow struct {
	*memory
	takes time.Duration
}

func (s slow) Scan(ctx context.Context, after string, limit int) ([]rotate.Row, string, error) {
	time.Sleep(s.takes)
	return s.memory.Scan(ctx, after, limit)
}

// A census that began too early says so even if the wait has ended while it counted.
func TestTooEarly(t *testing.T) {
	inTime(t, 1, func(t *testing.T, ring *keyring.Keyring, m *memory) {
		old, err := ring.Primary(t.Context(), keyring.Data)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ring.Rotate(t.Context(), keyring.Data, &keyring.RotateOptions{Now: true}); err != nil {
			t.Fatal(err)
		}
		verify := func(takes time.Duration) rotate.KeyReport {
			report, _, err := rotate.Verify(t.Context(), ring, []rotate.Source{slow{m, takes}}, &rotate.VerifyOptions{Everything: true})
			if err != nil {
				t.Fatal(err)
			}
			for _, k := range report.Keys {
				if k.ID == fmt.Sprintf("%08x", old.ID()) {
					return k
				}
			}
			t.Fatal("the key is not in the report")
			return rotate.KeyReport{}
		}
		if k := verify(0); k.May || !k.TooEarly || k.Wait <= time.Hour {
			t.Errorf("at once: %+v", k)
		}
		if k := verify(24 * time.Hour); k.May || !k.TooEarly || k.Wait != 0 {
			t.Errorf("over meanwhile: %+v", k)
		}
		if k := verify(0); !k.May || k.TooEarly {
			t.Errorf("afterwards: %+v", k)
		}
	})
}
