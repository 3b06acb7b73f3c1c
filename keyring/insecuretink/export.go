package insecuretink

import (
	"context"
	"fmt"
	"io"

	tinkpb "github.com/tink-crypto/tink-go/v2/proto/tink_go_proto"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/structseal/structseal/internal/secretaccess"
	"github.com/structseal/structseal/keyring"
)

// Export writes the ring's data keys in the clear, as a Tink JSON keyset of AEAD
// keys with the TINK prefix. Ids and the primary are kept. Pending and enabled
// keys are ENABLED; disabled keys, and those that are being destroyed, are
// DISABLED; destroyed ones are left out. It exports what the process knows: call
// ring.Refresh first if others may have rotated.
//
// Errors: those of keyring.Keyring.Primary; w's. w may have got a part.
func Export(ctx context.Context, ring *keyring.Keyring, w io.Writer) error {
	return export(ctx, ring, keyring.Data, w)
}

// ExportDeterministic is [Export] for the deterministic keys: a keyset of
// DeterministicAead keys.
func ExportDeterministic(ctx context.Context, ring *keyring.Keyring, w io.Writer) error {
	return export(ctx, ring, keyring.Deterministic, w)
}

func export(ctx context.Context, ring *keyring.Keyring, p keyring.Purpose, w io.Writer) error {
	keys, err := ring.Materials(ctx, secretaccess.Grant(), p)
	if err != nil {
		return fmt.Errorf("insecuretink: %w", err)
	}
	defer wipe(keys)
	keyset := new(tinkpb.Keyset)
	for _, k := range keys {
		secret := k.Secret(secretaccess.Grant())
		data, err := keyData(k.Suite, secret)
		clear(secret)
		if err != nil {
			return err
		}
		defer clear(data.Value)
		status := tinkpb.KeyStatusType_DISABLED
		switch k.State {
		case keyring.Primary:
			keyset.PrimaryKeyId = k.ID
			status = tinkpb.KeyStatusType_ENABLED
		case keyring.Pending, keyring.Enabled:
			status = tinkpb.KeyStatusType_ENABLED
		}
		keyset.Key = append(keyset.Key, &tinkpb.Keyset_Key{
			KeyData: data, Status: status, KeyId: k.ID, OutputPrefixType: tinkpb.OutputPrefixType_TINK,
		})
	}
	text, err := protojson.Marshal(keyset)
	if err != nil {
		return fmt.Errorf("insecuretink: the keyset can't be encoded") // err could quote it
	}
	defer clear(text)
	if _, err := w.Write(append(text, '\n')); err != nil {
		return fmt.Errorf("insecuretink: %w", err)
	}
	return nil
}

func wipe(keys []keyring.KeyMaterial) {
	for _, k := range keys {
		k.Wipe()
	}
}
