package structseal

import (
	"errors"
	"unsafe"

	"github.com/structseal/structseal/crypto"
)

// open decrypts all items; base is where a flat record is. First every ciphertext is decoded and its key found,
// so that the record's plaintexts can share one piece of memory.
func (j *job) open(base unsafe.Pointer) error {
	total, buffered, passed := 0, 0, int64(0)
	for i := range j.items {
		it := &j.items[i]
		n, err := j.decode(it, base)
		if err != nil {
			return err
		}
		if it.pass {
			passed++
		}
		if it.n.kind == kindBytes && j.opt.buffer != nil {
			buffered += n
		} else {
			total += n
		}
	}
	j.buffered(buffered, base)
	arena := make([]byte, 0, total)
	var err error
	for i := range j.items {
		if arena, err = j.openItem(&j.items[i], base, arena); err != nil {
			return err
		}
	}
	if j.opt.plaintexts != nil {
		j.opt.plaintexts.Add(passed)
	}
	return nil
}

// decode finds an item's ciphertext and key and returns how much of the shared
// memory its plaintext takes.
func (j *job) decode(it *item, base unsafe.Pointer) (int, error) {
	var ct []byte
	switch it.n.kind {
	case kindString:
		s := *(*string)(it.at(base))
		if !mayBeSealed(unsafe.Slice(unsafe.StringData(s), len(s)), true) {
			return 0, j.plaintext(it)
		}
		text, err := crypto.ParseText(j.text, s)
		if err != nil {
			return 0, j.itemFailure(it, 0, err)
		}
		it.text = span{len(j.text), len(text)}
		j.text = text
		ct = j.text[it.text.from:it.text.to]
	case kindBytes:
		ct = *(*[]byte)(it.at(base))
		if !mayBeSealed(ct, false) {
			return 0, j.plaintext(it)
		}
	default:
		if ct = it.sealed().ciphertext(); ct == nil {
			return 0, j.plaintext(it)
		}
	}
	id, err := crypto.KeyID(ct)
	if err != nil {
		if errors.Is(err, crypto.ErrNotEncrypted) { // text form of something else
			err = crypto.ErrMalformed
		}
		return 0, j.itemFailure(it, 0, err)
	}
	key, err := j.findKey(it, id)
	if err != nil {
		return 0, j.itemFailure(it, id, err)
	}
	n := len(ct) - key.Suite().Overhead()
	switch {
	case n < 0:
		return 0, j.itemFailure(it, id, crypto.ErrTruncated)
	case it.n.kind == kindSealed, it.n.kind == kindBytes && n >= largeValue && j.opt.buffer == nil:
		return 0, nil
	}
	return n, nil
}

// findKey finds the key that a ciphertext names, in the scope of the item. Values
// of one record mostly name the same key.
func (j *job) findKey(it *item, id uint32) (*crypto.Key, error) {
	purpose := it.f.purpose()
	if n := len(j.keys); n > 0 && j.keys[n-1].purpose == purpose && j.keys[n-1].scope == it.scope && j.keys[n-1].ID() == id {
		it.key = n - 1
		return j.keys[n-1].Key, nil
	}
	key, err := j.namedKey(purpose, it.scope, id)
	if err != nil {
		return nil, err
	}
	j.addKey(it, key, purpose)
	return key, nil
}

// plaintext refuses what isn't encrypted, or lets it pass.
func (j *job) plaintext(it *item) error {
	if !j.opt.allowPlaintext {
		return j.itemFailure(it, 0, errPlaintext)
	}
	it.pass = true
	return nil
}

// openItem puts an item's plaintext into the copy. arena has room for it.
func (j *job) openItem(it *item, base unsafe.Pointer, arena []byte) ([]byte, error) {
	if it.pass {
		if it.n.kind == kindSealed {
			cell := it.sealed()
			if raw, ok := cell.plaintext(); ok {
				if err := cell.setPlain(raw); err != nil {
					return nil, j.itemFailure(it, 0, err)
				}
			}
		}
		return arena, nil
	}
	start := len(arena)
	key := j.keys[it.key]
	switch it.n.kind {
	case kindString:
		ct := j.text[it.text.from:it.text.to]
		out, err := key.OpenInPlace(ct, j.contextOf(it))
		if err != nil {
			return nil, j.openFailure(it, err)
		}
		arena = append(arena, out...)
		*(*string)(it.at(base)) = unsafe.String(unsafe.SliceData(arena[start:]), len(out))
		return arena, nil
	case kindBytes:
		b := (*[]byte)(it.at(base))
		if j.opt.buffer != nil {
			from := len(j.out)
			out, err := key.Open(j.out, *b, j.contextOf(it))
			if err != nil {
				return nil, j.openFailure(it, err)
			}
			j.out, *b = out, out[from:len(out):len(out)]
			return arena, nil
		}
		if len(*b)-key.Suite().Overhead() >= largeValue {
			out, err := key.Open(nil, *b, j.contextOf(it))
			if err != nil {
				return nil, j.openFailure(it, err)
			}
			*b = out
			return arena, nil
		}
		out, err := key.Open(j.room(len(*b)), *b, j.contextOf(it))
		if err != nil {
			return nil, j.openFailure(it, err)
		}
		j.keepFrame(out)
		arena = append(arena, out...)
		*b = arena[start:len(arena):len(arena)]
		return arena, nil
	default:
		cell := it.sealed()
		ct := cell.ciphertext()
		out, err := key.Open(j.room(len(ct)), ct, j.contextOf(it))
		if err != nil {
			return nil, j.openFailure(it, err)
		}
		j.keepFrame(out)
		if err := cell.setPlain(out); err != nil {
			return nil, j.itemFailure(it, key.ID(), err)
		}
		return arena, nil
	}
}

func (j *job) openFailure(it *item, err error) error {
	return j.itemFailure(it, j.keys[it.key].ID(), err)
}

// room returns memory for a plaintext whose ciphertext has n bytes. What Open allocates by
// itself would be too short for the next one of the same length.
func (j *job) room(n int) []byte {
	if cap(j.frame) < n {
		clear(j.frame[:min(j.opened, cap(j.frame))])
		j.frame, j.opened = make([]byte, 0, n), 0
	}
	return j.frame[:0]
}

// keepFrame keeps the memory of a plaintext for the next one, and remembers how
// much of it release must wipe. Opening may have used 32 bytes more.
func (j *job) keepFrame(out []byte) {
	j.frame = out
	j.opened = max(j.opened, len(out)+32)
}
