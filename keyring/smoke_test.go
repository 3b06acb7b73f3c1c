package keyring

import (
	"context"
	"errors"
	"testing"

	"github.com/structseal/structseal/crypto"
	"github.com/structseal/structseal/kmsprovider/localkms"
)

func TestSmoke(t *testing.T) {
	ctx := context.Background()
	store, err := NewFileStore(t.TempDir() + "/keys")
	if err != nil {
		t.Fatal(err)
	}
	kms := localkms.NewRandom()
	ring, pin, err := Create(ctx, "app", store, kms, nil)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ring.Primary(ctx, Data)
	if err != nil {
		t.Fatal(err)
	}
	ct, err := key.Seal(nil, []byte("hi"), nil)
	if err != nil {
		t.Fatal(err)
	}
	id, err := ring.Rotate(ctx, Data, &RotateOptions{Suite: crypto.Compact})
	if err != nil {
		t.Fatal(err)
	}
	again, err := Open(ctx, "app", store, kms, pin, nil)
	if err != nil {
		t.Fatal(err)
	}
	old, err := again.Key(ctx, Data, key.ID())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := old.Open(nil, ct, nil); err != nil {
		t.Fatal(err)
	}
	if p, err := again.Primary(ctx, Data); err != nil || p.ID() != id || p.Suite() != crypto.Compact {
		t.Fatal(p, err)
	}
	if _, err := again.Key(ctx, Data, 1); !errors.Is(err, ErrUnknownKey) {
		t.Fatal(err)
	}
	if _, _, err := Create(ctx, "app", store, kms, nil); !errors.Is(err, ErrExists) {
		t.Fatal(err)
	}
}
