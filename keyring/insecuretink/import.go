package insecuretink

import (
	"context"
	"fmt"
	"io"

	tinkpb "github.com/tink-crypto/tink-go/v2/proto/tink_go_proto"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/structseal/structseal/crypto"
	"github.com/structseal/structseal/internal/secretaccess"
	"github.com/structseal/structseal/keyring"
	"github.com/structseal/structseal/kmsprovider"
)

// maxKeyset bounds what is read.
const maxKeyset = 1 << 20

// Import makes a new ring of the keys of cleartext Tink JSON keysets: aead has
// XAesGcmKey and AesGcmKey keys, daead, which may be nil, AesSivKey keys. Ids and
// the primaries are kept; DISABLED keys come in disabled, DESTROYED ones, which
// have no bytes, are left out. Every other purpose gets a fresh key. It never
// overwrites a ring.
//
// Errors: ErrKeyset for anything else: other key types and sizes, a salt_size
// other than 12, an output prefix other than TINK, ids that are not unique over
// both keysets, a primary that isn't ENABLED; those of keyring.Create; the
// readers'.
func Import(ctx context.Context, name string, store keyring.Store, kms kmsprovider.Provider, aead, daead io.Reader) (*keyring.Keyring, keyring.Pin, error) {
	keys, err := read(keyring.Data, aead)
	defer func() { wipe(keys) }()
	if err == nil && daead != nil {
		var more []keyring.KeyMaterial
		more, err = read(keyring.Deterministic, daead)
		keys = append(keys, more...)
	}
	if err == nil {
		err = unique(keys)
	}
	if err != nil {
		return nil, keyring.Pin{}, fmt.Errorf("insecuretink: %w", err)
	}
	ring, pin, err := keyring.Import(ctx, secretaccess.Grant(), name, store, kms, keys, nil)
	if err != nil {
		return nil, pin, fmt.Errorf("insecuretink: %w", err)
	}
	return ring, pin, nil
}

// read returns the keys of one keyset, also on error, for wiping.
func read(p keyring.Purpose, r io.Reader) (keys []keyring.KeyMaterial, err error) {
	text, err := io.ReadAll(io.LimitReader(r, maxKeyset+1))
	defer func() { clear(text) }()
	if err != nil {
		return nil, err
	}
	if len(text) > maxKeyset {
		return nil, fmt.Errorf("%w: more than %d bytes", ErrKeyset, maxKeyset)
	}
	keyset := new(tinkpb.Keyset)
	if err := protojson.Unmarshal(text, keyset); err != nil {
		return nil, fmt.Errorf("%w: not a tink JSON keyset", ErrKeyset) // err could quote a key
	}
	primary := false
	for _, k := range keyset.GetKey() {
		fail := func(err error) ([]keyring.KeyMaterial, error) {
			return keys, fmt.Errorf("%s keyset: key %08x: %w", p, k.GetKeyId(), err)
		}
		state := keyring.Enabled
		switch k.GetStatus() {
		case tinkpb.KeyStatusType_ENABLED:
			if k.GetKeyId() == keyset.GetPrimaryKeyId() {
				state, primary = keyring.Primary, true
			}
		case tinkpb.KeyStatusType_DISABLED:
			state = keyring.Disabled
		case tinkpb.KeyStatusType_DESTROYED:
			continue
		default:
			return fail(fmt.Errorf("%w: unknown status", ErrKeyset))
		}
		if k.GetOutputPrefixType() != tinkpb.OutputPrefixType_TINK {
			return fail(fmt.Errorf("%w: output prefix %s; a ciphertext must name its key, so only TINK will do", ErrKeyset, k.GetOutputPrefixType()))
		}
		suite, secret, err := parseKeyData(k.GetKeyData())
		if err != nil {
			return fail(err)
		}
		if (suite == crypto.Deterministic) != (p == keyring.Deterministic) {
			return fail(fmt.Errorf("%w: a %s key has no place in the %s keyset", ErrKeyset, suite, p))
		}
		keys = append(keys, keyring.NewKeyMaterial(secretaccess.Grant(), k.GetKeyId(), p, suite, state, secret))
		clear(secret)
		clear(k.GetKeyData().GetValue())
	}
	if !primary {
		return keys, fmt.Errorf("%s keyset: %w: its primary is not an ENABLED key", p, ErrKeyset)
	}
	return keys, nil
}

func unique(keys []keyring.KeyMaterial) error {
	seen := make(map[uint32]bool)
	for _, k := range keys {
		if k.ID == 0 || seen[k.ID] {
			return fmt.Errorf("%w: key id %08x is zero or not unique over both keysets", ErrKeyset, k.ID)
		}
		seen[k.ID] = true
	}
	return nil
}
