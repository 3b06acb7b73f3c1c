package bench

import (
	"context"
	"crypto/rand"

	mpl "github.com/aws/aws-cryptographic-material-providers-library/releases/go/mpl/awscryptographymaterialproviderssmithygenerated"
	mpltypes "github.com/aws/aws-cryptographic-material-providers-library/releases/go/mpl/awscryptographymaterialproviderssmithygeneratedtypes"
	esdk "github.com/aws/aws-encryption-sdk/releases/go/encryption-sdk/awscryptographyencryptionsdksmithygenerated"
	esdktypes "github.com/aws/aws-encryption-sdk/releases/go/encryption-sdk/awscryptographyencryptionsdksmithygeneratedtypes"
)

var awsEncryptionSDK = made(Peer{
	Name:   "aws-esdk",
	Title:  "AWS Encryption SDK",
	Module: "github.com/aws/aws-encryption-sdk/releases/go/encryption-sdk",
	Setup:  "Raw AES keyring, the committing suite without signatures. The SDK for Go has no caching of data keys for this keyring. The context is stored in each ciphertext.",
	Claims: Claims{
		Row: true, Field: true, Binary: 288, Text: 399 - 11,
		Bound: byHand, Commits: "yes", Messages: "1, a key for each value; 2^32 under the wrapping key, not counted",
	},
}, func() (Bytes, error) { return newESDK() })

type esdkBytes struct {
	ctx     context.Context
	client  *esdk.Client
	keyring mpltypes.IKeyring
	suite   mpltypes.ESDKAlgorithmSuiteId
}

func newESDK() (*esdkBytes, error) {
	ctx := context.Background()
	client, err := esdk.NewClient(esdktypes.AwsEncryptionSdkConfig{})
	if err != nil {
		return nil, err
	}
	providers, err := mpl.NewClient(mpltypes.MaterialProvidersConfig{})
	if err != nil {
		return nil, err
	}
	key := make([]byte, 32)
	rand.Read(key)
	keyring, err := providers.CreateRawAesKeyring(ctx, mpltypes.CreateRawAesKeyringInput{
		KeyName:      "k1",
		KeyNamespace: "bench",
		WrappingAlg:  mpltypes.AesWrappingAlgAlgAes256GcmIv12Tag16,
		WrappingKey:  key,
	})
	return &esdkBytes{ctx, client, keyring, mpltypes.ESDKAlgorithmSuiteIdAlgAes256GcmHkdfSha512CommitKey}, err
}

func (e *esdkBytes) Seal(_, plaintext, place []byte) ([]byte, error) {
	out, err := e.client.Encrypt(e.ctx, esdktypes.EncryptInput{
		Plaintext:         plaintext,
		AlgorithmSuiteId:  &e.suite,
		EncryptionContext: map[string]string{"place": string(place)},
		Keyring:           e.keyring,
	})
	if err != nil {
		return nil, err
	}
	return out.Ciphertext, nil
}

func (e *esdkBytes) Open(_, ciphertext, place []byte) ([]byte, error) {
	out, err := e.client.Decrypt(e.ctx, esdktypes.DecryptInput{
		Ciphertext:        ciphertext,
		EncryptionContext: map[string]string{"place": string(place)},
		Keyring:           e.keyring,
	})
	if err != nil {
		return nil, err
	}
	return out.Plaintext, nil
}
