package bench

import (
	"context"

	"gocloud.dev/secrets"
	"gocloud.dev/secrets/localsecrets"
)

var goCloudSecrets = made(Peer{
	Name:   "gocloud-secrets",
	Title:  "gocloud.dev/secrets, localsecrets",
	Module: "gocloud.dev",
	Setup:  "NaCl secretbox. Its API takes no context.",
	Claims: Claims{
		Binary: 24 + 16, Text: 68 - 11,
		Bound: "nothing", Commits: noCommit, Messages: "2^80, no counting",
	},
}, func() (Bytes, error) {
	key, err := localsecrets.NewRandomKey()
	return keeper{context.Background(), localsecrets.NewKeeper(key)}, err
})

type keeper struct {
	ctx context.Context
	*secrets.Keeper
}

func (k keeper) Seal(_, plaintext, _ []byte) ([]byte, error)  { return k.Encrypt(k.ctx, plaintext) }
func (k keeper) Open(_, ciphertext, _ []byte) ([]byte, error) { return k.Decrypt(k.ctx, ciphertext) }
