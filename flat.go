package structseal

import (
	"context"
	"reflect"
	"unsafe"

	"github.com/structseal/structseal/keyring"
)

// Most records are flat: their sealed values are strings and bytes of the struct itself,
// and what binds them has no methods, or no pointers (a uuid.UUID). Such a record needs no
// walk, and nothing keeps its address: it may stay on the caller's stack, which saves an
// allocation and its garbage. What the functions here do with the address must stay such
// that the compiler sees that (TestAllocations).

// isFlat reports whether the record of a plan is flat.
func (p *plan) isFlat() bool {
	for i := range p.fields {
		n := p.fields[i].node
		if n.kind == kindNull {
			n = n.elem
		}
		if n.kind != kindString && n.kind != kindBytes {
			return false
		}
	}
	for i := range p.binds {
		if p.binds[i].kind == bindText && hasPointers(p.binds[i].typ) {
			return false
		}
	}
	return true
}

// flatPlan returns the plan of a type whose records are flat, else nil.
func flatPlan(t reflect.Type) *plan {
	if t.Kind() != reflect.Struct {
		return nil
	}
	p, err := planOf(t)
	if err != nil || !p.flat {
		return nil
	}
	return p
}

// runFlat does a verb on the flat record at base, a copy that is dropped on error.
func runFlat(ctx context.Context, ring *keyring.Keyring, op string, p *plan, base unsafe.Pointer, o *options) error {
	if err := ready(ctx, ring, op, p, o); err != nil {
		return err
	}
	j := newJob(ctx, ring, op, o)
	defer j.release()
	return j.flatRecord(p, base)
}

// flatRecord is runFlat for one of several records.
func (j *job) flatRecord(p *plan, base unsafe.Pointer) error {
	if j.quick(p, base) {
		return nil
	}
	if err := j.flat(p, base, j.opt.only); err != nil {
		return err
	}
	var err error
	if j.op == opEncrypt {
		err = j.seal(base)
	} else {
		err = j.open(base)
	}
	if err == nil {
		j.deliver()
	}
	return err
}

// flatBindings is bindings for the flat record at base.
func (j *job) flatBindings(p *plan, base unsafe.Pointer) (binds span, owner int, err error) {
	j.texts, j.ends = j.texts[:0], j.ends[:0]
	for i := range p.binds {
		b := &p.binds[i]
		if b.kind == bindBytes {
			j.mustStay(*(*[]byte)(unsafe.Add(base, b.offset)))
		}
		text, err := appendPlainBind(j.texts, b.kind, b.typ, unsafe.Add(base, b.offset))
		if err != nil {
			return span{}, 0, j.bindFailure(b.owner, b.name, b.label, err)
		}
		j.texts, j.ends = text, append(j.ends, len(text))
	}
	return j.bindings(p)
}

// flat lists the values of a flat record.
func (j *job) flat(p *plan, base unsafe.Pointer, only labels) error {
	binds, owner, err := j.flatBindings(p, base)
	if err != nil {
		return err
	}
	for i := range p.fields {
		f := &p.fields[i]
		if _, ok := only.pick(f.label); !ok {
			if f.node.kind == kindBytes {
				j.mustStay(*(*[]byte)(unsafe.Add(base, f.offset)))
			}
			continue
		}
		n, v := f.node, unsafe.Add(base, f.offset)
		if n.kind == kindNull {
			valid := *(*bool)(unsafe.Add(v, n.valid))
			if n = n.elem; !valid { // as walk does it
				blank(v, n.kind == kindString)
				continue
			}
		}
		if n.kind == kindBytes && *(*[]byte)(v) == nil {
			continue
		}
		j.listFlat(f, n, binds, owner)
	}
	return nil
}

// listFlat lists a value of a flat record. The last record of the job was mostly of the
// same type, so that its pointers are there already: writing them again would cost a
// write barrier each while the garbage collector runs.
func (j *job) listFlat(f *field, n *node, binds span, owner int) {
	at := len(j.items)
	if at == cap(j.items) {
		j.items = append(j.items, item{f: f, n: n})
	}
	j.items = j.items[:at+1]
	it := &j.items[at]
	if it.f != f || it.n != n || it.p != nil {
		*it = item{f: f, n: n}
	}
	it.path, it.binds, it.text, it.key, it.scope, it.pass = span{}, binds, span{}, 0, owner, false
}

// at is where the value of an item is, in the record at base if that is flat.
func (it *item) at(base unsafe.Pointer) unsafe.Pointer {
	if it.p == nil {
		return unsafe.Add(base, it.f.offset)
	}
	return it.p
}
