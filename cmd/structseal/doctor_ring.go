package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/structseal/structseal/crypto"
	"github.com/structseal/structseal/keyring"
	"github.com/structseal/structseal/keyring/sqlstore"
	"github.com/structseal/structseal/kmsprovider"
)

// lookAtRing looks at the store, the key-encryption keys and the keys. It returns the
// ring, if it opens.
func (x *examination) lookAtRing(ctx context.Context) *keyring.Keyring {
	store, err := x.ringStore(ctx, false)
	if err == nil {
		_, err = store.Load(ctx, x.Ring)
	}
	do := ""
	switch {
	case errors.Is(err, sqlstore.ErrSchema):
		do = "Make the tables: sqlstore.Migrate, or the text of sqlstore.Schema; or update this tool."
	case errors.Is(err, keyring.ErrNotFound):
		do = "Look at --store and --ring; keys create makes a ring."
	case errors.Is(err, keyring.ErrInsecure):
		do = "Take the rights of group and others away (chmod go-rwx)."
	}
	if x.failed("store", "", err, do) {
		return nil
	}
	x.found(isFine, "store", "", "it can be reached, and has ring "+x.Ring, "")
	opts, err := x.ringOptions(ctx, false)
	if x.failed("store", "tombstones or anchor", err, "Look at --tombstones, and at anchor in the file with settings.") {
		return nil
	}
	if opts.Tombstones == nil {
		x.found(isSkipped, "store", "tombstones", "none are given: a restored backup of the store opens forgotten subjects again", "")
	}
	pin, err := x.pin()
	if x.failed("ring", "", err, "keys create printed the pin; the programs have it in their configuration.") {
		return nil
	}
	return x.lookAtKEKs(ctx, store, pin, opts)
}

// lookAtKEKs opens the ring by each key-encryption key alone.
func (x *examination) lookAtKEKs(ctx context.Context, store keyring.SubjectStore, pin keyring.Pin, opts *keyring.OpenOptions) (ring *keyring.Keyring) {
	var ids []string
	for i, uri := range x.KMS {
		about := fmt.Sprintf("%d", i+1)
		kms, err := x.openKEK(ctx, uri)
		if x.failed("kek", about, err, "Look at --kms, and at the credentials.") {
			continue
		}
		about = kms.ID()
		ids = append(ids, about)
		r, err := keyring.Open(ctx, x.Ring, store, kms, pin, opts)
		if err == nil {
			x.onClose(r.Close)
			err = opensAll(ctx, r)
		}
		check := "kek"
		if aboutRecord(err) {
			check = "ring"
		}
		if x.failed(check, about, err, kekAdvice(err)) {
			if ring == nil {
				ring = r
			}
			continue
		}
		x.found(isFine, "kek", about, "it opens every key of the ring", "")
		ring = r
	}
	if len(x.KMS) == 0 {
		x.failed("kek", "", missing("kms"), "")
	}
	if ring == nil {
		return nil
	}
	for _, id := range keksOf(ring) {
		if !slices.Contains(ids, id) {
			x.found(isSkipped, "kek", id, "it wraps keys of the ring, and was not given", "Give it as a further --kms.")
		}
	}
	x.found(isFine, "ring", "", fmt.Sprintf("it opens under the pin, revision %d", ring.Revision()), "")
	x.lookAtKeys(ring.Keys(), keksOf(ring))
	x.compareClock(historyClock(ring))
	for _, db := range x.databases {
		x.compareClock(databaseClock(ctx, "the store's", db))
	}
	return ring
}

// opensAll unwraps every key that may be used.
func opensAll(ctx context.Context, ring *keyring.Keyring) error {
	for _, k := range ring.Keys() {
		switch k.Purpose {
		case keyring.Data, keyring.Deterministic, keyring.SubjectWrap:
		default:
			continue // the MAC key was unwrapped by Open; the others aren't given out
		}
		if k.State != keyring.Pending && k.State != keyring.Primary && k.State != keyring.Enabled {
			continue
		}
		if _, err := ring.Key(ctx, k.Purpose, k.ID); err != nil && !errors.Is(err, crypto.ErrNotApproved) {
			return fmt.Errorf("key %s: %w", hexID(k.ID), err)
		}
	}
	return nil
}

// aboutRecord reports whether it is the ring's record that is wrong, whatever opens it.
func aboutRecord(err error) bool {
	return slices.ContainsFunc([]error{keyring.ErrPinMismatch, keyring.ErrTampered, keyring.ErrCorrupt, keyring.ErrFormat, keyring.ErrRollback},
		func(e error) bool { return errors.Is(err, e) })
}

func kekAdvice(err error) string {
	switch {
	case errors.Is(err, keyring.ErrPinMismatch):
		return "This is another ring than the one that the pin is of: look at --pin and --store, and who can write the store."
	case errors.Is(err, keyring.ErrTampered), errors.Is(err, keyring.ErrCorrupt), errors.Is(err, keyring.ErrRollback):
		return "The ring's record was changed or put back: look at who can write the store, and at its backups."
	case errors.Is(err, keyring.ErrWrongKEK):
		return "It isn't one of the ring's (keys add-kek), or it was away when a key was made (keys rewrap)."
	case errors.Is(err, kmsprovider.ErrDisabled):
		return "It is disabled or pending deletion: enable it, or cancel the deletion, at the KMS."
	case errors.Is(err, kmsprovider.ErrNotFound):
		return "It is gone at the KMS: restore it there, or take it out of the ring (keys remove-kek)."
	case errors.Is(err, kmsprovider.ErrDenied):
		return "Look at the credentials, and at the key's policy; docs/kms.md has the rights that are needed."
	case errors.Is(err, keyring.ErrKeyCheck), errors.Is(err, kmsprovider.ErrWrongAnswer):
		return "The KMS answered with another key: it, or what stands in its place, is not to be trusted."
	case later(err):
		return "Look at the network, and try again."
	}
	return ""
}

// lookAtKeys looks at the budgets of keys, and at those that wait.
func (x *examination) lookAtKeys(keys []keyring.KeyInfo, keks []string) {
	fine := true
	warn := func(about, what, do string) {
		fine = false
		x.found(isWarning, "keys", about, what, do)
	}
	if n := len(keys); n >= keyring.MaxKeys*9/10 {
		warn("", fmt.Sprintf("the ring has %d keys of %d that fit", n, keyring.MaxKeys), "Rotate less often; begin a new ring before it is full.")
	}
	wait := x.MaxStale + x.TTL
	if wait == 0 {
		wait = duration(keyring.DefaultMaxStale + keyring.DefaultTTL)
	}
	for _, k := range keys {
		live := k.State == keyring.Primary || k.State == keyring.Pending || k.State == keyring.Enabled
		switch {
		case live && k.Messages >= 3<<30:
			fine = false
			x.found(isFailed, "keys", hexID(k.ID), fmt.Sprintf("it may have sealed %d messages of 2^32", k.Messages), "Rotate now: keys rotate --now.")
		case live && k.Messages >= keyring.DefaultMessages/10*9:
			warn(hexID(k.ID), fmt.Sprintf("it may have sealed %d messages; it is to be replaced at 2^31", k.Messages), "Let a program run Maintain, or rotate: keys rotate --wait.")
		case k.State == keyring.Pending && time.Since(k.Changed) > 2*time.Duration(wait):
			warn(hexID(k.ID), "it was published "+timeText(k.Changed)+" and is not the primary yet", "No program runs Maintain: keys rotate --wait.")
		}
		if missing := notIn(keks, k.KEKs); live && len(missing) > 0 {
			warn(hexID(k.ID), fmt.Sprintf("it is not wrapped by %q", missing), "keys rewrap wraps it.")
		}
	}
	if fine {
		x.found(isFine, "keys", "", fmt.Sprintf("%d of %d, none near its budget", len(keys), keyring.MaxKeys), "")
	}
}

// notIn returns what of all isn't among some.
func notIn(all, some []string) (missing []string) {
	for _, s := range all {
		if !slices.Contains(some, s) {
			missing = append(missing, s)
		}
	}
	return missing
}
