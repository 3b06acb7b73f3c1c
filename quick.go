package structseal

import (
	"errors"
	"slices"
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
		fields = append(fields, q)
	}
	p.texts = slices.ContainsFunc(fields, func(q quickField) bool { return q.text })
	p.mixed = p.texts && slices.ContainsFunc(fields, func(q quickField) bool { return !q.text })
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
		var text []byte
		if at := unsafe.Add(base, b.offset); b.kind == bindString { // as most are: not copied twice
			s := *(*string)(at)
			text = unsafe.Slice(unsafe.StringData(s), len(s))
		} else {
			var err error
			if text, err = appendPlainBind(j.texts[:0], b.kind, b.typ, at); err != nil {
				return 0, false
			}
			j.texts = text
		}
		if len(text) == 0 {
			return 0, false
		}
		dst = aad.AppendString(append(dst, b.encoded...), text)
		if b == p.subject {
			subject = span{len(dst) - len(text), len(dst)}
		}
	}
	keep(&j.binds, dst)
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

// blank removes what the other half of a NULL at v holds, a string or a []byte.
func blank(v unsafe.Pointer, text bool) {
	if text {
		*(*string)(v) = ""
	} else {
		*(*[]byte)(v) = nil
	}
}

// quickSeal and quickOpen list the values in a loop each: one for both, and another one to
// parse texts, takes a thirtieth longer to open a record. What is unsigned, and below a
// length, needs no check there.
func (j *job) quickSeal(p *plan, base unsafe.Pointer, scope int) bool {
	var values [together]crypto.Value
	n, total, present := 0, 0, uint32(0) // a bit for each field that has a value
	context := 0
	fields := p.quick
	for i := range fields {
		f := &fields[i]
		from := context
		context = j.contextEnds[uint(i)%together]
		value, ok := f.value(base)
		if !ok {
			continue
		}
		if len(value) >= largeValue || mayBeSealed(value, f.text) || !f.text && j.inBuffer(value) {
			return false
		}
		values[uint(n)%together] = crypto.Value{Text: value, Context: j.contexts[from:context]}
		n++
		present |= 1 << (uint(i) % 32)
		total += len(value)
	}
	var out []byte
	overhead := 0
	if n > 0 { // else no key: a subject's might have to be made
		key, err := j.primaryKey(keyring.Data, scope)
		if err != nil {
			j.failed = lookup{0, err}
			return false
		}
		overhead = key.Suite().Overhead()
		if out, err = j.quickSealAll(p, key, scope, values[:n], total+n*overhead); err != nil {
			if !errors.Is(err, crypto.ErrWiped) { // another key may be there by now
				j.refused = err
			}
			return false
		}
	}
	if p.mixed {
		j.quickSetApart(p, base, values[:n], present, out, overhead)
	} else {
		p.quickSet(base, values[:n], present, out, overhead)
	}
	return true
}

// quickSealAll seals the values of a record, whose ciphertexts have size bytes in all, with
// one allocation. Those of a mixed one are in j.frame.
func (j *job) quickSealAll(p *plan, key *crypto.Key, scope int, values []crypto.Value, size int) (out []byte, err error) {
	j.sealing = -1
	if j.announced > 0 && scope == 0 {
		j.provided = true
		if err := j.sealer.Reset(key, j.announced); err != nil {
			return nil, err
		}
		j.announced = 0
	}
	switch {
	case p.mixed:
		if out, err = j.sealer.SealAll(key, j.frame[:0], values); err == nil {
			j.frame = out
		}
	case p.texts:
		out, err = j.sealer.SealAllText(key, nil, values)
	case j.opt.buffer != nil:
		from := len(*j.opt.buffer)
		if j.out, err = j.sealer.SealAll(key, roomFor(*j.opt.buffer, size), values); err == nil {
			out = j.out[from:]
		}
	default:
		out, err = j.sealer.SealAll(key, nil, values)
	}
	return out, err
}

// quickSet puts what became of the values into the record at base, and removes what is
// beside a NULL. In out they are one after the other, each longer than it was by overhead,
// and in text form if it has one and overhead isn't negative.
func (p *plan) quickSet(base unsafe.Pointer, values []crypto.Value, present uint32, out []byte, overhead int) {
	fields, n, end := p.quick, 0, 0
	for i := range fields {
		f := &fields[i]
		v := unsafe.Add(base, f.offset)
		there := present&1 != 0
		present >>= 1
		if !there {
			blank(v, f.text)
			continue
		}
		start, size := end, len(values[n].Text)+overhead
		n++
		if !f.text {
			end += size
			*(*[]byte)(v) = out[start:end:end]
			continue
		}
		if overhead >= 0 {
			size = crypto.TextLen(size)
		}
		end += size
		*(*string)(v) = unsafe.String(unsafe.SliceData(out[start:end]), size)
	}
}

// quickSetApart is quickSet where strings and bytes go to memory of their own. None of out is
// in text form.
func (j *job) quickSetApart(p *plan, base unsafe.Pointer, values []crypto.Value, present uint32, out []byte, overhead int) {
	total, buffered, n := 0, 0, 0
	for i := range p.quick {
		if present&(1<<i) == 0 {
			continue
		}
		switch size := len(values[n].Text) + overhead; {
		case p.quick[i].text && overhead >= 0:
			total += crypto.TextLen(size)
		case p.quick[i].text || j.opt.buffer == nil:
			total += size
		default:
			buffered += size
		}
		n++
	}
	arena := make([]byte, 0, total)
	if j.opt.buffer != nil {
		j.out = roomFor(*j.opt.buffer, buffered)
	}
	bytes := j.bytesTo(&arena)
	n = 0
	for i := range p.quick {
		f := &p.quick[i]
		v := unsafe.Add(base, f.offset)
		if present&(1<<i) == 0 {
			blank(v, f.text)
			continue
		}
		size := len(values[n].Text) + overhead
		piece := out[:size]
		out = out[size:]
		n++
		if !f.text {
			from := len(*bytes)
			*bytes = append(*bytes, piece...)
			*(*[]byte)(v) = (*bytes)[from:len(*bytes):len(*bytes)]
			continue
		}
		from := len(arena)
		if overhead >= 0 {
			arena = crypto.AppendText(arena, piece)
		} else {
			arena = append(arena, piece...)
		}
		*(*string)(v) = unsafe.String(unsafe.SliceData(arena[from:]), len(arena)-from)
	}
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
	n, total, present := 0, 0, uint32(0) // a bit for each field that has a value
	text, context := j.text[:0], 0
	fields := p.quick
	for i := range fields {
		f := &fields[i]
		from := context
		context = j.contextEnds[uint(i)%together]
		value, ok := f.value(base)
		if !ok {
			continue
		}
		if len(value) >= largeValue {
			return false
		}
		if f.text {
			if cap(text)-len(text) < len(value) { // earlier values stay where they are
				text = make([]byte, 0, 2*(cap(text)+len(value)))
			}
			decoded, err := crypto.ParseText(text, unsafe.String(unsafe.SliceData(value), len(value)))
			if err != nil {
				return false
			}
			value, text = decoded[len(text):], decoded
		} else if !mayBeSealed(value, false) || j.inBuffer(value) {
			return false
		}
		values[uint(n)%together] = crypto.Value{Text: value, Context: j.contexts[from:context]}
		n++
		present |= 1 << (uint(i) % 32)
		total += len(value)
	}
	keep(&j.text, text)
	var out []byte
	overhead := 0
	if n > 0 { // mostly all are under one key
		id, err := crypto.KeyID(values[0].Text)
		if err != nil {
			return false
		}
		key, err := j.namedKey(keyring.Data, scope, id)
		if err != nil {
			j.failed = lookup{id, err}
			return false
		}
		overhead = key.Suite().Overhead()
		if out, err = j.quickOpenAll(p, key, values[:n], total-n*overhead); err != nil {
			return false
		}
	}
	if p.mixed && j.opt.buffer != nil {
		j.quickSetApart(p, base, values[:n], present, out, -overhead)
		return true // what is in j.text will be wiped
	}
	p.quickSet(base, values[:n], present, out, -overhead)
	j.text = j.text[:0] // ciphertexts
	return true
}

// quickOpenAll opens the values of a record, whose plaintexts have size bytes in all, with
// one allocation. Those of a mixed one whose bytes go to a buffer are in j.text.
func (j *job) quickOpenAll(p *plan, key *crypto.Key, values []crypto.Value, size int) (out []byte, err error) {
	switch {
	case j.opt.buffer == nil || p.texts && !p.mixed:
		out, err = key.OpenAll([]byte{}, values)
	case p.mixed:
		from := len(j.text)
		if out, err = key.OpenAll(j.text, values); err == nil {
			j.text, out = out, out[from:]
		}
	default:
		from := len(*j.opt.buffer)
		if j.out, err = key.OpenAll(roomFor(*j.opt.buffer, size), values); err == nil {
			out = j.out[from:]
		}
	}
	return out, err
}

// keep stores what to has become. A pointer that is there already isn't stored again: that
// costs a write barrier while the garbage collector runs.
func keep(to *[]byte, b []byte) {
	if cap(b) == cap(*to) && unsafe.SliceData(b) == unsafe.SliceData(*to) {
		*to = (*to)[:len(b)]
	} else {
		*to = b
	}
}
