package structseal

import (
	"errors"
	"reflect"
	"unsafe"

	"github.com/structseal/structseal/crypto"
	"github.com/structseal/structseal/internal/aad"
	"github.com/structseal/structseal/keyring"
)

// largeValue is where a []byte gets memory of its own instead of a piece of the
// record's: it would keep the whole alive.
const largeValue = 1 << 14

// seal encrypts all items; base is where a flat record is. First every plaintext is
// looked at, so that the record's ciphertexts can share one piece of memory.
func (j *job) seal(base unsafe.Pointer) error {
	var err error
	total, buffered := 0, 0
	for i := range j.items {
		it := &j.items[i]
		if err := j.primary(it); err != nil {
			return j.itemFailure(it, 0, err)
		}
		j.keys[it.key].count++
		n, err := j.measure(it, base)
		if err != nil {
			return err
		}
		if it.n.kind == kindBytes && j.opt.buffer != nil {
			buffered += n
		} else {
			total += n
		}
	}
	j.buffered(buffered, base)
	j.sealing = -1
	arena := make([]byte, 0, total)
	for at := 0; at < len(j.items); {
		n := j.alike(at, base)
		to := &arena
		if j.items[at].n.kind == kindBytes {
			to = j.bytesTo(&arena)
		}
		var out []byte
		if n > 1 {
			out, err = j.sealItems(j.items[at:at+n], base, *to)
		} else {
			out, err = j.sealItem(&j.items[at], base, *to)
		}
		if err != nil {
			return err
		}
		*to = out
		at += n
	}
	return nil
}

// together is how many values are sealed in one go.
const together = 16

// alike is how many items from at on can be sealed in one go: short ones of one kind,
// under one key.
func (j *job) alike(at int, base unsafe.Pointer) int {
	first := &j.items[at]
	n := 0
	for at+n < len(j.items) && n < together {
		it := &j.items[at+n]
		if it.key != first.key || it.n.kind != first.n.kind || it.f.det != "" || it.n.kind == kindSealed || it.size(base) >= largeValue {
			break
		}
		n++
	}
	return max(n, 1)
}

// size is the length of a string or of bytes.
func (it *item) size(base unsafe.Pointer) int {
	if it.n.kind == kindString {
		return len(*(*string)(it.at(base)))
	}
	return len(*(*[]byte)(it.at(base)))
}

// sealItems is sealItem for items that are alike.
func (j *job) sealItems(items []item, base unsafe.Pointer, arena []byte) ([]byte, error) {
	key := &j.keys[items[0].key]
	if err := j.useKey(items[0].key); err != nil {
		return nil, j.itemFailure(&items[0], key.ID(), err)
	}
	var values [together]crypto.Value
	j.context = j.context[:0]
	for i := range items {
		it := &items[i]
		from := len(j.context)
		j.context = j.appendContext(j.context, it)
		values[i].Context = j.context[from:]
		if it.n.kind == kindString {
			s := *(*string)(it.at(base))
			values[i].Text = unsafe.Slice(unsafe.StringData(s), len(s))
		} else {
			values[i].Text = *(*[]byte)(it.at(base))
		}
	}
	text := items[0].n.kind == kindString
	sealAll := j.sealer.SealAll
	if text {
		sealAll = j.sealer.SealAllText
	}
	end := len(arena)
	arena, err := sealAll(key.Key, arena, values[:len(items)])
	if err != nil {
		return nil, j.itemFailure(&items[0], key.ID(), err)
	}
	for i := range items {
		start, n := end, key.Suite().Overhead()+len(values[i].Text)
		if text {
			end += crypto.TextLen(n)
			*(*string)(items[i].at(base)) = unsafe.String(&arena[start], end-start)
		} else {
			end += n
			*(*[]byte)(items[i].at(base)) = arena[start:end:end]
		}
	}
	return arena, nil
}

// primary finds the key to seal an item with. A record mostly uses one.
func (j *job) primary(it *item) error {
	purpose := it.f.purpose()
	for i := range j.keys {
		if j.keys[i].purpose == purpose && j.keys[i].scope == it.scope {
			it.key = i
			return nil
		}
	}
	key, err := j.primaryKey(purpose, it.scope)
	if err != nil {
		return err
	}
	j.addKey(it, key, purpose)
	return nil
}

// addKey adds a key for an item. Like listFlat it doesn't write what is there already.
func (j *job) addKey(it *item, key *crypto.Key, purpose keyring.Purpose) {
	it.key = len(j.keys)
	if it.key == cap(j.keys) {
		j.keys = append(j.keys, jobKey{})
	}
	j.keys = j.keys[:it.key+1]
	k := &j.keys[it.key]
	if k.Key != key {
		k.Key = key
	}
	k.purpose, k.scope, k.count = purpose, it.scope, 0
}

// measure looks at an item's plaintext and returns how much of the shared memory
// its ciphertext takes.
func (j *job) measure(it *item, base unsafe.Pointer) (int, error) {
	overhead := j.keys[it.key].Suite().Overhead()
	switch it.n.kind {
	case kindString:
		s := *(*string)(it.at(base))
		if !j.opt.literal && mayBeSealed(unsafe.Slice(unsafe.StringData(s), len(s)), true) {
			if ct, err := crypto.ParseText(j.frame[:0], s); err == nil {
				j.frame = ct
				if err := j.refuseCiphertext(it, ct); err != nil {
					return 0, err
				}
			}
		}
		return crypto.TextLen(len(s) + overhead), nil
	case kindBytes:
		b := *(*[]byte)(it.at(base))
		if !j.opt.literal && mayBeSealed(b, false) {
			if err := j.refuseCiphertext(it, b); err != nil {
				return 0, err
			}
		}
		if len(b) >= largeValue && j.opt.buffer == nil {
			return 0, nil
		}
		return len(b) + overhead, nil
	default:
		cell := it.sealed()
		if ct := cell.ciphertext(); ct != nil {
			if err := j.refuseCiphertext(it, ct); err != nil {
				return 0, err
			}
			id, _ := crypto.KeyID(ct)
			return 0, j.itemFailure(it, id, ErrUnknownKey) // sealed it is, by a key we don't have
		}
		if _, ok := cell.plaintext(); ok {
			// Read from a column and never looked at: Decrypt with
			// AllowPlaintext checks that it is an encoding of T.
			return 0, j.itemFailure(it, 0, errPlaintext)
		}
		text, err := cell.appendPlain(j.text) // nil on error, and release wipes j.text
		if err != nil {
			return 0, j.itemFailure(it, 0, err)
		}
		it.text = span{len(j.text), len(text)}
		j.text = text
		return it.text.to - it.text.from + overhead, nil
	}
}

func (it *item) sealed() sealedCell {
	return reflect.NewAt(it.n.typ, it.p).Interface().(sealedCell)
}

// refuseCiphertext returns an error if ct is a ciphertext of this ring, nil if it
// merely looks like one. Encrypting it again would lose the value for every
// reader that decrypts once.
func (j *job) refuseCiphertext(it *item, ct []byte) error {
	id, err := crypto.KeyID(ct)
	if err != nil {
		return nil
	}
	if it.scope > 0 {
		if key, err := j.namedKey(it.f.purpose(), it.scope, id); !errors.Is(err, crypto.ErrUnknownKey) {
			return j.refuse(it, ct, id, key, err)
		}
	}
	own := it.f.purpose()
	for _, purpose := range []keyring.Purpose{keyring.Data, keyring.Deterministic} {
		key, err := j.ring.Key(j.ctx, purpose, id)
		switch {
		case errors.Is(err, crypto.ErrUnknownKey):
			continue
		case err == nil && (purpose != own || it.scope > 0):
			err = errForeign
		}
		return j.refuse(it, ct, id, key, err)
	}
	return nil
}

// refuse says why an item whose ciphertext names key isn't encrypted again: err,
// when nobody can tell what it is, or what opening it tells.
func (j *job) refuse(it *item, ct []byte, id uint32, key *crypto.Key, err error) error {
	if err != nil {
		return j.itemFailure(it, id, err)
	}
	if _, err := key.Open(nil, ct, j.contextOf(it)); err != nil {
		return j.itemFailure(it, id, errForeign)
	}
	return j.itemFailure(it, id, errEncryptedAgain)
}

// contextOf encodes the context of an item; it is valid until the next call.
func (j *job) contextOf(it *item) []byte {
	if it.f.det != "" {
		j.context = aad.AppendDeterministic(j.context[:0], crypto.Deterministic.String(), j.ring.Name(), it.f.det)
		return j.context
	}
	j.context = j.appendContext(j.context[:0], it)
	return j.context
}

// appendContext encodes the context of an item that isn't deterministic.
func (j *job) appendContext(dst []byte, it *item) []byte {
	dst = append(dst, j.opening...)
	dst = append(dst, j.pathOf(it)...)
	return append(dst, j.binds[it.binds.from:it.binds.to]...)
}

// sealItem puts an item's ciphertext into the copy. arena has room for it.
func (j *job) sealItem(it *item, base unsafe.Pointer, arena []byte) ([]byte, error) {
	start := len(arena)
	var err error
	switch it.n.kind {
	case kindString:
		s := (*string)(it.at(base))
		if j.frame, err = j.sealBytes(j.frame[:0], it, unsafe.Slice(unsafe.StringData(*s), len(*s))); err != nil {
			return nil, j.itemFailure(it, j.keys[it.key].ID(), err)
		}
		arena = crypto.AppendText(arena, j.frame)
		*s = unsafe.String(&arena[start], len(arena)-start)
		return arena, nil
	case kindBytes:
		b := (*[]byte)(it.at(base))
		if len(*b) >= largeValue && j.opt.buffer == nil {
			if *b, err = j.sealBytes(nil, it, *b); err != nil {
				return nil, j.itemFailure(it, j.keys[it.key].ID(), err)
			}
			return arena, nil
		}
		if arena, err = j.sealBytes(arena, it, *b); err != nil {
			return nil, j.itemFailure(it, j.keys[it.key].ID(), err)
		}
		*b = arena[start:len(arena):len(arena)]
		return arena, nil
	default:
		if arena, err = j.sealBytes(arena, it, j.text[it.text.from:it.text.to]); err != nil {
			return nil, j.itemFailure(it, j.keys[it.key].ID(), err)
		}
		it.sealed().setCiphertext(arena[start:len(arena):len(arena)])
		return arena, nil
	}
}

func (j *job) sealBytes(dst []byte, it *item, plaintext []byte) ([]byte, error) {
	if it.f.det != "" {
		return j.keys[it.key].Seal(dst, plaintext, j.contextOf(it))
	}
	if err := j.useKey(it.key); err != nil {
		return nil, err
	}
	return j.sealer.Seal(dst, plaintext, j.contextOf(it))
}

// useKey has the sealer use a key of the job, for all of its items.
func (j *job) useKey(n int) error {
	if j.sealing == n {
		return nil
	}
	if j.refused != nil {
		return j.refused
	}
	j.provided = true
	err := j.sealer.Reset(j.keys[n].Key, j.keys[n].count)
	if err == nil {
		j.sealing = n
	}
	return err
}
