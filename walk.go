package structseal

import (
	"context"
	"encoding/binary"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"unsafe"

	"github.com/structseal/structseal/crypto"
	"github.com/structseal/structseal/internal/aad"
	"github.com/structseal/structseal/keyring"
)

// A verb runs in three steps over a shallow copy of the caller's value: walk
// replaces every container on the way to sealed values by a copy and lists the
// values; seal or open computes all of them; finish fills the maps. Whatever
// fails, the caller's value was never touched, and the copy is dropped.

const maxDepth = 1000

// job is one record on its way through a verb.
type job struct {
	ctx  context.Context
	ring *keyring.Keyring
	op   string
	opt  *options

	items  []item
	walked bool     // items have addresses
	keys   []jobKey // of the items
	scopes []scope  // of the records that have a subject
	// What the short way couldn't do, and the long way needn't try again: the lookup of a
	// key, and sealing.
	failed  lookup
	refused error
	maps    []pendingMap
	seen    map[visit]struct{}
	depth   int
	stack   []byte // encoded path elements from the record down to here
	paths   []byte // encoded paths of the items below the record's own level
	binds   []byte // encoded bindings of every record
	texts   []byte // of the bind values of one record
	ends    []int  // where each of them ends

	// Of the short way: the contexts of all fields of the last record, one after the
	// other, its plan, and how long its bindings were.
	contexts    []byte
	contextEnds [together]int
	shape       *plan
	shapeBinds  int

	opening []byte // encoded magic and ring name
	context []byte // context of one item
	text    []byte // plaintexts of Sealed, or decoded ciphertexts
	frame   []byte // one ciphertext or plaintext
	out     []byte // the caller's buffer, extended
	crowded bool   // the record has bytes in that one's free room
	opened  int    // how much of frame has held plaintext
	sealer  crypto.Sealer
	// The sealer may have provided for more values than it has sealed.
	provided bool
	// The job is for several records, of so many values, which the sealer doesn't know yet.
	announced int
	sealing   int // index in job.keys of the key that sealer has
}

// item is one value to seal or open. It has few pointers, because every one that
// is written costs a write barrier while the garbage collector runs.
type item struct {
	p unsafe.Pointer // in the copy; nil for a field of a flat record
	f *field
	n *node // leaf
	// Where its encoded path is in job.paths; 0, 0 is the field's own. And where
	// the encoded bindings of its record are in job.binds.
	path, binds span
	// Where the plaintext of a Sealed, or the decoded ciphertext, is in job.text.
	text span
	key  int // index in job.keys
	// Whose keys it uses: 0 the ring's, else index in job.scopes and 1.
	scope int
	pass  bool // plaintext that AllowPlaintext lets through
}

// jobKey is a key that items of the job use.
type jobKey struct {
	*crypto.Key
	purpose keyring.Purpose
	scope   int
	count   int // of the items
}

// scope is the subject of a record, whose keys are looked up when an item needs
// them.
type scope struct {
	kind     string
	id       span // in job.binds
	acquired bool
	keys     keyring.SubjectKeys
}

// span is a piece of a buffer of the job.
type span struct{ from, to int }

// pendingMap is filled at the end: map elements have no address.
type pendingMap struct{ m, keys, values reflect.Value }

type visit struct {
	p unsafe.Pointer
	t reflect.Type
}

var jobs = sync.Pool{New: func() any { return new(job) }}

func newJob(ctx context.Context, ring *keyring.Keyring, op string, opt *options) *job {
	j := jobs.Get().(*job)
	j.ctx, j.op, j.opt = ctx, op, opt
	if j.ring != ring {
		j.ring, j.shape = ring, nil
		if ring != nil {
			j.opening = aad.AppendRing(j.opening[:0], ring.Name())
		}
	}
	return j
}

// release wipes what the job has seen and keeps its memory for the next one. What it
// leaves there are plans, which live for ever, and keys, which their ring wipes.
func (j *job) release() {
	j.wipe()
	if j.provided { // what is left of it must not outlive the call
		j.sealer.Drop()
	}
	j.ctx, j.opt, j.provided, j.announced = nil, nil, false, 0
	if cap(j.contexts) > 1<<16 {
		j.contexts, j.shape = nil, nil
	}
	if cap(j.text)+cap(j.frame) > 1<<16 || cap(j.items) > 1<<10 {
		return // a huge record must not stay in the pool
	}
	jobs.Put(j)
}

// wipe is release between the records of one call.
func (j *job) wipe() {
	j.withhold()
	for i := range j.scopes {
		j.scopes[i].keys.Release()
	}
	if j.walked {
		clear(j.items)
		clear(j.maps)
		clear(j.seen)
		j.walked, j.maps = false, j.maps[:0]
	}
	clear(j.scopes)
	clear(j.text)
	clear(j.frame[:min(j.opened, cap(j.frame))])
	j.opened = 0
	j.items, j.keys, j.scopes = j.items[:0], j.keys[:0], j.scopes[:0]
	j.stack, j.paths, j.binds = j.stack[:0], j.paths[:0], j.binds[:0]
	j.text, j.frame = j.text[:0], j.frame[:0]
	j.depth, j.failed, j.refused, j.crowded = 0, lookup{}, nil, false
}

// at says where the walk is: in which record, and how many path elements below
// it, which start in job.stack at start.
type at struct {
	record *plan
	binds  span
	scope  int
	start  int
	n      int
}

// record walks a struct that is a record, at base in the copy.
func (j *job) record(p *plan, base unsafe.Pointer, only labels) error {
	j.walked = true
	var binds span
	owner := 0
	if j.ring != nil { // Inspect reads headers only
		j.texts, j.ends = j.texts[:0], j.ends[:0]
		for i := range p.binds {
			b := &p.binds[i]
			if b.kind == bindBytes {
				j.mustStay(*(*[]byte)(unsafe.Add(base, b.offset)))
			}
			text, err := appendBind(j.texts, b.kind, b.typ, unsafe.Add(base, b.offset))
			if err != nil {
				return j.bindFailure(b.owner, b.name, b.label, err)
			}
			j.texts, j.ends = text, append(j.ends, len(text))
		}
		var err error
		if binds, owner, err = j.bindings(p); err != nil {
			return err
		}
	}
	return j.fields(p, base, at{record: p, binds: binds, scope: owner, start: len(j.stack)}, only)
}

func (j *job) fields(p *plan, base unsafe.Pointer, a at, only labels) error {
	for i := range p.fields {
		f := &p.fields[i]
		sub, ok := only.pick(f.label)
		if !ok {
			if f.node.kind == kindBytes {
				j.mustStay(*(*[]byte)(unsafe.Add(base, f.offset)))
			}
			continue
		}
		v := unsafe.Add(base, f.offset)
		if a.n == 0 && f.node.kind.leaf() {
			j.leaf(f, f.node, v, span{}, a)
			continue
		}
		size := len(j.stack)
		below := a
		if f.step != nil {
			j.stack = append(j.stack, f.step...)
			below.n++
		}
		if err := j.walk(f, f.node, v, below, sub); err != nil {
			return err
		}
		j.stack = j.stack[:size]
	}
	return nil
}

// leaf lists a value, unless it is NULL.
func (j *job) leaf(f *field, n *node, v unsafe.Pointer, path span, a at) {
	if n.kind == kindBytes && *(*[]byte)(v) == nil {
		return
	}
	j.items = append(j.items, item{p: v, f: f, n: n, path: path, binds: a.binds, scope: a.scope})
}

// path encodes where the walk is.
func (j *job) path(a at) span {
	start := len(j.paths)
	j.paths = append(j.paths, a.record.opening...)
	j.paths = aad.AppendCount(j.paths, a.n)
	j.paths = append(j.paths, j.stack[a.start:]...)
	return span{start, len(j.paths)}
}

// pathOf returns the encoded path of an item: record label and path.
func (j *job) pathOf(it *item) []byte {
	if it.path == (span{}) {
		return it.f.path
	}
	return j.paths[it.path.from:it.path.to]
}

// walk replaces the container at v by a copy and goes on inside.
func (j *job) walk(f *field, n *node, v unsafe.Pointer, a at, only labels) error {
	if j.depth++; j.depth > maxDepth {
		return j.failureAt(f, a, fmt.Errorf("%w, or values nested deeper than %d levels", ErrAliased, maxDepth))
	}
	defer func() { j.depth-- }()
	switch n.kind {
	case kindString, kindBytes, kindSealed:
		j.leaf(f, n, v, j.path(a), a)
	case kindNull:
		if !*(*bool)(unsafe.Add(v, n.valid)) {
			// NULL in the database; what the other half holds must not survive
			// as plaintext in the copy.
			reflect.NewAt(n.elem.typ, v).Elem().SetZero()
			return nil
		}
		return j.walk(f, n.elem, v, a, only)
	case kindPointer:
		return j.pointer(f, n, v, a, only)
	case kindSlice:
		old := reflect.NewAt(n.typ, v).Elem()
		if old.IsNil() {
			return nil
		}
		fresh := reflect.MakeSlice(n.typ, old.Len(), old.Len())
		reflect.Copy(fresh, old)
		old.Set(fresh)
		return j.elements(f, n, fresh.UnsafePointer(), fresh.Len(), a, only)
	case kindArray:
		return j.elements(f, n, v, n.typ.Len(), a, only)
	case kindMap:
		return j.mapped(f, n, v, a, only)
	case kindStruct:
		return j.fields(n.plan, v, a, only)
	case kindRecord:
		return j.record(n.plan, v, only)
	}
	return nil
}

func (j *job) pointer(f *field, n *node, v unsafe.Pointer, a at, only labels) error {
	p := *(*unsafe.Pointer)(v)
	if p == nil {
		return nil
	}
	if j.seen == nil {
		j.seen = map[visit]struct{}{}
	}
	// Two ways to one value would need two contexts. Values without a size may
	// all be at one address and hold nothing.
	key := visit{p, n.elem.typ}
	if _, ok := j.seen[key]; ok && n.elem.size > 0 {
		return j.failureAt(f, a, ErrAliased)
	}
	j.seen[key] = struct{}{}
	fresh := reflect.New(n.elem.typ)
	fresh.Elem().Set(reflect.NewAt(n.elem.typ, p).Elem())
	*(*unsafe.Pointer)(v) = fresh.UnsafePointer()
	return j.walk(f, n.elem, fresh.UnsafePointer(), a, only)
}

func (j *job) elements(f *field, n *node, first unsafe.Pointer, count int, a at, only labels) error {
	size := len(j.stack)
	a.n++
	for i := range count {
		j.stack = aad.AppendIndex(j.stack[:size], uint64(i), uint64(count))
		if err := j.walk(f, n.elem, unsafe.Add(first, uintptr(i)*n.elem.size), a, only); err != nil {
			return err
		}
	}
	j.stack = j.stack[:size]
	return nil
}

func (j *job) mapped(f *field, n *node, v unsafe.Pointer, a at, only labels) error {
	old := reflect.NewAt(n.typ, v).Elem()
	if old.IsNil() {
		return nil
	}
	count := old.Len()
	pm := pendingMap{
		m:      reflect.MakeMapWithSize(n.typ, count),
		keys:   reflect.MakeSlice(reflect.SliceOf(n.typ.Key()), 0, count),
		values: reflect.MakeSlice(reflect.SliceOf(n.typ.Elem()), 0, count),
	}
	for it := old.MapRange(); it.Next(); {
		pm.keys = reflect.Append(pm.keys, it.Key())
		pm.values = reflect.Append(pm.values, it.Value())
	}
	j.maps = append(j.maps, pm)
	old.Set(pm.m)
	size := len(j.stack)
	a.n++
	var texts map[string]bool
	if n.typ.Key().Kind() != reflect.String { // MarshalText may write one text for two keys
		texts = make(map[string]bool, count)
	}
	for i := range pm.keys.Len() {
		key, err := mapKeyText(pm.keys.Index(i))
		if err == nil && texts[key] {
			return j.failureAt(f, at{a.record, a.binds, a.scope, a.start, a.n - 1}, fmt.Errorf("%w: two map keys have the same text, so their values could be swapped", ErrInvalidArgument))
		}
		if texts != nil {
			texts[key] = true
		}
		if err != nil {
			return j.failureAt(f, at{a.record, a.binds, a.scope, a.start, a.n - 1}, fmt.Errorf("%w: map key: MarshalText failed", ErrInvalidArgument))
		}
		j.stack = aad.AppendKey(j.stack[:size], key)
		if err := j.walk(f, n.elem, pm.values.Index(i).Addr().UnsafePointer(), a, only); err != nil {
			return err
		}
	}
	j.stack = j.stack[:size]
	return nil
}

// finish fills the maps.
func (j *job) finish() {
	for _, pm := range j.maps {
		for i := range pm.keys.Len() {
			pm.m.SetMapIndex(pm.keys.Index(i), pm.values.Index(i))
		}
	}
}

// bindings encodes the bind fields of a record, whose texts are in job.texts, and the
// Bind options, merged in label order. owner is the scope of the record's values.
func (j *job) bindings(p *plan) (binds span, owner int, err error) {
	for _, label := range p.marker.Require {
		if !j.opt.binds(label) {
			return span{}, 0, j.bindFailure(p.typ, "", label, fmt.Errorf("%w: the marker requires Bind(%q, value)", ErrUnbound, label))
		}
	}
	var subject span
	from := 0
	start := len(j.binds)
	j.binds = aad.AppendCount(j.binds, len(p.binds)+len(j.opt.bind))
	extra := j.opt.bind
	for i := range p.binds {
		b := &p.binds[i]
		for len(extra) > 0 && extra[0].Label < b.label {
			j.appendExtra(extra[0])
			extra = extra[1:]
		}
		if len(extra) > 0 && extra[0].Label == b.label {
			return span{}, 0, j.bindFailure(b.owner, b.name, b.label, fmt.Errorf("%w: Bind(%q) has the label of this bind field", ErrInvalidArgument, b.label))
		}
		text := j.texts[from:j.ends[i]]
		from = j.ends[i]
		j.binds = aad.AppendString(append(j.binds, b.encoded...), text)
		if b == p.subject {
			subject = span{len(j.binds) - len(text), len(j.binds)}
		}
	}
	for _, b := range extra {
		j.appendExtra(b)
	}
	return span{start, len(j.binds)}, j.addScope(p, subject), nil
}

// addScope adds the scope of a record's values, if it has a subject, whose id is in
// job.binds.
func (j *job) addScope(p *plan, id span) (owner int) {
	if p.subject == nil {
		return 0
	}
	j.scopes = append(j.scopes, scope{kind: p.subject.subjectKind, id: id})
	return len(j.scopes)
}

func (j *job) appendExtra(b crypto.Binding) {
	j.binds = aad.AppendString(j.binds, b.Label)
	j.binds = aad.AppendString(j.binds, b.Value)
}

func (o *options) binds(label string) bool {
	for _, b := range o.bind {
		if b.Label == label {
			return true
		}
	}
	return false
}

func (j *job) bindFailure(owner reflect.Type, name, label string, err error) error {
	return &FieldError{Op: j.op, Type: typeName(owner), Field: name, Label: label, Err: err}
}

// failureAt locates an error where the walk is.
func (j *job) failureAt(f *field, a at, err error) error {
	path := j.path(a)
	return j.failure(f, j.paths[path.from:path.to], err)
}

// failure locates an error at an encoded path.
func (j *job) failure(f *field, path []byte, err error) *FieldError {
	return &FieldError{Op: j.op, Type: typeName(f.owner), Field: f.name, Label: pathText(path), Err: err}
}

func (j *job) itemFailure(it *item, keyID uint32, err error) error {
	e := j.failure(it.f, j.pathOf(it), j.wiped(it, err))
	e.KeyID = keyID
	return e
}

// pathText shows an encoded path as "customer.lines[2/3].note". Map keys are
// left out, "customer.notes{}": they may be personal data, and errors are logged.
func pathText(path []byte) string {
	number := func() uint64 {
		n, size := binary.Uvarint(path)
		path = path[size:]
		return n
	}
	text := func() []byte {
		n := number()
		s := path[:n]
		path = path[n:]
		return s
	}
	var b strings.Builder
	b.Write(text())
	number() // of elements
	for len(path) > 0 {
		kind := path[0]
		path = path[1:]
		switch kind {
		case aad.TypeLabel:
			b.WriteByte('.')
			b.Write(text())
		case aad.TypeIndex:
			i := number()
			fmt.Fprintf(&b, "[%d/%d]", i, number())
		default: // aad.TypeKey
			text()
			b.WriteString("{}")
		}
	}
	return b.String()
}
