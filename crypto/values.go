package crypto

import "encoding/binary"

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
	defer r.busy.Store(false)
	if k.load() != r.key || r.want < len(values) {
		if err := r.reset(k, len(values)); err != nil {
			return nil, err
		}
	}
	return r.sealAll(dst, values)
}

// sealAll goes over the values twice: what AES-GCM reads in blocks was written in pieces
// long before, and needn't be waited for.
func (r *sealing) sealAll(dst []byte, values []Value) ([]byte, error) {
	c, err := r.key.cipher()
	if err != nil {
		return nil, err
	}
	if c.suite == Deterministic || len(values) > sealerNonces {
		for i := range values {
			if dst, err = r.seal(dst, values[i].Text, values[i].Context); err != nil {
				return nil, err
			}
		}
		return dst, nil
	}
	total, overhead := 0, suites[c.suite].overhead
	for i := range values {
		n := len(values[i].Text)
		if tooLarge(c.suite, len(dst)+total, n) {
			return nil, errTooLarge(n)
		}
		total += overhead + n
	}
	g, salt := c.gcm, (*[saltSize]byte)(nil)
	at := prefixSize // of the nonce
	switch {
	case len(values) == 0:
		return dst, nil
	case c.suite == Default:
		if r.left < len(values) {
			r.left = 0 // values of a record share a salt
		}
		w, err := r.writer(c.xaes)
		if err != nil {
			return nil, err
		}
		r.left -= len(values) - 1
		g, salt, at = &w.gcm, &w.salt, prefixSize+saltSize
	default:
		if err := r.count(len(values)); err != nil {
			return nil, err
		}
	}
	var nonces []byte
	if !g.makesNonces {
		nonces = r.nonces(len(values))
	}
	r.want -= len(values)
	out := grow(dst, total, nil)[:len(dst)+total]
	rest := out[len(dst):]
	for i := range values {
		frame := rest[:overhead+len(values[i].Text)]
		rest = rest[len(frame):]
		putPrefix(frame, c.id)
		if salt != nil {
			*(*[saltSize]byte)(frame[prefixSize:]) = *salt
			text := g.placed(frame[at : len(frame)-tagSize])
			copy(text[commitSize:], values[i].Text)
			*(*[commitSize]byte)(text) = [commitSize]byte{}
		}
		if !g.makesNonces {
			*(*[nonceSize]byte)(frame[at:]) = [nonceSize]byte(nonces[i*nonceSize:])
		}
	}
	rest = out[len(dst):]
	for i := range values {
		text := values[i].Text
		frame := rest[: overhead+len(text) : overhead+len(text)]
		rest = rest[len(frame):]
		if salt != nil {
			text = g.placed(frame[at : len(frame)-tagSize])
		}
		g.seal(frame, at, text, values[i].Context)
	}
	if r.left == 0 {
		r.w = nil // a Sealer that is kept must not keep a subkey
	}
	return out, nil
}

// OpenAll is [Key.OpenInPlace] for several values: each one's Text, a ciphertext, becomes
// its plaintext, in the same memory. When one fails, the plaintexts of all are cleared.
//
// OpenAll is safe for concurrent use, other than on the same values.
//
// Errors: those of OpenInPlace for the first value that fails; which one isn't told.
func (k *Key) OpenAll(values []Value) error {
	n, err := k.openAll(values)
	if err != nil {
		for _, v := range values[:n] {
			clear(v.Text)
		}
	}
	return err
}

// openAll also returns how many values were opened.
func (k *Key) openAll(values []Value) (int, error) {
	if len(values) == 0 {
		return 0, nil
	}
	st := k.load()
	c, err := st.cipher()
	if err != nil {
		return 0, err
	}
	if c.suite == Deterministic {
		for i := range values {
			if values[i].Text, err = k.OpenInPlace(values[i].Text, values[i].Context); err != nil {
				return i, err
			}
		}
		return len(values), nil
	}
	g, start, overhead := c.gcm, prefixSize, suites[c.suite].overhead
	var of gcm // of the default suite: for the last salt, which a record's values mostly share
	var salt [saltSize]byte
	if c.suite == Default {
		g, start = &of, prefixSize+saltSize
	}
	for i := range values {
		v := &values[i]
		if len(v.Text) < overhead || v.Text[0] != 1 || binary.BigEndian.Uint32(v.Text[1:]) != c.id {
			return i, st.cannotOpen(v.Text)
		}
		if s := (*[saltSize]byte)(v.Text[prefixSize:]); c.suite == Default && (of.aead == nil || *s != salt) {
			if of, err = c.xaes.reading(s); err != nil {
				return i, err
			}
			salt = *s
		}
		body := v.Text[start:]
		if g.makesNonces {
			body, err = g.aead.Open(body[:0], nil, body, v.Context)
		} else {
			body, err = g.aead.Open(body[nonceSize:nonceSize], body[:nonceSize], body[nonceSize:], v.Context)
		}
		if err != nil {
			return i, ErrTampered
		}
		if c.suite == Default {
			if !committed(body) { // see decrypt
				clear(body)
				return i, ErrTampered
			}
			body = body[commitSize:]
		}
		v.Text = body
	}
	return len(values), nil
}
