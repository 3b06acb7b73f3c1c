package structseal

import (
	"errors"
	"unsafe"

	"github.com/structseal/structseal/crypto"
	"github.com/structseal/structseal/internal/aad"
	"github.com/structseal/structseal/keyring"
)

// The short way: flat records without deterministic fields, as most are, go through two
// loops that list nothing. Whatever is unusual about a record, every error included, makes
// the short way give up before it has written to the copy; the long way then begins anew
// and knows what to say.

// A quickField is what the short way has to know of a field, in few bytes.
type quickField struct {
	offset uintptr
	valid  uintptr // from there to the Valid flag of a sql.Null, if it is one
	null   bool
	text   bool // a string, else a []byte
}

// quickFields returns those of a record that may take the short way, else nil.
func (p *plan) quickFields() []quickField {
	if !p.flat || len(p.fields) > together {
		return nil
	}
	var fields []quickField
	for i := range p.fields {
		f := &p.fields[i]
		if f.det != "" {
			return nil
		}
		n := f.node
		q := quickField{offset: f.offset, null: n.kind == kindNull, valid: n.valid}
		if q.null {
			n = n.elem
		}
		q.text = n.kind == kindString
		p.texts = p.texts || q.text
		fields = append(fields, q)
	}
	return fields
}

// quick does a verb on the flat record at base, and reports whether it did.
func (j *job) quick(p *plan, base unsafe.Pointer) bool {
	if p.quick == nil || j.opt.only != nil || j.opt.buffer != nil && p.bytesBind {
		return false
	}
	scope, ok := j.quickBindings(p, base)
	if !ok {
		return false
	}
	j.quickContexts(p)
	if j.op == opEncrypt {
		ok = j.quickSeal(p, base, scope)
	} else {
		ok = j.quickOpen(p, base, scope)
	}
	if ok {
		j.deliver()
	} else {
		clear(j.text) // what was opened
		j.text = j.text[:0]
	}
	return ok
}

// present is how many values the record at base has, if it may take the short way.
func (p *plan) present(base unsafe.Pointer) (n int) {
	for i := range p.quick {
		if _, ok := p.quick[i].value(base); ok {
			n++
		}
	}
	return n
}

// quickBindings is flatBindings, mostly without what nobody asked for.
func (j *job) quickBindings(p *plan, base unsafe.Pointer) (scope int, ok bool) {
	j.binds = j.binds[:0]
	if len(j.opt.bind) > 0 || len(p.marker.Require) > 0 {
		_, scope, err := j.flatBindings(p, base)
		return scope, err == nil
	}
	var subject span
	dst := aad.AppendCount(j.binds, len(p.binds))
	for i := range p.binds {
		b := &p.binds[i]
		text, err := appendPlainBind(j.texts[:0], b.kind, b.typ, unsafe.Add(base, b.offset))
		if err != nil {
			return 0, false
		}
		j.texts = text
		dst = aad.AppendString(append(dst, b.encoded...), text)
		if b == p.subject {
			subject = span{len(dst) - len(text), len(dst)}
		}
	}
	j.binds = dst
	return j.addScope(p, subject), true
}

// quickContexts encodes the contexts of all fields. From one record to the next mostly
// nothing but the bindings changes.
func (j *job) quickContexts(p *plan) {
	binds := j.binds
	if j.shape == p && j.shapeBinds == len(binds) {
		for _, end := range j.contextEnds[:len(p.fields)] {
			copy(j.contexts[end-len(binds):end], binds)
		}
		return
	}
	j.contexts = j.contexts[:0]
	for i := range p.quick {
		j.contexts = append(append(append(j.contexts, j.opening...), p.fields[i].path...), binds...)
		j.contextEnds[i] = len(j.contexts)
	}
	j.shape, j.shapeBinds = p, len(binds)
}

// quickContext is the context of a field.
func (j *job) quickContext(i int) []byte {
	if i == 0 {
		return j.contexts[:j.contextEnds[0]]
	}
	return j.contexts[j.contextEnds[i-1]:j.contextEnds[i]]
}

// value returns the string or the bytes of the record at base, which must not be written
// to. There is none if it is NULL.
func (f *quickField) value(base unsafe.Pointer) (value []byte, ok bool) {
	v := unsafe.Add(base, f.offset)
	if f.null && !*(*bool)(unsafe.Add(v, f.valid)) {
		return nil, false
	}
	if f.text {
		s := *(*string)(v)
		return unsafe.Slice(unsafe.StringData(s), len(s)), true
	}
	b := *(*[]byte)(v)
	return b, b != nil
}

// set puts a value there.
func (f *quickField) set(base unsafe.Pointer, value []byte) {
	v := unsafe.Add(base, f.offset)
	if f.text {
		*(*string)(v) = unsafe.String(unsafe.SliceData(value), len(value))
	} else {
		*(*[]byte)(v) = value[:len(value):len(value)]
	}
}

// blank removes what the other half of a NULL at v holds, a string or a []byte.
func blank(v unsafe.Pointer, text bool) {
	if text {
		*(*string)(v) = ""
	} else {
		*(*[]byte)(v) = nil
	}
}

func (j *job) quickSeal(p *plan, base unsafe.Pointer, scope int) bool {
	var key *crypto.Key // asked for when there is a value: a subject's may have to be made
	var err error
	overhead := 0
	var values [together]crypto.Value
	n, total, buffered := 0, 0, 0
	for i := range p.quick {
		f := &p.quick[i]
		value, ok := f.value(base)
		if !ok {
			continue
		}
		if len(value) >= largeValue || mayBeSealed(value, f.text) {
			return false
		}
		if key == nil {
			if key, err = j.primaryKey(keyring.Data, scope); err != nil {
				j.failed = lookup{0, err}
				return false
			}
			overhead = key.Suite().Overhead()
		}
		size := overhead + len(value)
		switch {
		case f.text:
			total += crypto.TextLen(size)
		case j.opt.buffer == nil:
			total += size
		case j.inBuffer(value):
			return false
		default:
			buffered += size
		}
		values[n] = crypto.Value{Text: value, Context: j.quickContext(i)}
		n++
	}
	arena := make([]byte, 0, total)
	if j.opt.buffer != nil {
		j.out = roomFor(*j.opt.buffer, buffered)
	}
	bytes := j.bytesTo(&arena)
	frames := j.frame[:0]
	if !p.texts {
		frames = *bytes
	}
	from := len(frames)
	j.sealing = -1
	if j.announced > 0 && scope == 0 {
		j.provided = true
		if j.sealer.Reset(key, j.announced) != nil {
			return false
		}
		j.announced = 0
	}
	if n > 0 {
		if frames, err = j.sealer.SealAll(key, frames, values[:n]); err != nil {
			if !errors.Is(err, crypto.ErrWiped) { // another key may be there by now
				j.refused = err
			}
			return false
		}
	}
	if p.texts {
		j.frame = frames
	} else {
		*bytes = frames
	}
	frames = frames[from:]
	n = 0
	for i := range p.quick {
		f := &p.quick[i]
		_, ok := f.value(base)
		if !ok {
			blank(unsafe.Add(base, f.offset), f.text)
			continue
		}
		size := overhead + len(values[n].Text)
		frame := frames[:size]
		frames = frames[size:]
		n++
		switch {
		case f.text:
			from := len(arena)
			arena = crypto.AppendText(arena, frame)
			frame = arena[from:]
		case p.texts:
			from := len(*bytes)
			*bytes = append(*bytes, frame...)
			frame = (*bytes)[from:]
		}
		f.set(base, frame)
	}
	return true
}

// mayBeSealed reports whether a value starts like a ciphertext.
func mayBeSealed(value []byte, text bool) bool {
	if text {
		return len(value) >= len(crypto.TextPrefix) && string(value[:len(crypto.TextPrefix)]) == crypto.TextPrefix
	}
	return len(value) > 0 && value[0] == 1
}

func (j *job) quickOpen(p *plan, base unsafe.Pointer, scope int) bool {
	var values [together]crypto.Value
	n, present := 0, uint32(0) // values, and a bit for each field that has one
	for i := range p.quick {
		f := &p.quick[i]
		value, ok := f.value(base)
		if !ok {
			continue
		}
		if len(value) >= largeValue || !mayBeSealed(value, f.text) || !f.text && j.inBuffer(value) {
			return false
		}
		from := len(j.text)
		if cap(j.text)-from < len(value) {
			// Memory that is left behind must hold no plaintext, so all values begin anew.
			clear(j.text)
			j.text = make([]byte, 0, 2*(cap(j.text)+len(value)))
			return j.quickOpen(p, base, scope)
		}
		if f.text {
			decoded, err := crypto.ParseText(j.text, unsafe.String(unsafe.SliceData(value), len(value)))
			if err != nil {
				return false
			}
			j.text = decoded
		} else {
			j.text = append(j.text, value...)
		}
		v := &values[n%together]
		v.Text, v.Context = j.text[from:], j.quickContext(i)
		n++
		present |= 1 << i
	}
	if !j.openByKey(values[:n], scope) {
		return false
	}
	total, buffered := 0, 0 // bytes for the arena, and for the caller's buffer
	for i := range n {
		total += len(values[i].Text)
	}
	if j.opt.buffer != nil {
		for i, k := 0, 0; i < len(p.quick); i++ {
			if present&(1<<i) == 0 {
				continue
			}
			if !p.quick[i].text {
				buffered += len(values[k].Text)
			}
			k++
		}
		total -= buffered
		j.out = roomFor(*j.opt.buffer, buffered)
	}
	arena := make([]byte, 0, total)
	bytes := j.bytesTo(&arena)
	n = 0
	for i := range p.quick {
		f := &p.quick[i]
		if present&(1<<i) == 0 {
			blank(unsafe.Add(base, f.offset), f.text)
			continue
		}
		to := bytes
		if f.text {
			to = &arena
		}
		from := len(*to)
		*to = append(*to, values[n%together].Text...)
		n++
		f.set(base, (*to)[from:])
	}
	return true
}

// openByKey opens values, which mostly are all under one key, and reports whether it did.
func (j *job) openByKey(values []crypto.Value, scope int) bool {
	for len(values) > 0 {
		id, err := crypto.KeyID(values[0].Text)
		if err != nil {
			return false
		}
		key, err := j.namedKey(keyring.Data, scope, id)
		if err != nil {
			j.failed = lookup{id, err}
			return false
		}
		n := 1
		for n < len(values) {
			if other, err := crypto.KeyID(values[n].Text); err != nil || other != id {
				break
			}
			n++
		}
		if key.OpenAll(values[:n]) != nil {
			return false
		}
		values = values[n:]
	}
	return true
}
