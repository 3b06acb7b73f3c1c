package crypto

import (
	"encoding/binary"
	"math"
)

// A Value is one of a record's.
type Value struct {
	Text    []byte // its plaintext, or its ciphertext
	Context []byte // what binds it, as for [Key.Seal]
}

// SealAll seals the values of a record under k and appends their ciphertexts to dst, one
// after the other, without anything in between: each is Suite.Overhead longer than its
// plaintext. Each one's Text becomes its ciphertext there. It is a [Sealer.Reset] and a
// [Sealer.Seal] for each, and faster; what an earlier Reset for the same key provided for
// as many values it uses up first. Plaintexts and contexts must not share memory with what
// is behind dst.
//
// Errors: as [Key.Seal]; then dst is unchanged up to its length, and some values may be
// sealed already.
//
// Like Seal it panics when two goroutines use the Sealer at once.
func (s *Sealer) SealAll(k *Key, dst []byte, values []Value) ([]byte, error) {
	r := s.shared()
	r.lock()
	defer r.busy.Store(false)
	return r.sealAll(k, dst, values)
}

// SealAllText is SealAll for string columns: what it appends, and what each Text becomes,
// is the text form that [AppendText] makes of the ciphertext.
func (s *Sealer) SealAllText(k *Key, dst []byte, values []Value) ([]byte, error) {
	r := s.shared()
	r.lock()
	defer r.busy.Store(false)
	frames, err := r.sealAll(k, r.frames[:0], values)
	if err != nil {
		return nil, err
	}
	if r.frames = frames[:0]; cap(frames) > keptFrames {
		r.frames = nil
	}
	total := 0
	for i := range values {
		total += TextLen(len(values[i].Text))
	}
	dst = grow(dst, total, nil)
	for i := range values {
		from := len(dst)
		dst = appendText(dst, values[i].Text)
		values[i].Text = dst[from:len(dst):len(dst)]
	}
	return dst, nil
}

// keptFrames is how many bytes of ciphertext a Sealer keeps memory for.
const keptFrames = 1 << 16

// sealAll goes over the values of the default suite twice: what AES-GCM reads in blocks was
// written in pieces long before, and needn't be waited for.
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
	total := 0
	for i := range values {
		total += len(values[i].Text)
	}
	if c.suite == Deterministic || len(values) > sealerNonces || c.makesNonces || total > math.MaxInt32/2-len(dst) {
		return r.sealEach(dst, values)
	}
	if len(values) == 0 {
		return dst, nil
	}
	if c.suite == Default {
		return r.sealDefault(c, dst, values, total)
	}
	if err := r.count(len(values)); err != nil {
		return nil, err
	}
	nonces := r.nonces(len(values))
	r.want -= len(values)
	const overhead, at = prefixSize + nonceSize + tagSize, prefixSize
	end := len(dst)
	out := grow(dst, total+overhead*len(values), nil)[:end+total+overhead*len(values)]
	for i := range values {
		v := &values[i]
		frame := out[end : end+overhead+len(v.Text) : end+overhead+len(v.Text)]
		end += len(frame)
		putPrefix(frame, c.id)
		nonce := frame[at : at+nonceSize]
		*(*[nonceSize]byte)(nonce) = [nonceSize]byte(nonces[i*nonceSize:])
		c.gcm.aead.Seal(frame[:at+nonceSize], nonce, v.Text, v.Context)
		v.Text = frame
	}
	return out, nil
}

// sealDefault is sealAll of the default suite, for total bytes of plaintexts.
func (r *sealing) sealDefault(c *cipherState, dst []byte, values []Value, total int) ([]byte, error) {
	if r.left < len(values) {
		r.left = 0 // values of a record share a salt
	}
	w, err := r.writer(c.xaes)
	if err != nil {
		return nil, err
	}
	r.left -= len(values) - 1
	nonces := r.nonces(len(values))
	r.want -= len(values)
	const at = prefixSize + saltSize // of the nonce
	const text = at + nonceSize      // of the zero bytes
	const overhead = text + commitSize + tagSize
	end := len(dst)
	out := grow(dst, total+overhead*len(values), nil)[:end+total+overhead*len(values)]
	for i := range values {
		v := &values[i]
		frame := out[end : end+overhead+len(v.Text) : end+overhead+len(v.Text)]
		end += len(frame)
		putPrefix(frame, c.id)
		*(*[saltSize]byte)(frame[prefixSize:]) = w.salt
		*(*[nonceSize]byte)(frame[at:]) = [nonceSize]byte(nonces[i*nonceSize:])
		*(*[commitSize]byte)(frame[text:]) = [commitSize]byte{}
		copy(frame[text+commitSize:], v.Text)
		v.Text = frame
	}
	for i := range values {
		frame := values[i].Text
		w.gcm.aead.Seal(frame[:text], frame[at:text], frame[text:len(frame)-tagSize], values[i].Context)
	}
	if r.left == 0 {
		r.w = nil // a Sealer that is kept must not keep a subkey
	}
	return out, nil
}

// sealEach is sealAll for whatever needs more thought.
func (r *sealing) sealEach(dst []byte, values []Value) ([]byte, error) {
	for i := range values {
		from := len(dst)
		out, err := r.seal(dst, values[i].Text, values[i].Context)
		if err != nil {
			return nil, err
		}
		dst, values[i].Text = out, out[from:len(out):len(out)]
	}
	return dst, nil
}

// OpenAll opens the ciphertexts of several values, as [Key.Open] does, and appends their
// plaintexts to dst, one after the other. Each one's Text becomes its plaintext there.
// Ciphertexts and contexts must not share memory with what is behind dst, 32 bytes behind
// the result included, which serve as scratch space if they are there.
//
// OpenAll is safe for concurrent use, other than on the same values.
//
// Errors: those of Open for the first value that fails; which one isn't told. Then dst is
// unchanged up to its length, no plaintext is left behind it, and the values are of no use.
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
	total, overhead := 0, suites[c.suite].overhead
	for i := range values {
		ct := values[i].Text
		if len(ct) < overhead || ct[0] != 1 || binary.BigEndian.Uint32(ct[1:]) != c.id {
			return dst, st.cannotOpen(ct)
		}
		total += len(ct) - overhead
	}
	scratch := 0
	if c.suite == Default {
		scratch = commitSize
	}
	if room := cap(dst) - len(dst); room < total {
		dst = append(make([]byte, 0, len(dst)+total+scratch), dst...)
	} else if room < total+scratch {
		return k.openEach(dst, values)
	}
	switch {
	case c.suite == Deterministic || c.makesNonces:
		return k.openEach(dst, values)
	case c.suite == Default:
		return c.openDefault(dst, values)
	}
	out := dst
	for i := range values {
		v := &values[i]
		text, err := c.gcm.aead.Open(out, v.Text[prefixSize:prefixSize+nonceSize], v.Text[prefixSize+nonceSize:], v.Context)
		if err != nil {
			return out, ErrTampered
		}
		v.Text = text[len(out):len(text):len(text)]
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
		opened, err := g.aead.Open(out, v.Text[at:text], v.Text[text:], v.Context)
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
		v.Text = body[:n:n]
	}
	*(*[commitSize]byte)(out[len(out) : len(out)+commitSize]) = [commitSize]byte{}
	return out, nil
}

// openEach is openAll for whatever needs more thought.
func (k *Key) openEach(dst []byte, values []Value) ([]byte, error) {
	for i := range values {
		v := &values[i]
		out, err := k.Open(dst, v.Text, v.Context)
		if err != nil {
			return dst, err
		}
		dst, v.Text = out, out[len(dst):len(out):len(out)]
	}
	return dst, nil
}
