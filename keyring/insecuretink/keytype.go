package insecuretink

import (
	"errors"
	"fmt"

	aesgcmpb "github.com/tink-crypto/tink-go/v2/proto/aes_gcm_go_proto"
	aessivpb "github.com/tink-crypto/tink-go/v2/proto/aes_siv_go_proto"
	tinkpb "github.com/tink-crypto/tink-go/v2/proto/tink_go_proto"
	xaesgcmpb "github.com/tink-crypto/tink-go/v2/proto/x_aes_gcm_go_proto"
	"google.golang.org/protobuf/proto"

	"github.com/structseal/structseal/crypto"
)

const (
	typeXAESGCM = "type.googleapis.com/google.crypto.tink.XAesGcmKey"
	typeAESGCM  = "type.googleapis.com/google.crypto.tink.AesGcmKey"
	typeAESSIV  = "type.googleapis.com/google.crypto.tink.AesSivKey"

	saltSize = 12 // of the default suite
)

// ErrKeyset: not a Tink JSON keyset that can become part of a ring.
var ErrKeyset = errors.New("unsupported tink keyset")

// keyData makes Tink's form of a key.
func keyData(suite crypto.Suite, secret []byte) (*tinkpb.KeyData, error) {
	var url string
	var msg proto.Message
	switch suite {
	case crypto.Default:
		url, msg = typeXAESGCM, &xaesgcmpb.XAesGcmKey{Params: &xaesgcmpb.XAesGcmParams{SaltSize: saltSize}, KeyValue: secret}
	case crypto.Compact:
		url, msg = typeAESGCM, &aesgcmpb.AesGcmKey{KeyValue: secret}
	case crypto.Deterministic:
		url, msg = typeAESSIV, &aessivpb.AesSivKey{KeyValue: secret}
	default:
		return nil, fmt.Errorf("insecuretink: no tink key type for suite %s", suite)
	}
	value, err := proto.Marshal(msg)
	if err != nil {
		return nil, fmt.Errorf("insecuretink: %w", err)
	}
	return &tinkpb.KeyData{TypeUrl: url, Value: value, KeyMaterialType: tinkpb.KeyData_SYMMETRIC}, nil
}

// parseKeyData is the inverse of keyData. It refuses what no suite has. Errors
// never wrap the decoder's, which could quote the key.
func parseKeyData(data *tinkpb.KeyData) (crypto.Suite, []byte, error) {
	if data.GetKeyMaterialType() != tinkpb.KeyData_SYMMETRIC {
		return 0, nil, fmt.Errorf("%w: not a symmetric key", ErrKeyset)
	}
	var suite crypto.Suite
	var msg interface {
		proto.Message
		GetVersion() uint32
		GetKeyValue() []byte
	}
	switch data.GetTypeUrl() {
	case typeXAESGCM:
		suite, msg = crypto.Default, new(xaesgcmpb.XAesGcmKey)
	case typeAESGCM:
		suite, msg = crypto.Compact, new(aesgcmpb.AesGcmKey)
	case typeAESSIV:
		suite, msg = crypto.Deterministic, new(aessivpb.AesSivKey)
	default:
		return 0, nil, fmt.Errorf("%w: key type %.100q; rings hold XAesGcmKey, AesGcmKey and AesSivKey", ErrKeyset, data.GetTypeUrl())
	}
	if err := proto.Unmarshal(data.GetValue(), msg); err != nil || len(msg.ProtoReflect().GetUnknown()) > 0 {
		return 0, nil, fmt.Errorf("%w: damaged key data", ErrKeyset)
	}
	if msg.GetVersion() != 0 {
		return 0, nil, fmt.Errorf("%w: version %d of its key type", ErrKeyset, msg.GetVersion())
	}
	if x, ok := msg.(*xaesgcmpb.XAesGcmKey); ok && x.GetParams().GetSaltSize() != saltSize {
		return 0, nil, fmt.Errorf("%w: salt_size %d; the default suite's is %d", ErrKeyset, x.GetParams().GetSaltSize(), saltSize)
	}
	if n := len(msg.GetKeyValue()); n != suite.KeySize() {
		return 0, nil, fmt.Errorf("%w: a key of %d bytes; %s takes %d", ErrKeyset, n, suite, suite.KeySize())
	}
	return suite, msg.GetKeyValue(), nil
}
