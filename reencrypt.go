package structseal

import (
	"context"
	"errors"
	"reflect"
	"unsafe"

	"github.com/structseal/structseal/crypto"
	"github.com/structseal/structseal/keyring"
)

// Reencryption is what [Reencrypt] found in a record: numbers of values that aren't
// NULL. None of them counts twice.
type Reencryption struct {
	Changed   int // were under another key, and are under that one now
	Current   int // name the key that Encrypt would use already
	Forgotten int // of subjects that were forgotten: nothing opens or seals them
	Left      int // deterministic, and not asked for
}

// Reencrypt returns a copy of v, a sealed record, in which every value is under the
// key that [Encrypt] would use now: same data, new data key. A value whose header
// names that key already is left as it is, without decrypting it; so is one of a
// subject that was forgotten. It is for records that package rotate can't reach:
// files, queues, columns that hold whole records.
//
// Fields tagged det= are left, unless the option [Only] names them: until all of a
// domain is done, equal values differ. [AllowPlaintext] is ignored: plaintext is for
// Encrypt.
//
// Everything else said of Encrypt holds. Errors: as [Decrypt] and Encrypt, but a
// subject that was forgotten is ErrForgotten only if that happens meanwhile. With an
// error nothing is counted.
func Reencrypt[T any](ctx context.Context, ring *keyring.Keyring, v T, opts ...Option) (T, Reencryption, error) {
	var zero T
	given, err := newOptions(opts)
	if err != nil {
		return zero, Reencryption{}, err
	}
	if err := given.unbuffered(); err != nil {
		return zero, Reencryption{}, err
	}
	var found Reencryption
	o := *given
	o.reencryption = &found
	o.allowPlaintext = false
	o.literal = true // what was opened is data, whatever it looks like
	out := v
	if err := run(ctx, ring, opReencrypt, reflect.TypeFor[T](), unsafe.Pointer(&out), &o); err != nil {
		return zero, Reencryption{}, err
	}
	return out, found, nil
}

// reencrypt opens the items that aren't current, and seals them again.
func (j *job) reencrypt() error {
	found := j.opt.reencryption
	items := j.items
	defer func() { j.items = items }() // for release, which wipes them
	stale := make([]item, 0, len(items))
	for i := range items {
		it := &items[i]
		if it.f.det != "" && j.opt.only == nil {
			found.Left++
			continue
		}
		id, sealed := j.header(it)
		if !sealed { // what it is instead, open tells
			stale = append(stale, *it)
			continue
		}
		err := j.primary(it)
		switch {
		case errors.Is(err, ErrForgotten):
			found.Forgotten++
		case err != nil:
			return j.itemFailure(it, id, err)
		case j.keys[it.key].ID() == id:
			found.Current++
		default:
			stale = append(stale, *it)
		}
	}
	j.items = stale
	if err := j.open(nil); err != nil {
		return err
	}
	// Sealing finds its keys anew, and the plaintexts where opening has put them.
	clear(j.text)
	clear(j.frame[:min(j.opened, cap(j.frame))])
	j.text, j.keys = j.text[:0], j.keys[:0]
	if err := j.seal(nil); err != nil {
		return err
	}
	found.Changed = len(stale)
	return nil
}

// header returns the key id of an item's ciphertext, if it has the form of one.
func (j *job) header(it *item) (id uint32, sealed bool) {
	var ct []byte
	var err error
	switch it.n.kind {
	case kindString:
		if ct, err = crypto.ParseText(j.frame[:0], *(*string)(it.p)); err != nil {
			return 0, false
		}
		j.frame = ct
	case kindBytes:
		ct = *(*[]byte)(it.p)
	default:
		ct = it.sealed().ciphertext()
	}
	id, err = crypto.KeyID(ct)
	return id, err == nil
}
