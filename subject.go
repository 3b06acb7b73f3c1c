package structseal

import (
	"context"
	"reflect"
	"unsafe"

	"github.com/structseal/structseal/keyring"
)

// subjectBatch records are looked up in the key store at once.
const subjectBatch = 500

func scopeOf(kind string, id span) scope { return scope{kind: kind, id: id} }

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

// warmSubjects loads the subjects of many records together. What fails here fails
// again, where it can be told of each record.
func warmSubjects[T any](ctx context.Context, ring *keyring.Keyring, op string, vs []T) {
	if ring == nil || len(vs) < 2 {
		return
	}
	var list []keyring.Subject
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
		for i := range p.binds {
			b := &p.binds[i]
			if b.label != p.subject.label {
				continue
			}
			text, err := appendBind(nil, b.kind, b.typ, unsafe.Add(v.Addr().UnsafePointer(), b.offset))
			if err == nil {
				list = append(list, keyring.Subject{Kind: p.subject.kind, ID: string(text)})
			}
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
