package keyring

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"testing"
	"testing/synctest"
	"time"

	"github.com/structseal/structseal/crypto"
	"github.com/structseal/structseal/kmsprovider"
)

// The six states that each of four places may be in.
const (
	isEmpty = iota
	isValid
	isRetired
	isRevoked
	isCorrupt
	isUnreachable
	allStates
)

var stateNames = [allStates]string{"empty", "valid", "retired", "revoked", "corrupt", "unreachable"}

// Short ones: an outage of an hour is an hour of tries.
const (
	matrixTTL   = time.Minute
	matrixStale = 4 * time.Minute
)

// A cell of the state matrix. What the states mean:
//
//	              cached key                 cached KEK                    stored key                    stored KEK
//	              (this process's memory)    (what this process has seen   (the record in the store)     (the KMS)
//	                                         of the KMS)
//	empty         not unwrapped              nothing since Open            no record (ErrNotFound)       no such key (ErrNotFound)
//	valid         unwrapped, the primary     it has just answered          usable, as this process       answers
//	                                                                       knows it, or enabled again
//	retired       unwrapped, enabled:        the preferred KEK wraps the   another key is the primary,   unwraps, and doesn't wrap
//	              another is the primary     ring no longer; the next      this one is enabled           any more (ErrDisabled)
//	                                         one does
//	revoked       the record known here      it has refused the key        disabled                      refuses (ErrDenied)
//	              says disabled              (ErrDenied) until further
//	                                         calls are spaced
//	corrupt       its memory is cleared      it has answered with other    a record that isn't           answers with another key
//	              under a caller who has it  keys until calls are spaced   authentic
//	unreachable   neither store nor KMS      its circuit is open           the store is away             away (throttled)
//	              confirmed it for MaxStale
type matrixCell struct{ cacheKey, cacheKEK, storeKey, storeKEK int }

func (m matrixCell) String() string {
	return fmt.Sprintf("cache (key %s, KEK %s), store (key %s, KEK %s)",
		stateNames[m.cacheKey], stateNames[m.cacheKEK], stateNames[m.storeKey], stateNames[m.storeKEK])
}

// What a lookup may end with.
var lookupErrors = []error{
	ErrKeyDisabled, ErrUnavailable, ErrStale, ErrNotFound, ErrTampered, ErrKeyCheck, ErrRollback, ErrCorrupt, ErrFormat,
	kmsprovider.ErrDenied, kmsprovider.ErrNotFound, kmsprovider.ErrDisabled,
}

// Every combination of what may be wrong with a key and its KEK, here and where
// they are kept: a lookup gives the right key or a typed error, at once, after a
// look at the store, a TTL later and when all that was known is too old.
func TestStateMatrix(t *testing.T) {
	kms, other, store := newFakeKMS(), newFakeKMS(), newFakeStore()
	ring, pin := mustCreate(t, "app", store, kms)
	key := must[*crypto.Key](t)(ring.Primary(t.Context(), Data))
	m := &matrix{kms: kms, other: other, pin: pin, id: key.ID(), ciphertext: must[[]byte](t)(key.Seal(nil, []byte("text"), nil))}
	m.primary = store.get(t, "app")
	must[uint32](t)(ring.Rotate(t.Context(), Data, &RotateOptions{Now: true}))
	m.enabled = store.get(t, "app")
	setState(t, ring, store, m.id, Disabled)
	m.disabled = store.get(t, "app")
	setState(t, ring, store, m.id, Enabled)
	m.again = store.get(t, "app")

	cells, values := 0, 0
	for c := range allStates * allStates * allStates * allStates {
		cell := matrixCell{c % 6, c / 6 % 6, c / 36 % 6, c / 216}
		cells++
		synctest.Test(t, func(t *testing.T) {
			defer func() {
				if p := recover(); p != nil {
					t.Errorf("%v: panic: %v\n%s", cell, p, debug.Stack())
				}
			}()
			values += m.try(t, cell)
		})
	}
	t.Logf("%d cells, %d lookups gave the key", cells, values)
	if cells != 1296 {
		t.Errorf("%d cells", cells)
	}
}

type matrix struct {
	kms, other *fakeKMS
	pin        Pin
	id         uint32
	ciphertext []byte

	primary, enabled, disabled, again Record // by the key's state, in the order they were written
}

// try brings a ring into the cell's states and looks the key up, and returns how
// often it got it.
func (m *matrix) try(t *testing.T, cell matrixCell) (values int) {
	ctx := t.Context()
	m.kms.down(nil)
	store := newFakeStore()
	known := m.primary
	switch cell.cacheKey {
	case isRetired:
		known = m.enabled
	case isRevoked:
		known = m.disabled
	}
	store.put(t, "app", known)
	var first kmsprovider.Provider = m.kms
	opts := OpenOptions{TTL: matrixTTL, MaxStale: matrixStale}
	if cell.cacheKEK == isRetired {
		first, opts.Also = m.other, []kmsprovider.Provider{m.kms}
	}
	ring := must[*Keyring](t)(Open(ctx, "app", store, first, m.pin, &opts))
	defer ring.Close()

	// The caches.
	if cell.cacheKey != isEmpty && cell.cacheKey != isRevoked {
		must[*crypto.Key](t)(ring.Key(ctx, Data, m.id))
	}
	if cell.cacheKey == isUnreachable {
		m.kms.down(kmsprovider.ErrUnavailable)
		store.down(errors.New("connection refused"))
		time.Sleep(matrixStale + time.Second)
		m.kms.down(nil)
		store.down(nil)
		synctest.Wait()
	}
	var refusals *breaker
	if c := ring.live.Load().byID[m.id].cell; c != nil {
		refusals = &c.refusals
		if cell.cacheKey == isCorrupt {
			c.key.Load().Wipe()
		}
	}
	again := func(b *breaker, err error) {
		for range retryBudget {
			if b != nil { // a disabled key has none
				b.ended(false, err)
			}
		}
	}
	switch cell.cacheKEK {
	case isValid:
		if cell.cacheKey != isUnreachable {
			must[*crypto.BlindIndexKey](t)(ring.BlindIndexKey(ctx, "r", "f", "i"))
		}
	case isRevoked:
		again(refusals, kmsprovider.ErrDenied)
	case isCorrupt:
		again(refusals, ErrKeyCheck)
	case isUnreachable:
		for _, e := range *ring.core().keks.Load() {
			again(&e.breaker, kmsprovider.ErrThrottled)
		}
	}

	// The store and the KMS.
	switch cell.storeKey {
	case isEmpty:
		store.Store = NewMemoryStore()
	case isValid:
		if cell.cacheKey == isRevoked {
			store.put(t, "app", m.again)
		}
	case isRetired:
		if cell.cacheKey == isRetired || cell.cacheKey == isRevoked {
			store.put(t, "app", m.again)
		} else {
			store.put(t, "app", m.enabled)
		}
	case isRevoked:
		store.put(t, "app", m.disabled)
	case isCorrupt:
		r := must[*record](t)(parseRecord(m.again.Data))
		r.MAC[0] ^= 1
		store.put(t, "app", Record{m.again.Revision, must[[]byte](t)(encode(r))})
	case isUnreachable:
		store.down(errors.New("connection refused"))
	}
	switch cell.storeKEK {
	case isEmpty:
		m.kms.down(kmsprovider.ErrNotFound)
	case isRetired:
		m.kms.mu.Lock()
		m.kms.onWrap = func(context.Context, []byte, error) ([]byte, error) { return nil, kmsprovider.ErrDisabled }
		m.kms.mu.Unlock()
	case isRevoked:
		m.kms.down(kmsprovider.ErrDenied)
	case isCorrupt:
		m.kms.answer(func(_ context.Context, b []byte, err error) ([]byte, error) {
			if len(b) > 0 {
				b[0] ^= 1
			}
			return b, err
		})
	case isUnreachable:
		m.kms.down(kmsprovider.ErrThrottled)
	}

	// lookup returns whether there was a key; it is the right one then.
	lookup := func(when string) (found bool, err error) {
		key, err := ring.Key(ctx, Data, m.id)
		if err == nil {
			var text []byte
			text, err = key.Open(nil, m.ciphertext, nil)
			switch {
			case cell.cacheKey == isCorrupt && errors.Is(err, crypto.ErrWiped):
				return false, err
			case err != nil || string(text) != "text" || key.ID() != m.id:
				t.Errorf("%v, %s: a wrong key: %v", cell, when, err)
			}
			values++
			return true, nil
		}
		if !isAny(err, lookupErrors) {
			t.Errorf("%v, %s: untyped: %v", cell, when, err)
		}
		// The primary is another key, or the same; never one that isn't listed.
		if p, err := ring.Primary(ctx, Data); err == nil && ring.live.Load().byID[p.ID()].State != Primary || err != nil && !isAny(err, lookupErrors) {
			t.Errorf("%v, %s: primary: %v", cell, when, err)
		}
		return false, err
	}
	storeGood := cell.storeKey == isValid || cell.storeKey == isRetired
	kekGood := cell.storeKEK == isValid || cell.storeKEK == isRetired
	expect := func(when string, found, want bool, err, wantErr error) {
		if found != want || wantErr != nil && !errors.Is(err, wantErr) {
			t.Errorf("%v, %s: found %v, want %v, %v", cell, when, found, want, err)
		}
	}

	found, err := lookup("at once")
	switch cell.cacheKey {
	case isValid, isRetired:
		expect("at once", found, true, err, nil) // P9
	case isRevoked:
		expect("at once", found, false, err, ErrKeyDisabled)
	case isCorrupt:
		expect("at once", found, false, err, crypto.ErrWiped)
	case isUnreachable:
		if !storeGood || !kekGood {
			expect("at once", found, false, err, nil)
		}
	case isEmpty:
		if !kekGood {
			expect("at once", found, false, err, nil)
		}
	}
	if err := ring.Refresh(ctx); (err == nil) != (storeGood || cell.storeKey == isRevoked) || err != nil && !isAny(err, lookupErrors) {
		t.Errorf("%v: refresh: %v", cell, err)
	}
	if found, err = lookup("after a look"); cell.storeKey == isRevoked {
		expect("after a look", found, false, err, ErrKeyDisabled)
	}
	time.Sleep(matrixTTL + 2*backoffCap)
	if found, err = lookup("a TTL later"); storeGood && !kekGood && cell.storeKEK != isUnreachable {
		expect("a TTL later", found, false, err, nil)
	}
	// All that was known is too old now, and every wait is over.
	time.Sleep(matrixStale + matrixTTL)
	found, err = lookup("long after")
	expect("long after", found, storeGood && kekGood, err, nil)
	return values
}

func isAny(err error, list []error) bool {
	for _, e := range list {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
