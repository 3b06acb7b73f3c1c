package kmstest

import (
	"bytes"
	"crypto/subtle"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/structseal/structseal/kmsprovider"
)

// testID: the ID is valid, the same for every provider of the KEK, and another one
// for another KEK.
func testID(e *env) {
	id := e.kms.ID()
	if !kmsprovider.ValidID(id) {
		e.Errorf("ID %.100q is not valid; see kmsprovider.ValidID", id)
	}
	if again := e.open(e.T).ID(); again != id || e.kms.ID() != id {
		e.Errorf("the ID is %q and then %q", id, again)
	}
	if other := e.other(e.T).ID(); other == id {
		e.Errorf("two KEKs have the ID %q", id)
	}
}

// testRoundTrip: what one provider wraps every other one unwraps, for keys of 1 to
// 1,024 bytes (with -short or -race: of fewer lengths).
func testRoundTrip(e *env) {
	again := e.open(e.T)
	kc := ring()
	for n := 1; n <= 1024; n++ {
		if short() && n > 66 && n%128 > 1 && n%128 < 127 {
			continue
		}
		secret := key(n)
		e.unwraps(again, e.wrap(e.kms, secret, kc), kc, secret)
	}
	for _, n := range []int{1, 32} {
		secret := make([]byte, n) // zeros and padding are bytes, too
		e.unwraps(again, e.wrap(e.kms, secret, kc), kc, secret)
	}
	// Unwrap is no one-time thing.
	secret := key(32)
	wrapped := e.wrap(e.kms, secret, kc)
	for range 3 {
		e.unwraps(again, wrapped, kc, secret)
		e.unwraps(e.kms, wrapped, kc, secret)
	}
}

// testArguments: what a call is given it doesn't change, and doesn't keep.
func testArguments(e *env) {
	// Behind the arguments there is memory that isn't the callee's.
	room := func(b []byte) []byte {
		return append(bytes.Clone(b), bytes.Repeat([]byte{0xa5}, 64)...)[:len(b)]
	}
	same := func(what string, got, want []byte) {
		e.Helper()
		if !bytes.Equal(got, want) || !bytes.Equal(got[:len(got)+64][len(got):], bytes.Repeat([]byte{0xa5}, 64)) {
			e.Errorf("%s was changed", what)
		}
	}
	secret, kc := key(32), ring()
	kept := maps.Clone(kc)
	given := room(secret)
	wrapped, err := e.kms.Wrap(e.ctx, given, kc)
	if err != nil {
		e.Fatal(err)
	}
	same("the secret that Wrap was given", given, secret)
	clear(given) // the caller wipes
	blob := room(wrapped)
	if got, err := e.kms.Unwrap(e.ctx, blob, kc); err != nil || !bytes.Equal(got, secret) {
		e.Fatalf("Unwrap after the caller has wiped its own: another key, or the error %v", err)
	}
	same("the wrapped key that Unwrap was given", blob, wrapped)
	bad := bytes.Clone(wrapped)
	bad[len(bad)/2] ^= 1
	blob = room(bad)
	if _, err := e.kms.Unwrap(e.ctx, blob, kc); err == nil {
		e.Error("a changed wrap was unwrapped")
	}
	same("the wrapped key that Unwrap was given and rejected", blob, bad)
	if !maps.Equal(kc, kept) {
		e.Errorf("the context was changed to %v", kc)
	}
	// A context is read during the call and not later.
	for k := range kc {
		kc[k] = "another"
	}
	e.unwraps(e.kms, wrapped, kept, secret)
}

// testResults: what a call returns is the caller's.
func testResults(e *env) {
	kc := ring()
	var secrets, wraps, wrapped, opened [4][]byte
	for i := range secrets {
		secrets[i] = key(32)
		wraps[i] = e.wrap(e.kms, secrets[i], kc)
		wrapped[i] = bytes.Clone(wraps[i])
	}
	for i, kept := range wraps {
		if !bytes.Equal(kept, wrapped[i]) {
			e.Fatal("what Wrap has returned was changed by a later call")
		}
	}
	for i := range wraps {
		clear(wraps[i])
		out, err := e.kms.Unwrap(e.ctx, wrapped[i], kc)
		if err != nil {
			e.Fatal(err)
		}
		opened[i] = out
	}
	for i := range opened {
		if !bytes.Equal(opened[i], secrets[i]) {
			e.Error("calls of Unwrap have returned the same memory")
		}
		clear(opened[i])
	}
	e.unwraps(e.kms, wrapped[0], kc, secrets[0])
}

// testHidden: a wrap doesn't show its key, nor two wraps how their keys differ.
func testHidden(e *env) {
	kc := ring()
	one, two := key(32), key(32)
	wrappedOne, wrappedTwo := e.wrap(e.kms, one, kc), e.wrap(e.kms, two, kc)
	for secret, wrapped := range map[*[]byte][]byte{&one: wrappedOne, &two: wrappedTwo} {
		for _, form := range forms(*secret) {
			if bytes.Contains(wrapped, []byte(form)) {
				e.Error("the wrapped key holds the key itself")
				break
			}
		}
	}
	differ := func(a, b []byte) []byte {
		out := make([]byte, min(len(a), len(b)))
		subtle.XORBytes(out, a, b)
		return out
	}
	if bytes.Contains(differ(wrappedOne, wrappedTwo), differ(one, two)) {
		e.Error("two wrapped keys differ as the keys do: both are encrypted with the same keystream")
	}
}

// testFlipped: every byte of a wrap counts, and every bit of the first and the last
// ones.
func testFlipped(e *env) {
	secret, kc := key(32), ring()
	wrapped := e.wrap(e.kms, secret, kc)
	for i := range wrapped {
		for bit := range 8 {
			// One bit of each byte; all of them where text forms have spare ones.
			if inner := i >= 4 && i < len(wrapped)-4; inner && bit != i%8 {
				continue
			}
			bad := bytes.Clone(wrapped)
			bad[i] ^= 1 << bit
			e.rejects(e.kms, fmt.Sprintf("a wrap with bit %d of byte %d of %d flipped", bit, i, len(bad)), bad, kc)
		}
	}
	e.unwraps(e.kms, wrapped, kc, secret)
}

// testCut: a wrap has one length.
func testCut(e *env) {
	secret, kc := key(32), ring()
	wrapped := e.wrap(e.kms, secret, kc)
	for n := range len(wrapped) {
		e.rejects(e.kms, fmt.Sprintf("the first %d of %d bytes", n, len(wrapped)), bytes.Clone(wrapped[:n]), kc)
	}
	for _, n := range []int{1, len(wrapped) / 2, len(wrapped) - 1} {
		e.rejects(e.kms, fmt.Sprintf("a wrap without its first %d bytes", n), bytes.Clone(wrapped[n:]), kc)
	}
	for what, bad := range map[string][]byte{
		"nil":                       nil,
		"a wrap and a zero byte":    append(bytes.Clone(wrapped), 0),
		"a wrap and a space":        append(bytes.Clone(wrapped), ' '),
		"a wrap and a newline":      append(bytes.Clone(wrapped), '\n'),
		"a wrap and another one":    append(bytes.Clone(wrapped), wrapped...),
		"a zero byte and a wrap":    append([]byte{0}, wrapped...),
		"64 KiB of zeros":           make([]byte, 64<<10),
		"a wrap and 64 KiB of zero": append(bytes.Clone(wrapped), make([]byte, 64<<10)...),
	} {
		e.rejects(e.kms, what, bad, kc)
	}
	e.unwraps(e.kms, wrapped, kc, secret)
}

// testContext: a wrap opens under its own context and no other. In which order a
// context was made doesn't matter.
func testContext(e *env) {
	secret, kc := key(32), ring()
	kc["structseal-ring"] = (kc["structseal-ring"] + strings.Repeat("-long", 20))[:100] // as long as one can be
	wrapped := e.wrap(e.kms, secret, kc)
	names := slices.Sorted(maps.Keys(kc))
	backwards := make(kmsprovider.Context)
	for _, k := range slices.Backward(names) {
		backwards[k] = kc[k]
	}
	e.unwraps(e.kms, wrapped, backwards, secret)

	with := func(change func(c kmsprovider.Context)) kmsprovider.Context {
		c := maps.Clone(kc)
		change(c)
		return c
	}
	others := map[string]kmsprovider.Context{
		"no context":         nil,
		"an empty context":   {},
		"another ring":       ring(),
		"one entry more":     with(func(c kmsprovider.Context) { c["structseal-more"] = "x" }),
		"values exchanged":   with(func(c kmsprovider.Context) { c[names[0]], c[names[1]] = c[names[1]], c[names[0]] }),
		"a moved boundary":   with(func(c kmsprovider.Context) { delete(c, names[0]); c[names[0]+kc[names[0]][:1]] = kc[names[0]][1:] }),
		"two entries as one": with(func(c kmsprovider.Context) { delete(c, names[1]); c[names[0]] += "," + names[1] + "=" + kc[names[1]] }),
		"values rotated": with(func(c kmsprovider.Context) {
			for i, k := range names {
				c[k] = kc[names[(i+1)%len(names)]]
			}
		}),
	}
	for _, k := range names {
		others[k+" missing"] = with(func(c kmsprovider.Context) { delete(c, k) })
		others[k+" longer"] = with(func(c kmsprovider.Context) { c[k] += "x" })
		others[k+" shorter"] = with(func(c kmsprovider.Context) { c[k] = c[k][:len(c[k])-1] })
		others[k+" with a space"] = with(func(c kmsprovider.Context) { c[k] += " " })
		others[k+" in another case"] = with(func(c kmsprovider.Context) { c[k] = swapCase(c[k]) })
		others["the name of "+k+" in another case"] = with(func(c kmsprovider.Context) { delete(c, k); c[swapCase(k)] = kc[k] })
		others[k+" as the name of its value"] = with(func(c kmsprovider.Context) { delete(c, k); c[kc[k]] = k })
	}
	for _, k := range names {
		for i := range k {
			if !short() || i == 0 || i == len(k)-1 {
				others[fmt.Sprintf("%s with byte %d of the name changed", k, i)] = with(func(c kmsprovider.Context) { delete(c, k); c[changed(k, i)] = kc[k] })
			}
		}
		for i := range kc[k] {
			if !short() || i == 0 || i == len(kc[k])-1 {
				others[fmt.Sprintf("%s with byte %d changed", k, i)] = with(func(c kmsprovider.Context) { c[k] = changed(kc[k], i) })
			}
		}
	}
	for what, c := range others {
		e.rejects(e.kms, "a wrap under "+what, wrapped, c)
	}
	// And the other way round: no context is no wildcard.
	for _, none := range []kmsprovider.Context{nil, {}} {
		wrapped := e.wrap(e.kms, secret, none)
		e.unwraps(e.kms, wrapped, kmsprovider.Context{}, secret)
		e.unwraps(e.kms, wrapped, nil, secret)
		e.rejects(e.kms, "a wrap without context under one", wrapped, kc)
	}
}

// changed changes one byte of s to another printable one.
func changed(s string, i int) string {
	out := []byte(s)
	if out[i]++; out[i] > '~' {
		out[i] = '0'
	}
	return string(out)
}

// swapCase changes the case of every letter.
func swapCase(s string) string {
	out := []byte(s)
	for i, c := range out {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' {
			out[i] ^= 0x20
		}
	}
	return string(out)
}

// testOtherKey: a wrap by one KEK is nothing to another one.
func testOtherKey(e *env) {
	other := e.other(e.T)
	secret, kc := key(32), ring()
	mine, its := e.wrap(e.kms, secret, kc), e.wrap(other, secret, kc)
	e.rejects(e.kms, "another KEK's wrap", its, kc)
	e.rejects(other, "another KEK's wrap", mine, kc)
	e.unwraps(e.kms, mine, kc, secret)
	e.unwraps(other, its, kc, secret)
}

// testServiceError: who must know more than the class finds the service's own error.
func testServiceError(e *env) {
	if e.serviceError == nil {
		e.Skip("no option ServiceError given")
	}
	kc := ring()
	wrapped := e.wrap(e.kms, key(32), kc)
	wrapped[len(wrapped)-1] ^= 1
	if _, err := e.kms.Unwrap(e.ctx, wrapped, kc); !e.serviceError(err) {
		e.Errorf("Unwrap of a changed wrap: the service's own error is not in %v", err)
	}
}
