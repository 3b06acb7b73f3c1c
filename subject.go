package structseal

import (
	"context"
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

// primaryKey returns the key to seal an item with: its subject's, or the ring's.
func (j *job) primaryKey(it *item) (*crypto.Key, error) {
	if it.scope == 0 {
		return j.ring.Primary(j.ctx, it.f.purpose())
	}
	keys, err := j.subject(it.scope)
	if err != nil {
		return nil, err
	}
	return keys.Primary()
}

// namedKey returns the key of an id, in the scope of the item.
func (j *job) namedKey(it *item, id uint32) (*crypto.Key, error) {
	if it.scope == 0 {
		return j.ring.Key(j.ctx, it.f.purpose(), id)
	}
	keys, err := j.subject(it.scope)
	if err != nil {
		return nil, err
	}
	return keys.Key(j.ctx, id)
}

// warmSubjects loads the subjects of many records together. What fails here fails
// again, where it can be told of each record.
func warmSubjects[T any](ctx context.Context, ring *keyring.Keyring, op string, vs []T) {
	if ring == nil || len(vs) < 2 {
		return
	}
	list := make([]keyring.Subject, 0, len(vs))
	var text []byte
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
		if err != nil || p.subject == nil {
			continue
		}
		if !v.CanAddr() {
			fresh := reflect.New(v.Type()).Elem()
			fresh.Set(v)
			v = fresh
		}
		b := p.subject
		text, err = appendBind(text[:0], b.kind, b.typ, unsafe.Add(v.Addr().UnsafePointer(), b.offset))
		if err == nil {
			list = append(list, keyring.Subject{Kind: b.subjectKind, ID: string(text)})
		}
	}
	if len(list) > 0 {
		_ = ring.WarmSubjects(ctx, list, op == opEncrypt)
	}
}

// mayHaveSubject reports whether records of type t name a subject.
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
	return err == nil && p.subject != nil
}
