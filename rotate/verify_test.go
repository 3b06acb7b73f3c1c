package rotate_test

import (
	"context"
	"errors"
	"testing"

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
