package keyring

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/structseal/structseal/crypto"
)

// ringForEdits makes a ring that has a key in every state.
func ringForEdits(t testing.TB) (*fakeStore, *fakeKMS, Pin, Record) {
	t.Helper()
	ctx := t.Context()
	store, kms := newFakeStore(), newFakeKMS()
	ring, pin := mustCreate(t, "app", store, kms)
	states := []State{Pending, Disabled, Destroying, Destroyed}
	for range states {
		if _, err := ring.Rotate(ctx, Data, &RotateOptions{Suite: crypto.Compact, Now: true}); err != nil {
			t.Fatal(err)
		}
	}
	n := 0
	for _, k := range ring.Keys() {
		if k.Purpose == Data && k.State == Enabled {
			setState(t, ring, store, k.ID, states[n])
			n++
		}
	}
	return store, kms, pin, store.get(t, "app")
}

// refused opens a changed record and fails the test unless that is an error for
// being changed.
func refused(t *testing.T, what string, store *fakeStore, kms *fakeKMS, pin Pin, data []byte, revision uint64) {
	t.Helper()
	store.put(t, "app", Record{revision, data})
	ring, err := Open(t.Context(), "app", store, kms, pin, nil)
	if err == nil {
		ring.Close()
		t.Errorf("%s: opened", what)
		return
	}
	for _, want := range []error{ErrTampered, ErrCorrupt, ErrFormat, ErrPinMismatch, ErrWrongKEK, ErrKeyCheck} {
		if errors.Is(err, want) {
			return
		}
	}
	// The MAC key's own wrap is opened before anything is authentic.
	if !strings.Contains(err.Error(), "unwrap with") {
		t.Errorf("%s: %v", what, err)
	}
}

func TestEveryByteOfARecordCounts(t *testing.T) {
	store, kms, pin, good := ringForEdits(t)
	for i := range good.Data {
		for _, flip := range []byte{0x01, 0x20} {
			data := bytes.Clone(good.Data)
			data[i] ^= flip
			refused(t, fmt.Sprintf("byte %d ^ %#x", i, flip), store, kms, pin, data, good.Revision)
		}
		refused(t, fmt.Sprintf("cut at %d", i), store, kms, pin, good.Data[:i], good.Revision)
		if i%5 != 0 {
			continue
		}
		refused(t, fmt.Sprintf("without byte %d", i), store, kms, pin, slices.Delete(bytes.Clone(good.Data), i, i+1), good.Revision)
		refused(t, fmt.Sprintf("space at %d", i), store, kms, pin, slices.Insert(bytes.Clone(good.Data), i, ' '), good.Revision)
	}
	store.put(t, "app", good)
	must[*Keyring](t)(Open(t.Context(), "app", store, kms, pin, nil))
}

// Canonical records with another content: every field of every key, every swap,
// drop and reorder, and whatever else the writer of a store could do.
func TestEveryEditOfARecordIsDetected(t *testing.T) {
	store, kms, pin, good := ringForEdits(t)
	parse := func() *record { return must[*record](t)(parseRecord(good.Data)) }
	try := func(what string, change func(r *record)) {
		t.Helper()
		r := parse()
		change(r)
		data, err := encode(r)
		if err != nil {
			return // no JSON at all
		}
		if bytes.Equal(data, good.Data) {
			return // e.g. a swap of equal values
		}
		refused(t, what, store, kms, pin, data, r.Revision)
	}
	n := len(parse().Keys)
	typ := reflect.TypeFor[keyRecord]()
	tried := 0
	for i := range n {
		try(fmt.Sprintf("drop key %d", i), func(r *record) { r.Keys = slices.Delete(r.Keys, i, i+1) })
		try(fmt.Sprintf("double key %d", i), func(r *record) { r.Keys = append(r.Keys, r.Keys[i]) })
		try(fmt.Sprintf("key %d without wraps", i), func(r *record) { r.Keys[i].Wraps = []wrap{} })
		try(fmt.Sprintf("key %d with null wraps", i), func(r *record) { r.Keys[i].Wraps = nil })
		try(fmt.Sprintf("key %d with another wrap", i), func(r *record) {
			r.Keys[i].Wraps = append(r.Keys[i].Wraps, wrap{"local:0123456789abcdef", blob("x")})
		})
		try(fmt.Sprintf("key %d an hour later", i), func(r *record) { r.Keys[i].Created.Time = r.Keys[i].Created.Add(1e9) })
		try(fmt.Sprintf("key %d changed later", i), func(r *record) { r.Keys[i].Changed.Time = r.Keys[i].Changed.Add(1e9) })
		try(fmt.Sprintf("key %d with another id", i), func(r *record) { r.Keys[i].ID++ })
		for s := Pending; s <= Destroyed; s++ {
			try(fmt.Sprintf("key %d %s", i, s), func(r *record) { r.Keys[i].State = s })
		}
		for p := Data; p <= MAC; p++ {
			try(fmt.Sprintf("key %d for %s", i, p), func(r *record) { r.Keys[i].Purpose = p })
		}
		for _, s := range []string{"xaes-256-gcm", "aes-256-gcm", "aes-256-siv", suiteHMAC, "none", ""} {
			try(fmt.Sprintf("key %d suite %q", i, s), func(r *record) { r.Keys[i].Suite = s })
		}
		for j := range i {
			try(fmt.Sprintf("swap keys %d and %d", i, j), func(r *record) { r.Keys[i], r.Keys[j] = r.Keys[j], r.Keys[i] })
			for f := range typ.NumField() {
				tried++
				try(fmt.Sprintf("swap %s of keys %d and %d", typ.Field(f).Name, i, j), func(r *record) {
					a, b := reflect.ValueOf(&r.Keys[i]).Elem().Field(f), reflect.ValueOf(&r.Keys[j]).Elem().Field(f)
					v := reflect.New(a.Type()).Elem()
					v.Set(a)
					a.Set(b)
					b.Set(v)
				})
			}
		}
	}
	if tried < 8*n*(n-1)/2 {
		t.Errorf("only %d swaps tried", tried)
	}
	try("no keys", func(r *record) { r.Keys = nil })
	try("next revision", func(r *record) { r.Revision++ })
	try("last revision", func(r *record) { r.Revision-- })
	try("revision 0", func(r *record) { r.Revision = 0 })
	try("huge revision", func(r *record) { r.Revision = 1 << 63 })
	try("no mac", func(r *record) { r.MAC = checkValue{} })
	// An older MAC with the newer content.
	try("mac of another revision", func(r *record) {
		r.Revision++
		r.MAC, _ = r.authenticate(hide(make([]byte, 32)))
	})
}

// A record that the ring's own key authenticates must still make sense.
func TestValidate(t *testing.T) {
	_, _, _, good := ringForEdits(t)
	for what, change := range map[string]func(r *record){
		"name":               func(r *record) { r.Name = "A" },
		"revision 0":         func(r *record) { r.Revision = 0 },
		"revision 2^63":      func(r *record) { r.Revision = 1 << 63 },
		"id 0":               func(r *record) { r.Keys[0].ID = 0 },
		"id twice":           func(r *record) { r.Keys[0].ID = r.Keys[4].ID },
		"no primary":         func(r *record) { k := r.primary(Data); k.State, k.Retired = Enabled, k.Since },
		"two primaries":      func(r *record) { k := &r.Keys[6]; k.State, k.Retired, k.Wraps = Primary, 0, r.Keys[0].Wraps },
		"suite":              func(r *record) { r.primary(Data).Suite = "aes-256-siv" },
		"index suite":        func(r *record) { r.primary(Index).Suite = "xaes-256-gcm" },
		"purpose":            func(r *record) { r.Keys[0].Purpose = 0 },
		"state":              func(r *record) { r.Keys[0].State = 0 },
		"primary unwrapped":  func(r *record) { r.Keys[1].Wraps = []wrap{} },
		"null wraps":         func(r *record) { r.Keys[1].Wraps = nil },
		"no keks":            func(r *record) { r.KEKs = nil },
		"a kek twice":        func(r *record) { r.KEKs = append(r.KEKs, r.KEKs[0]) },
		"clock 0":            func(r *record) { r.Clock = 0 },
		"key of the future":  func(r *record) { r.Keys[1].Since = r.Clock + 1 },
		"key without clock":  func(r *record) { r.Keys[1].Since = 0 },
		"next revision":      func(r *record) { r.Keys[1].Revision = r.Revision + 1 },
		"key revision 0":     func(r *record) { r.Keys[1].Revision = 0 },
		"retired primary":    func(r *record) { r.primary(Data).Retired = 1 },
		"active and retired": func(r *record) { r.Keys[0].State, r.Keys[0].Retired = Enabled, 0 },
		"counted xaes":       func(r *record) { r.primary(Index).Messages = 1 },
		"over the wall":      func(r *record) { r.primary(Data).Messages = crypto.CompactMessages + 1 },
		"no history":         func(r *record) { r.History.Entries = nil },
		"long history":       func(r *record) { r.History.Entries = append(make([]historyEntry, MaxHistory), r.History.Entries...) },
		"history of future":  func(r *record) { r.History.Entries[0].Revision = r.Revision + 1 },
		"history order":      func(r *record) { e := r.History.Entries; e[0], e[len(e)-1] = e[len(e)-1], e[0] },
		"odd actor":          func(r *record) { r.History.Entries[0].Actor = "a\n" },
		"hash of nothing":    func(r *record) { r.History.Hash[0] = 1 },
		"destroyed wrapped":  func(r *record) { r.Keys[0].State = Destroyed; r.Keys[0].Wraps = []wrap{{"a", blob("a")}} },
		"kek twice":          func(r *record) { r.Keys[1].Wraps = append(r.Keys[1].Wraps, r.Keys[1].Wraps[0]) },
		"kek id":             func(r *record) { r.Keys[1].Wraps[0].KEK = "a b" },
		"empty blob":         func(r *record) { r.Keys[1].Wraps[0].Blob = nil },
		"long blob":          func(r *record) { r.Keys[1].Wraps[0].Blob = make(blob, maxBlobLen+1) },
	} {
		r := must[*record](t)(parseRecord(good.Data))
		change(r)
		if err := r.validate(); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", what, err)
		}
	}
	r := must[*record](t)(parseRecord(good.Data))
	for range MaxKeys {
		k := r.Keys[1]
		k.ID, k.State, k.Retired = keyID(len(r.Keys)+1000), Enabled, k.Since
		r.Keys = append(r.Keys, k)
	}
	if err := r.validate(); !errors.Is(err, ErrTooLarge) {
		t.Errorf("too many keys: %v", err)
	}
}

// The format's bound is what the store's bound allows: 256 keys under a KMS with
// large wraps.
func TestFullRingFits(t *testing.T) {
	_, _, _, good := ringForEdits(t)
	r := must[*record](t)(parseRecord(good.Data))
	for len(r.Keys) < MaxKeys {
		k := r.Keys[1]
		k.ID, k.State, k.Retired = keyID(len(r.Keys)+1000), Enabled, k.Since
		k.Wraps = []wrap{{"arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab", make(blob, 400)},
			{"projects/p/locations/europe-west3/keyRings/ring/cryptoKeys/key", make(blob, 120)}}
		r.Keys = append(r.Keys, k)
	}
	r.Revision, r.Clock = 1<<40, 1<<45
	for range 2 * MaxHistory {
		r.History.add(historyEntry{Revision: r.Revision, At: now(), Actor: strings.Repeat("a", maxActorLen), Op: OpDestroy, Key: 1, From: Disabled, To: Destroying})
	}
	if err := r.History.trim(); err != nil {
		t.Fatal(err)
	}
	if text := must[[]byte](t)(encode(r.History.Entries)); len(text) > maxHistorySize+2 || len(text) < maxHistorySize-300 {
		t.Errorf("history of %d bytes", len(text))
	}
	rec, data, err := r.sign(hide([]byte("a key of thirty-two bytes or so.")))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d keys under two KMSs, %d changes: %d bytes", len(rec.Keys), len(rec.History.Entries), len(data))
	must[*record](t)(parseRecord(data))
	for i := range r.Keys {
		if len(r.Keys[i].Wraps) > 0 {
			r.Keys[i].Wraps = []wrap{{"a", make(blob, 1500)}}
		}
	}
	if _, _, err := r.sign(hide([]byte("a key of thirty-two bytes or so."))); !errors.Is(err, ErrTooLarge) {
		t.Errorf("a record above the bound: %v", err)
	}
}

func FuzzParseRecord(f *testing.F) {
	_, _, _, good := ringForEdits(f)
	f.Add(good.Data)
	small := must[*record](f)(parseRecord(good.Data))
	small.Keys = slices.DeleteFunc(small.Keys, func(k keyRecord) bool { return k.State != Primary })
	f.Add(must[[]byte](f)(encode(small)))
	f.Add([]byte(`{"format":"structseal-ring/1","name":"a","revision":1,"keys":[],"mac":""}`))
	f.Add([]byte(`{"format":"structseal-ring/2"}`))
	f.Add(bytes.Replace(good.Data, []byte(`"wraps":[]`), []byte(`"wraps":null`), 1))
	f.Add(bytes.Replace(good.Data, []byte(`Z","changed`), []byte(`+00:00","changed`), 1))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := parseRecord(data)
		if err != nil {
			if !errors.Is(err, ErrFormat) && !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrTooLarge) {
				t.Errorf("untyped error %v", err)
			}
			return
		}
		again, err := encode(r)
		if err != nil || !bytes.Equal(again, data) {
			t.Errorf("accepted %q, encodes as %q, %v", data, again, err)
		}
		for p := Data; p <= MAC; p++ {
			if r.primary(p) == nil {
				t.Errorf("accepted a record without a %s primary", p)
			}
		}
		newSnapshot(r, data, nil)
	})
}

func FuzzParseFile(f *testing.F) {
	for _, s := range []string{"structseal-ring-file/1 1\n{}", "structseal-ring-file/1 01\n", "structseal-ring-file/1 9223372036854775808\n", "structseal-ring-file/1 7", ""} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := parseFile(ringMagic, text)
		if err != nil {
			if !errors.Is(err, ErrFormat) && !errors.Is(err, ErrCorrupt) {
				t.Errorf("untyped error %v", err)
			}
			return
		}
		if again := fmt.Sprintf("%s%d\n%s", ringMagic, r.Revision, r.Data); again != string(text) {
			t.Errorf("accepted %q, is %q", text, again)
		}
	})
}
