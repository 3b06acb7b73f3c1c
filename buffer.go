package structseal

import "unsafe"

// AppendTo tells a verb to append the values of []byte fields to *buf, which it extends,
// instead of allocating memory for them: with a buffer that is reused, a record of []byte
// fields costs no allocation. Set *buf to (*buf)[:0] when the last record isn't needed
// any more: until then its fields are pieces of *buf. Strings and Sealed values have
// memory of their own as ever, because they may be kept.
//
//	var buf []byte
//	reuse := structseal.AppendTo(&buf) // once: an option is an allocation, too
//	for ... {
//		buf = buf[:0]
//		row, err := structseal.Encrypt(ctx, ring, v, reuse)
//		...
//	}
//
// If *buf has no room, or the record's own fields are where the result would go, *buf
// becomes new memory. (Fields with tags, that is, and not those of nested structs that the
// option [Only] leaves out.) With an error *buf stays as it was, and no plaintext is left
// behind it; what earlier records have left there is the caller's to clear. The verbs
// use up to 32 bytes more for a moment.
//
// It is for Encrypt, Decrypt and their InPlace forms; for the others it is an
// ErrInvalidArgument, as is a nil buf. Two calls must not use it at once.
func AppendTo(buf *[]byte) Option {
	return func(o *options) {
		if buf == nil {
			o.fail(invalid("AppendTo(nil)"))
		}
		o.buffer = buf
	}
}

// bufferSlack is how much more than a plaintext opening it takes: the commitment.
const bufferSlack = 32

// buffered makes job.out the buffer of the caller with room for n bytes, if there is one.
// What the record has in that room would be written over.
func (j *job) buffered(n int, base unsafe.Pointer) {
	if j.opt.buffer == nil {
		return
	}
	for i := range j.items {
		if it := &j.items[i]; it.n.kind == kindBytes {
			j.mustStay(*(*[]byte)(it.at(base)))
		}
	}
	j.out = *j.opt.buffer
	if j.crowded {
		j.out = j.out[:len(j.out):len(j.out)]
	}
	j.out = roomFor(j.out, n)
}

// mustStay takes note of bytes of the record.
func (j *job) mustStay(b []byte) { j.crowded = j.crowded || j.inBuffer(b) }

// inBuffer reports whether bytes are in the free room of the caller's buffer.
func (j *job) inBuffer(b []byte) bool { return j.opt.buffer != nil && inRoom(*j.opt.buffer, b) }

// roomFor returns buf, or a larger copy, with room for n bytes more.
func roomFor(buf []byte, n int) []byte {
	if n += len(buf) + bufferSlack; cap(buf) < n {
		return append(make([]byte, 0, max(n, 2*cap(buf))), buf...)
	}
	return buf
}

// inRoom reports whether b has bytes behind those of buf.
func inRoom(buf, b []byte) bool {
	room := buf[len(buf):cap(buf)]
	return len(b) > 0 && len(room) > 0 &&
		uintptr(unsafe.Pointer(&room[0])) <= uintptr(unsafe.Pointer(&b[len(b)-1])) &&
		uintptr(unsafe.Pointer(&b[0])) <= uintptr(unsafe.Pointer(&room[len(room)-1]))
}

// bytesTo is where the ciphertexts or plaintexts of []byte fields go: the buffer of the
// caller, or the arena of the record.
func (j *job) bytesTo(arena *[]byte) *[]byte {
	if j.opt.buffer != nil {
		return &j.out
	}
	return arena
}

// deliver extends the buffer of the caller: the verb has succeeded.
func (j *job) deliver() {
	if j.opt.buffer != nil && j.out != nil {
		*j.opt.buffer, j.out = j.out, nil
	}
}

// withhold clears what a verb that failed has put behind the buffer of the caller.
func (j *job) withhold() {
	if j.out != nil {
		clear(j.out[len(*j.opt.buffer):])
		j.out = nil
	}
}

// unbuffered refuses a buffer where records don't come one by one.
func (o *options) unbuffered() error {
	if o.buffer != nil {
		return invalid("AppendTo is for one record at a time")
	}
	return nil
}
