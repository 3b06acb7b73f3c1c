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

// blank removes what the other half of a NULL at v holds, a string or a []byte.
func blank(v unsafe.Pointer, text bool) {
	if text {
		*(*string)(v) = ""
	} else {
		*(*[]byte)(v) = nil
	}
}

func (j *job) quickSeal(p *plan, base unsafe.Pointer, scope int) bool {
	var values [together]crypto.Value
	n, total, present := 0, 0, uint32(0) // a bit for each field that has a value
	for i := range p.quick {
		f := &p.quick[i]
		value, ok := f.value(base)
		if !ok {
			continue
		}
		if len(value) >= largeValue || mayBeSealed(value, f.text) || !f.text && j.inBuffer(value) {
			return false
		}
		values[n%together] = crypto.Value{Text: value, Context: j.quickContext(i)}
		n++
		present |= 1 << i
		total += len(value)
	}
	if n > 0 { // else no key: a subject's might have to be made
		key, err := j.primaryKey(keyring.Data, scope)
		if err != nil {
			j.failed = lookup{0, err}
			return false
		}
		if err := j.quickSealAll(p, key, scope, values[:n], present, total); err != nil {
			if !errors.Is(err, crypto.ErrWiped) { // another key may be there by now
				j.refused = err
			}
			return false
		}
	}
	p.quickSet(base, values[:n], present)
	return true
}

// quickSealAll seals the values of the fields that are present, of total bytes, with one
// allocation.
func (j *job) quickSealAll(p *plan, key *crypto.Key, scope int, values []crypto.Value, present uint32, total int) (err error) {
	j.sealing = -1
	if j.announced > 0 && scope == 0 {
		j.provided = true
		if err := j.sealer.Reset(key, j.announced); err != nil {
			return err
		}
		j.announced = 0
	}
	total += len(values) * key.Suite().Overhead()
	switch {
	case p.mixed:
		if j.frame, err = j.sealer.SealAll(key, j.frame[:0], values); err == nil {
			j.quickSort(p, values, present, crypto.AppendText, crypto.TextLen)
		}
	case p.texts:
		_, err = j.sealer.SealAllText(key, nil, values)
	case j.opt.buffer != nil:
		j.out, err = j.sealer.SealAll(key, roomFor(*j.opt.buffer, total), values)
	default:
		_, err = j.sealer.SealAll(key, nil, values)
	}
	return err
}

// quickSort copies the values of a record that has strings and bytes to where they belong.
func (j *job) quickSort(p *plan, values []crypto.Value, present uint32, appendText func(dst, b []byte) []byte, textLen func(int) int) {
	n, total, buffered := 0, 0, 0
	for i := range p.quick {
		if present&(1<<i) == 0 {
			continue
		}
		switch size := len(values[n].Text); {
		case p.quick[i].text:
			total += textLen(size)
		case j.opt.buffer != nil:
			buffered += size
		default:
			total += size
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
		if present&(1<<i) == 0 {
			continue
		}
		to, from := bytes, 0
		if p.quick[i].text {
			from = len(arena)
			arena = appendText(arena, values[n].Text)
			to = &arena
		} else {
			from = len(*bytes)
			*bytes = append(*bytes, values[n].Text...)
		}
		values[n].Text = (*to)[from:]
		n++
	}
}

// quickSet puts what became of the values into the record at base, and removes what is
// beside a NULL.
func (p *plan) quickSet(base unsafe.Pointer, values []crypto.Value, present uint32) {
	n := 0
	for i := range p.quick {
		f := &p.quick[i]
		v := unsafe.Add(base, f.offset)
		switch {
		case present&(1<<i) == 0:
			blank(v, f.text)
			continue
		case f.text:
			*(*string)(v) = unsafe.String(unsafe.SliceData(values[n].Text), len(values[n].Text))
		default:
			*(*[]byte)(v) = values[n].Text[:len(values[n].Text):len(values[n].Text)]
		}
		n++
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
	j.text = j.text[:0]
	for i := range p.quick {
		f := &p.quick[i]
		value, ok := f.value(base)
		if !ok {
			continue
		}
		if len(value) >= largeValue || !mayBeSealed(value, f.text) || !f.text && j.inBuffer(value) {
			return false
		}
		if f.text {
			if cap(j.text)-len(j.text) < len(value) { // earlier values stay where they are
				j.text = make([]byte, 0, 2*(cap(j.text)+len(value)))
			}
			from := len(j.text)
			decoded, err := crypto.ParseText(j.text, unsafe.String(unsafe.SliceData(value), len(value)))
			if err != nil {
				return false
			}
			j.text, value = decoded, decoded[from:]
		}
		values[n%together] = crypto.Value{Text: value, Context: j.quickContext(i)}
		n++
		present |= 1 << i
		total += len(value)
	}
	if n > 0 && !j.quickOpenAll(p, scope, values[:n], present, total) {
		return false
	}
	p.quickSet(base, values[:n], present)
	return true
}

// quickOpenAll opens the values of the fields that are present, of total bytes, with one
// allocation. Mostly they are all under one key.
func (j *job) quickOpenAll(p *plan, scope int, values []crypto.Value, present uint32, total int) bool {
	id, err := crypto.KeyID(values[0].Text)
	if err != nil {
		return false
	}
	key, err := j.namedKey(keyring.Data, scope, id)
	if err != nil {
		j.failed = lookup{id, err}
		return false
	}
	switch {
	case j.opt.buffer == nil:
		_, err = key.OpenAll([]byte{}, values)
	case p.mixed:
		var opened []byte
		if opened, err = key.OpenAll(j.text, values); err == nil {
			j.text = opened // to be wiped
			j.quickSort(p, values, present, func(dst, b []byte) []byte { return append(dst, b...) }, func(n int) int { return n })
		}
	case p.texts:
		_, err = key.OpenAll([]byte{}, values)
	default:
		j.out, err = key.OpenAll(roomFor(*j.opt.buffer, total-len(values)*key.Suite().Overhead()), values)
	}
	return err == nil
}
