//go:build cgo

package kms

import (
	"errors"
	"os"
	"testing"

	"github.com/structseal/structseal/keyring"
	"github.com/structseal/structseal/kmsprovider"
	"github.com/structseal/structseal/kmsprovider/kmstest"
)

// A pair is a key-encryption key in the fake of AWS and one in SoftHSM.
type pair struct {
	aws    aws
	hsm    hsm
	places [2]place
	kms    [2]kmsprovider.Provider
}

// newPair makes both keys.
func newPair(t *testing.T, a aws, h hsm) *pair {
	t.Helper()
	p := &pair{aws: a, hsm: h, places: [2]place{a.make(t), h.make(t)}}
	p.kms = [2]kmsprovider.Provider{openPlace(t, p.places[0]), openPlace(t, p.places[1])}
	return p
}

func openPlace(t *testing.T, p place) kmsprovider.Provider {
	t.Helper()
	kms, closeIt, err := p.open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeIt() })
	return kms
}

// An ill is what happens to one of the two.
type ill struct {
	name  string
	at    int   // 0: AWS, 1: SoftHSM
	want  error // what a ring says that has this one alone
	hangs bool
	// refuses: a wrap comes back, and doesn't open to the same key. Nothing is stored
	// with the help of such a KMS, whatever the other one says.
	refuses bool
	more    bool // only with STRUCTSEAL_LONG=1: much like another one
	begin   func(t *testing.T, p *pair) (end func())
}

// ills are down, deleted, disabled, denied, lies and hangs, in all ways that the two
// services know.
func ills() (all []ill) {
	for _, i := range []struct {
		mode kmstest.Mode
		want error
	}{
		{kmstest.Unavailable, keyring.ErrUnavailable}, {kmstest.Throttled, kmsprovider.ErrThrottled},
		{kmstest.NotFound, kmsprovider.ErrNotFound}, {kmstest.Denied, kmsprovider.ErrDenied},
		{kmstest.Disabled, kmsprovider.ErrDisabled}, {kmstest.PendingDeletion, kmsprovider.ErrDisabled},
		{kmstest.WrongKeyID, kmsprovider.ErrWrongAnswer},
	} {
		all = append(all, ill{name: "AWS is " + string(i.mode), want: i.want, begin: func(_ *testing.T, p *pair) func() {
			p.aws.fake.Set(i.mode)
			return func() { p.aws.fake.Set("") }
		}})
	}
	for _, m := range []kmstest.Mode{kmstest.HungUp, kmstest.HTMLAnswer, kmstest.BadCertificate, kmstest.Silent, kmstest.SlowAnswer} {
		all = append(all, ill{name: "AWS is " + string(m), want: keyring.ErrUnavailable, hangs: m == kmstest.Silent || m == kmstest.SlowAnswer,
			more: m == kmstest.SlowAnswer, begin: func(_ *testing.T, p *pair) func() {
				p.aws.proxy.Set(m)
				return func() { p.aws.proxy.Set("") }
			}})
	}
	for _, i := range []struct {
		mode kmstest.Mode
		want error
	}{
		{kmstest.HungUp, keyring.ErrUnavailable}, {kmstest.Unavailable, keyring.ErrUnavailable},
		{kmstest.Throttled, kmsprovider.ErrThrottled}, {kmstest.Denied, kmsprovider.ErrDenied}, {kmstest.Silent, keyring.ErrUnavailable},
	} {
		all = append(all, ill{name: "SoftHSM is " + string(i.mode), at: 1, want: i.want, hangs: i.mode == kmstest.Silent, begin: func(_ *testing.T, p *pair) func() {
			p.hsm.shim.Set(i.mode)
			return func() { p.hsm.shim.Set("") }
		}})
	}
	for _, m := range []kmstest.Mode{kmstest.OtherBytes, kmstest.ZeroBytes, kmstest.Length0, kmstest.Length16, kmstest.Length31, kmstest.Length33} {
		more := m != kmstest.OtherBytes && m != kmstest.Length31
		all = append(all,
			ill{name: "AWS lies " + string(m), want: keyring.ErrKeyCheck, refuses: true, more: more, begin: func(_ *testing.T, p *pair) func() {
				p.aws.fake.Set(m)
				return func() { p.aws.fake.Set("") }
			}},
			ill{name: "SoftHSM lies " + string(m), at: 1, want: keyring.ErrKeyCheck, refuses: true, more: more, begin: func(_ *testing.T, p *pair) func() {
				p.hsm.shim.Set(m)
				return func() { p.hsm.shim.Set("") }
			}})
	}
	return append(all,
		ill{name: "SoftHSM is Disabled", at: 1, want: kmsprovider.ErrDisabled, begin: func(t *testing.T, p *pair) func() {
			p.hsm.token.Allow(t, p.places[1].Key, false)
			return func() { p.hsm.token.Allow(t, p.places[1].Key, true) }
		}},
		ill{name: "SoftHSM is NotFound", at: 1, want: kmsprovider.ErrNotFound, begin: func(t *testing.T, p *pair) func() {
			p.hsm.token.Rename(t, p.places[1].Key, "gone")
			logOut(t, p)
			return func() { p.hsm.token.Rename(t, "gone", p.places[1].Key) }
		}},
		ill{name: "SoftHSM is pulled out", at: 1, want: keyring.ErrUnavailable, begin: func(t *testing.T, p *pair) func() {
			token, away := p.hsm.token, p.hsm.token.Dir+".away"
			if err := errors.Join(token.Lib.Finalize(), os.Rename(token.Dir, away), os.Mkdir(token.Dir, 0o700)); err != nil {
				t.Fatal(err)
			}
			return func() {
				if err := errors.Join(token.Lib.Finalize(), os.Remove(token.Dir), os.Rename(away, token.Dir)); err != nil {
					t.Fatal(err)
				}
			}
		}})
}

// logOut ends the sessions that have found the key.
func logOut(t *testing.T, p *pair) {
	t.Helper()
	if err := p.hsm.token.LogOut(); err != nil {
		t.Fatal(err)
	}
}
