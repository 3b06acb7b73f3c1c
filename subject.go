package structseal

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"unsafe"

	"github.com/structseal/structseal/crypto"
	"github.com/structseal/structseal/keyring"
)

// subjectBatch records are looked up in the key store at once.
const subjectBatch = 500

// subject returns the keys of a scope, looked up when the first item needs them: a
// record without values needs none. To seal, they are created.
func (j *job) subject(n int) (*keyring.SubjectKeys, error) {
	s := &j.scopes[n-1]
	if s.acquired {
		return &s.keys, nil
	}
	// The string is over the job's memory, which outlives the keys.
	id := j.binds[s.id.from:s.id.to]
	subj := keyring.Subject{Kind: s.kind, ID: unsafe.String(unsafe.SliceData(id), len(id))}
	var err error
	if j.op == opEncrypt {
		s.keys, err = j.ring.EnsureSubject(j.ctx, subj)
	} else {
		s.keys, err = j.ring.Subject(j.ctx, subj)
	}
	s.acquired = err == nil
	return &s.keys, err
}

// primaryKey returns the key to seal an item with: its subject's, or the ring's. scope is
// the item's.
func (j *job) primaryKey(purpose keyring.Purpose, scope int) (*crypto.Key, error) {
	if err := j.lookedUp(purpose, 0); err != nil {
		return nil, err
	}
	if scope == 0 {
		return j.ring.Primary(j.ctx, purpose)
	}
	keys, err := j.subject(scope)
	if err != nil {
		return nil, err
	}
	return keys.Primary()
}

// namedKey returns the key of an id, in the scope of an item.
func (j *job) namedKey(purpose keyring.Purpose, scope int, id uint32) (*crypto.Key, error) {
	if err := j.lookedUp(purpose, id); err != nil {
		return nil, err
	}
	if scope == 0 {
		return j.ring.Key(j.ctx, purpose, id)
	}
	keys, err := j.subject(scope)
	if err != nil {
		return nil, err
	}
	return keys.Key(j.ctx, id)
}

// A lookup is of a data key that the short way didn't get: the long way doesn't ask for
// it again, which may take long.
type lookup struct {
	id  uint32 // 0 is the primary key
	err error
}

// lookedUp returns the error of an earlier lookup of a key.
func (j *job) lookedUp(purpose keyring.Purpose, id uint32) error {
	if j.failed.err == nil || purpose != keyring.Data || id != j.failed.id {
		return nil
	}
	return j.failed.err
}

// warmSubjects loads the subjects of many records together. What fails here fails
// again, where it can be told of each record.
func warmSubjects[T any](ctx context.Context, ring *keyring.Keyring, op string, vs []T) {
	if ring == nil || len(vs) < 2 {
		return
	}
	// Those without values need no keys, and get none.
	w := warming{known: make([]keyring.Subject, 0, len(vs)), encrypt: op == opEncrypt}
	for i := range vs {
		v := reflect.ValueOf(&vs[i]).Elem()
		for v.Kind() == reflect.Pointer || v.Kind() == reflect.Interface {
			if v.IsNil() {
				break
			}
			v = v.Elem()
		}
		if v.Kind() != reflect.Struct {
			continue
		}
		p, err := planOf(v.Type())
		if err != nil {
			continue
		}
		if !v.CanAddr() {
			fresh := reflect.New(v.Type()).Elem()
			fresh.Set(v)
			v = fresh
		}
		w.record(p, v.Addr().UnsafePointer(), 0)
	}
	if len(w.known) > 0 {
		_ = ring.WarmSubjects(ctx, w.known, w.encrypt)
	}
}

// warming collects the subjects of records, and of the records inside them.
type warming struct {
	known   []keyring.Subject
	encrypt bool
	text    []byte
}

// warmDepth is how deep records are looked for. Below, subjects are loaded when
// they are needed.
const warmDepth = 4

func (w *warming) record(p *plan, base unsafe.Pointer, depth int) {
	if b := p.subject; b != nil && (!w.encrypt || hasValue(p, base)) {
		text, err := appendBind(w.text[:0], b.kind, b.typ, unsafe.Add(base, b.offset))
		if err == nil {
			w.text = text
			w.known = append(w.known, keyring.Subject{Kind: b.subjectKind, ID: string(text)})
		}
	}
	w.inside(p, base, depth)
}

func (w *warming) inside(p *plan, base unsafe.Pointer, depth int) {
	for i := range p.fields {
		w.node(p.fields[i].node, unsafe.Add(base, p.fields[i].offset), depth+1)
	}
}

func (w *warming) node(n *node, v unsafe.Pointer, depth int) {
	if n.kind.leaf() || depth > warmDepth {
		return
	}
	switch n.kind {
	case kindPointer:
		if p := *(*unsafe.Pointer)(v); p != nil {
			w.node(n.elem, p, depth)
		}
	case kindSlice:
		if n.elem.kind.leaf() {
			return
		}
		s := reflect.NewAt(n.typ, v).Elem()
		for i := range s.Len() {
			w.node(n.elem, unsafe.Add(s.UnsafePointer(), uintptr(i)*n.elem.size), depth)
		}
	case kindStruct:
		w.inside(n.plan, v, depth)
	case kindRecord:
		w.record(n.plan, v, depth)
	}
}

// hasValue reports whether a record has a value to seal, as far as can be seen
// without much ado.
func hasValue(p *plan, base unsafe.Pointer) bool {
	for i := range p.fields {
		n, v := p.fields[i].node, unsafe.Add(base, p.fields[i].offset)
		switch n.kind {
		case kindString, kindSealed:
			return true
		case kindBytes:
			if *(*[]byte)(v) != nil {
				return true
			}
		case kindNull:
			if *(*bool)(unsafe.Add(v, n.valid)) {
				return true
			}
		case kindPointer:
			if n.elem.kind.leaf() && *(*unsafe.Pointer)(v) != nil {
				return true
			}
		case kindStruct:
			if hasValue(n.plan, v) {
				return true
			}
		}
	}
	return false
}

// mayHaveSubject reports whether records of type t name a subject, or hold records
// that do.
func mayHaveSubject(t reflect.Type) bool {
	if t.Kind() == reflect.Interface {
		return true
	}
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct {
		return false
	}
	p, err := planOf(t)
	return err == nil && p.reachesSubject(0)
}

func (p *plan) reachesSubject(depth int) bool {
	if p.subject != nil {
		return true
	}
	for i := range p.fields {
		n := p.fields[i].node
		for n.elem != nil {
			n = n.elem
		}
		if n.plan != nil && depth < warmDepth && n.plan.reachesSubject(depth+1) {
			return true
		}
	}
	return false
}

// wiped explains keys that were wiped while they were in use: their subject was
// forgotten, the KMS refused them, their time without a confirmation was over, or the
// ring was closed. A key that is back is no reason to give up.
func (j *job) wiped(it *item, err error) error {
	if !errors.Is(err, crypto.ErrWiped) {
		return err
	}
	var why error
	if it.scope == 0 {
		_, why = j.ring.Key(j.ctx, it.f.purpose(), j.keys[it.key].ID())
	} else {
		s := &j.scopes[it.scope-1]
		var fresh keyring.SubjectKeys
		if fresh, why = j.ring.Subject(j.ctx, keyring.Subject{Kind: s.kind, ID: string(j.binds[s.id.from:s.id.to])}); why == nil {
			fresh.Release()
		}
	}
	if why != nil {
		return why
	}
	return fmt.Errorf("%w: the key was given up while it was in use, and is back; try again: %w", ErrUnavailable, err)
}
