package crypto

import (
	"encoding/binary"
	"fmt"
	"math"
)

// A Value is one of a record's.
type Value struct {
	Text    []byte // its plaintext, or its ciphertext
	Context []byte // what binds it, as for [Key.Seal]
}

// SealAll seals the values of a record under k and appends their ciphertexts to dst, one
// after the other, without anything in between: each is Suite.Overhead longer than its
// plaintext. It is a [Sealer.Reset] and a [Sealer.Seal] for each, and faster; what an
// earlier Reset for the same key provided for as many values it uses up first. Plaintexts
// and contexts must not share memory with what is behind dst.
//
// Errors: as [Key.Seal]; then dst is unchanged up to its length.
//
// Like Seal it panics when two goroutines use the Sealer at once.
func (s *Sealer) SealAll(k *Key, dst []byte, values []Value) ([]byte, error) {
	r := s.shared()
	r.lock()
	done := false
	defer r.unlock(&done)
	out, err := r.sealAll(k, dst, values)
	done = err == nil
	return out, err
}

// SealAllText is SealAll for string columns: of each ciphertext it appends the text form,
// which [AppendText] makes and whose length is [TextLen].
func (s *Sealer) SealAllText(k *Key, dst []byte, values []Value) ([]byte, error) {
	r := s.shared()
	r.lock()
	done := false
	defer r.unlock(&done)
	frames, err := r.sealAll(k, r.frames[:0], values)
	if err != nil {
		return nil, err
	}
	if cap(frames) != cap(r.frames) {
		if r.frames = frames; cap(frames) > keptFrames {
			r.frames = nil
		}
	}
	total, overhead := uint64(0), k.Suite().Overhead()
	for i := range values {
		total += uint64(TextLen(overhead + len(values[i].Text)))
	}
	if total > uint64(math.MaxInt-len(dst)) {
		return nil, fmt.Errorf("crypto: %w: texts of %d bytes", ErrTooLarge, total)
	}
	dst = grow(dst, int(total), nil)
	for i := range values {
		n := overhead + len(values[i].Text)
		dst = appendText(dst, frames[:n])
		frames = frames[n:]
	}
	done = true
	return dst, nil
}

const (
	// keptFrames is how many bytes of ciphertext a Sealer keeps memory for.
	keptFrames = 1 << 16
	// manyBytes are too many to be added up without thinking of the largest int.
	manyBytes = 1 << 30
)

// sealAll stores no pointer that it needn't: each costs a write barrier while the garbage
// collector runs.
func (r *sealing) sealAll(k *Key, dst []byte, values []Value) ([]byte, error) {
	if k.load() != r.key || r.want < len(values) {
		if err := r.reset(k, len(values)); err != nil {
			return nil, err
		}
	}
	c, err := r.key.cipher()
	if err != nil {
		return nil, err
	}
	sum := uint64(0)
	for i := range values {
		sum += uint64(len(values[i].Text))
	}
	if all := sum + uint64(len(values)*suites[c.suite].overhead) + uint64(len(dst)); all > math.MaxInt {
		return nil, fmt.Errorf("crypto: %w: ciphertexts of %d bytes", ErrTooLarge, all)
	}
	switch {
	case len(values) == 0:
		return dst, nil
	case c.suite == Deterministic || len(values) > sealerNonces || sum+uint64(len(dst)) > manyBytes:
		return r.sealEach(dst, values)
	case c.suite == Default:
		return r.sealDefault(c, dst, values, int(sum))
	case c.gcm.makesNonces:
		return r.sealEach(dst, values)
	}
	total := int(sum)
	if err := r.count(len(values)); err != nil {
		return nil, err
	}
	nonces := r.nonces(len(values))
	r.want -= len(values)
	const head = prefixSize + nonceSize
	const overhead = head + tagSize
	end := len(dst)
	out := grow(dst, total+overhead*len(values), nil)[:end+total+overhead*len(values)]
	aead := c.gcm.aead
	for i := range values {
		v := &values[i]
		start := end
		end += overhead + len(v.Text)
		frame := out[start:end]
		putPrefix(frame, c.id)
		nonce := (*[nonceSize]byte)(frame[prefixSize:])
		*nonce = *(*[nonceSize]byte)(nonces)
		nonces = nonces[nonceSize:]
		aead.Seal(frame[:head], nonce[:], v.Text, v.Context)
	}
	return out, nil
}

// sealDefault is sealAll of the default suite, for total bytes of plaintexts. It goes over
// them twice: what AES-GCM reads in blocks was written in pieces long before, and needn't
// be waited for.
func (r *sealing) sealDefault(c *cipherState, dst []byte, values []Value, total int) ([]byte, error) {
	w := r.w
	if r.left < len(values) || !w.fresh() { // values of a record share a salt
		r.left = r.batch()
		var err error
		if w, err = c.xaes.reserve(uint32(r.left)); err != nil {
			r.left = 0
			return nil, err
		}
	}
	r.left -= len(values)
	switch {
	case r.left > 0:
		r.w = w
	case r.w != nil:
		r.w = nil // a Sealer that is kept must not keep a subkey
	}
	if w.makesNonces {
		for i := range values {
			dst = w.seal(c.id, r, dst, values[i].Text, values[i].Context)
		}
		r.want -= len(values)
		return dst, nil
	}
	nonces := r.nonces(len(values))
	r.want -= len(values)
	const at = prefixSize + saltSize // of the nonce
	const text = at + nonceSize      // of the zero bytes
	const head = text + commitSize
	const overhead = head + tagSize
	end := len(dst)
	out := grow(dst, total+overhead*len(values), nil)[:end+total+overhead*len(values)]
	for i := range values {
		v := &values[i]
		start := end
		end += overhead + len(v.Text)
		frame := out[start:end]
		front := (*[head]byte)(frame)
		putPrefix(front[:], c.id)
		*(*[saltSize]byte)(front[prefixSize:]) = w.salt
		*(*[nonceSize]byte)(front[at:]) = *(*[nonceSize]byte)(nonces)
		nonces = nonces[nonceSize:]
		*(*[commitSize]byte)(front[text:]) = [commitSize]byte{}
		copy(frame[head:], v.Text)
	}
	aead, end := w.gcm.aead, len(dst)
	for i := range values {
		start := end
		end += overhead + len(values[i].Text)
		frame := out[start:end]
		aead.Seal(frame[:text], frame[at:text], frame[text:len(frame)-tagSize], values[i].Context)
	}
	return out, nil
}

// sealEach is sealAll for whatever needs more thought.
func (r *sealing) sealEach(dst []byte, values []Value) (_ []byte, err error) {
	for i := range values {
		if dst, err = r.seal(dst, values[i].Text, values[i].Context); err != nil {
			return nil, err
		}
	}
	if r.left == 0 {
		r.w = nil
	}
	return dst, nil
}

// OpenAll opens the ciphertexts of several values, as [Key.Open] does, and appends their
// plaintexts to dst, one after the other: each is Suite.Overhead shorter than its
// ciphertext. Ciphertexts and contexts must not share memory with what is behind dst, 32
// bytes behind the result included, which serve as scratch space if they are there.
//
// OpenAll is safe for concurrent use.
//
// Errors: those of Open for a value that fails; which one isn't told. Then dst is unchanged
// up to its length, and no plaintext is left behind it.
func (k *Key) OpenAll(dst []byte, values []Value) ([]byte, error) {
	out, err := k.openAll(dst, values)
	if err != nil {
		clear(out[len(dst):])
		return nil, err
	}
	return out, nil
}

// openAll also returns what it has opened when it fails.
func (k *Key) openAll(dst []byte, values []Value) ([]byte, error) {
	if len(values) == 0 {
		return dst, nil
	}
	st := k.load()
	c, err := st.cipher()
	if err != nil {
		return dst, err
	}
	sum, overhead := uint64(0), suites[c.suite].overhead
	for i := range values {
		ct := values[i].Text
		if len(ct) < overhead || ct[0] != 1 || binary.BigEndian.Uint32(ct[1:]) != c.id {
			return dst, st.cannotOpen(ct)
		}
		sum += uint64(len(ct) - overhead)
	}
	if c.suite == Deterministic || sum+uint64(len(dst)) > manyBytes {
		return k.openEach(dst, values)
	}
	total, scratch := int(sum), 0
	if c.suite == Default {
		scratch = commitSize
	}
	if room := cap(dst) - len(dst); room < total {
		dst = grow(dst, total+scratch, nil)
	} else if room < total+scratch {
		return k.openEach(dst, values)
	}
	switch {
	case c.suite == Default:
		return c.openDefault(dst, values)
	case c.gcm.makesNonces:
		return k.openEach(dst, values)
	}
	out, aead := dst, c.gcm.aead
	for i := range values {
		v := &values[i]
		text, err := aead.Open(out, v.Text[prefixSize:prefixSize+nonceSize], v.Text[prefixSize+nonceSize:], v.Context)
		if err != nil {
			return out, ErrTampered
		}
		out = text
	}
	return out, nil
}

// openDefault is openAll of the default suite. Each plaintext moves to the front, over the
// zero bytes, and the next one is opened over what that left behind.
func (c *cipherState) openDefault(dst []byte, values []Value) ([]byte, error) {
	const at = prefixSize + saltSize // of the nonce
	const text = at + nonceSize      // of the zero bytes
	var salt [saltSize]byte          // the last one: a record's values mostly share it
	var g gcm
	out := dst
	for i := range values {
		v := &values[i]
		if s := (*[saltSize]byte)(v.Text[prefixSize:]); g.aead == nil || *s != salt {
			var err error
			if g, err = c.xaes.reading(s); err != nil {
				return out[:len(out)+commitSize], err
			}
			salt = *s
		}
		nonce, sealed := v.Text[at:text], v.Text[text:]
		if g.makesNonces {
			nonce, sealed = nil, v.Text[at:]
		}
		opened, err := g.aead.Open(out, nonce, sealed, v.Context)
		if err != nil {
			return out[:len(out)+commitSize], ErrTampered
		}
		body := opened[len(out):]
		if !committed(body) { // see decrypt
			return opened, ErrTampered
		}
		n := len(body) - commitSize
		move(body[:n], body[commitSize:])
		out = opened[:len(out)+n]
	}
	*(*[commitSize]byte)(out[len(out) : len(out)+commitSize]) = [commitSize]byte{}
	return out, nil
}

// openEach is openAll for whatever needs more thought.
func (k *Key) openEach(dst []byte, values []Value) ([]byte, error) {
	for i := range values {
		out, err := k.Open(dst, values[i].Text, values[i].Context)
		if err != nil {
			return dst, err
		}
		dst = out
	}
	return dst, nil
}
