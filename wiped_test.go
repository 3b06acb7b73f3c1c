package structseal_test

import (
	"context"
	"errors"
	"testing"

	"github.com/structseal/structseal"
	"github.com/structseal/structseal/crypto"
	"github.com/structseal/structseal/keyring"
	"github.com/structseal/structseal/kmsprovider/localkms"
)

// meanwhile is a value during whose encoding something happens: keys are at hand then,
// and not used yet.
type meanwhile struct{ happens func() }

func (m meanwhile) MarshalText() ([]byte, error) {
	if m.happens != nil {
		m.happens()
	}
	return []byte("text"), nil
}

func (*meanwhile) UnmarshalText([]byte) error { return nil }

type slow struct {
	_     structseal.Record            `seal:"slow"`
	ID    string                       `seal:"id,bind"`
	Value structseal.Sealed[meanwhile] `seal:"value"`
}

// A key that is given up while a record is being sealed is told by why it was, and what
// will go away by itself as such; not as a wiped key.
func TestKeysGivenUpInUse(t *testing.T) {
	for what, c := range map[string]struct {
		happens func(context.Context, *keyring.Keyring, uint32) error
		want    error
	}{
		"closed":   {func(_ context.Context, r *keyring.Keyring, _ uint32) error { return r.Close() }, keyring.ErrClosed},
		"disabled": {func(ctx context.Context, r *keyring.Keyring, id uint32) error { return r.Disable(ctx, id, nil) }, keyring.ErrKeyDisabled},
		"and enabled": {func(ctx context.Context, r *keyring.Keyring, id uint32) error {
			return errors.Join(r.Disable(ctx, id, nil), r.Enable(ctx, id, nil))
		}, structseal.ErrUnavailable},
	} {
		t.Run(what, func(t *testing.T) {
			ctx := t.Context()
			ring, _, err := keyring.Create(ctx, "app", keyring.NewMemoryStore(), localkms.NewRandom(), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer ring.Close()
			key, err := ring.Primary(ctx, keyring.Data)
			if err != nil {
				t.Fatal(err)
			}
			id := key.ID()
			row := slow{ID: "1", Value: structseal.Of(meanwhile{func() {
				if what != "closed" { // only what isn't the primary can be disabled
					if _, err := ring.Rotate(ctx, keyring.Data, &keyring.RotateOptions{Now: true}); err != nil {
						t.Error(err)
					}
				}
				if err := c.happens(ctx, ring, id); err != nil {
					t.Error(err)
				}
			}})}
			_, err = structseal.Encrypt(ctx, ring, row)
			var where *structseal.FieldError
			if !errors.Is(err, c.want) || !errors.As(err, &where) || where.Label != "slow.value" || where.KeyID != id {
				t.Errorf("%v, want %q", err, c.want)
			}
			if c.want != structseal.ErrUnavailable && errors.Is(err, crypto.ErrWiped) {
				t.Errorf("a wiped key is no reason: %v", err)
			}
		})
	}
}
