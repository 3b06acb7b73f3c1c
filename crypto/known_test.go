package crypto

import (
	"bytes"
	"crypto/fips140"
	"crypto/sha3"
	"encoding/hex"
	"os"
	"testing"
)

func unhex(tb testing.TB, s string) []byte {
	tb.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func newKey(tb testing.TB, s Suite, id uint32, secret []byte) *Key {
	tb.Helper()
	skipUnapproved(tb, s)
	k, err := NewKey(s, id, secret)
	if err != nil {
		tb.Fatal(err)
	}
	return k
}

// skipUnapproved skips what needs AES-SIV in FIPS-only mode;
// TestP11_DeterministicIsRefused has the refusal.
func skipUnapproved(tb testing.TB, s Suite) {
	tb.Helper()
	if s == Deterministic && fips140.Enforced() {
		tb.Skip("AES-SIV is refused while FIPS 140 mode is enforced")
	}
}

// packageXAES makes and opens bare XAES-256-GCM with the package's derivation.
type packageXAES struct {
	tb testing.TB
	x  *xaes
}

func newPackageXAES(tb testing.TB, key []byte) packageXAES {
	x := new(xaes)
	err := x.init(key)
	if err != nil {
		tb.Fatal(err)
	}
	return packageXAES{tb, x}
}

func (p packageXAES) seal(nonce, plaintext, aad []byte) []byte {
	sub, err := p.x.gcmOf((*[saltSize]byte)(nonce))
	if err != nil {
		p.tb.Fatal(err)
	}
	if sub.makesNonces { // FIPS-only mode takes no nonces
		var key [32]byte
		if err := p.x.derive(&key, (*[saltSize]byte)(nonce)); err != nil {
			p.tb.Fatal(err)
		}
		return refGCM(key[:], nonce[saltSize:], plaintext, aad)
	}
	return sub.aead.Seal(nil, nonce[saltSize:], plaintext, aad)
}

func (p packageXAES) open(nonce, body, aad []byte) []byte {
	sub, err := p.x.reading((*[saltSize]byte)(nonce))
	if err != nil {
		p.tb.Fatal(err)
	}
	out, err := sub.openElsewhere(nil, append(bytes.Clone(nonce), body...), saltSize, aad, 0)
	if err != nil {
		p.tb.Fatal(err)
	}
	return out
}

// The vectors of C2SP XAES-256-GCM: one for each value of CMAC's carry.
func TestXAESVectors(t *testing.T) {
	nonce, plaintext := []byte("ABCDEFGHIJKLMNOPQRSTUVWX"), []byte("XAES-256-GCM")
	for _, v := range []struct {
		key      byte
		aad, out string
	}{
		{1, "", "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271"},
		{3, "c2sp.org/XAES-256-GCM", "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d"},
	} {
		key, want := bytes.Repeat([]byte{v.key}, 32), unhex(t, v.out)
		p := newPackageXAES(t, key)
		if got := p.seal(nonce, plaintext, []byte(v.aad)); !bytes.Equal(got, want) {
			t.Errorf("key %02x..: sealed to %x", v.key, got)
		}
		if got := p.open(nonce, want, []byte(v.aad)); !bytes.Equal(got, plaintext) {
			t.Errorf("key %02x..: opened to %q", v.key, got)
		}
		if got := refGCM(refXAESKey(key, nonce[:12]), nonce[12:], plaintext, []byte(v.aad)); !bytes.Equal(got, want) {
			t.Errorf("key %02x..: the reference made %x", v.key, got)
		}
	}
}

// The accumulated vectors of C2SP XAES-256-GCM: SHAKE128 feeds the inputs,
// SHAKE128 of all ciphertexts is compared.
func TestXAESAccumulated(t *testing.T) {
	n, want := 10_000, "e6b9edf2df6cec60c8cbd864e2211b597fb69a529160cd040d56c0c210081939"
	if os.Getenv("STRUCTSEAL_LONG") == "1" {
		n, want = 1_000_000, "2163ae1445985a30b60585ee67daa55674df06901b890593e824b8a7c885ab15"
	}
	in, out := sha3.NewSHAKE128(), sha3.NewSHAKE128()
	read := func(n int) []byte {
		b := make([]byte, n)
		in.Read(b)
		return b
	}
	for range n {
		p := newPackageXAES(t, read(32))
		nonce := read(24)
		plaintext := read(int(read(1)[0]))
		aad := read(int(read(1)[0]))
		ct := p.seal(nonce, plaintext, aad)
		out.Write(ct)
		if !bytes.Equal(p.open(nonce, ct, aad), plaintext) {
			t.Fatal("opened to another plaintext")
		}
	}
	sum := make([]byte, 32)
	out.Read(sum)
	if got := hex.EncodeToString(sum); got != want {
		t.Errorf("after %d iterations: %s", n, got)
	}
}

// RFC 5297, A.1, is the one vector with one string of associated data. Its key
// is too short for the suite, so it checks the reference, which checks the suite
// in TestSealMatchesReference.
func TestSIVReference(t *testing.T) {
	got := refSIV(unhex(t, "fffefdfcfbfaf9f8f7f6f5f4f3f2f1f0f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff"),
		unhex(t, "112233445566778899aabbccddee"), unhex(t, "101112131415161718191a1b1c1d1e1f2021222324252627"))
	if want := "85632d07c6e8f37f950acd320a2ecc9340c02b9690c4dc04daef7f6afe5c"; hex.EncodeToString(got) != want {
		t.Errorf("got %x", got)
	}
}

// Figures from Wycheproof's AES-SIV-CMAC tests with 512-bit keys: empty, short,
// one block, more blocks, and a SIV of zeros.
func TestSIVVectors(t *testing.T) {
	for _, v := range []struct{ key, aad, plaintext, out string }{
		{
			"aff6388fdd2908e0c3b610e3dcd410c8146a268d6befd5c45ffdd23508b5b311cc3a9d8f838f456436b289018682151dd57d8d65d1a823c06eca8ab8ee01da01",
			"d0bb2949a411e22d32964526", "", "e288d802a0e56ed7544a2e5775459389",
		}, {
			"e2c5662bb18fbb411d0304e4241db073fe60a4704fee290073513038a22b4cd542580b2b4edbc37e3de01c0cb61abcad46986cdc491ce9e5ae5af223ff58b953",
			"fab912dec29a34aabfaef176", "0d", "1c6969ecb15741a9959b7a8492250e391a",
		}, {
			"c25cafc6018b98dfbb79a40ec89c575a4f88c4116489bba27707479800c0130235334a45dbe8d8dae3da8dcb45bbe5dce031b0f68ded544fda7eca30d6749442",
			"deeb0ccf3aef47a296ed1ca8f4ae5907", "beec61030fa3d670337196beade6aeaa",
			"5865208eab9163db85cab9f96d846234a2626aae22f5c17c9aad4b501f4416e4",
		}, {
			"97bfd0f3e9bb8167bbb55f4cdc14529d8307c0ec2c3fe8bc88522d05c1261ba460c9cb4116f630edd74d413ec417324c6e29b566fb2dd3df18e07b53b1f9f83b",
			"1cda342c166ea208df5c56bcf995a59b",
			"48ef10ccb1978b53ae73167abe1cc538fa80da3f5df93e3d5c4e9a9ad1f213504f22a694b98a35ad67620af9d8a29fc7",
			"d55c5d0af0260dc1123adb5d7869201f8ccee46deb66dd695c593cde1d7645c72796e42a1733b6705753631b9b626991ddbd28473ce75cfdc4c14d20e66f212d",
		}, {
			"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f",
			"", "8dbfee9580e7e2bc66100a674497f4e1",
			"000000000000000000000000000000007ef8aa7e4dd49d9cfa09e9cb574fd90d",
		},
	} {
		secret, aad, plaintext, want := unhex(t, v.key), unhex(t, v.aad), unhex(t, v.plaintext), unhex(t, v.out)
		if got := refSIV(secret, plaintext, aad); !bytes.Equal(got, want) {
			t.Errorf("%s: the reference made %x", v.out, got)
		}
		k := newKey(t, Deterministic, 1, secret)
		got, err := k.Seal(nil, plaintext, aad)
		if err != nil || !bytes.Equal(got[prefixSize:], want) {
			t.Errorf("%s: sealed to %x, %v", v.out, got, err)
		}
		if got, err := k.Open(nil, got, aad); err != nil || !bytes.Equal(got, plaintext) {
			t.Errorf("%s: opened to %x, %v", v.out, got, err)
		}
	}
}

// RFC 5869, A.3 (no salt, no info) and RFC 4231, case 2, check the reference of
// the key check values and the blind index.
func TestHKDFReference(t *testing.T) {
	if got := hex.EncodeToString(refHKDF(bytes.Repeat([]byte{0x0b}, 22), "", 42)); got !=
		"8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8" {
		t.Errorf("HKDF: %s", got)
	}
	if got := hex.EncodeToString(refHMAC([]byte("Jefe"), []byte("what do ya want for nothing?"))); got !=
		"5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843" {
		t.Errorf("HMAC: %s", got)
	}
}
