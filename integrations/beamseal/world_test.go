package beamseal_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/register"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/runners/prism"

	"github.com/structseal/structseal"
	"github.com/structseal/structseal/integrations/beamseal"
	"github.com/structseal/structseal/keyring"
	"github.com/structseal/structseal/kmsprovider"
	"github.com/structseal/structseal/kmsprovider/localkms"
)

// Workers are in this process, but everything goes to Prism and back by gRPC: DoFns as
// they are serialized, and elements encoded wherever a step of Reshuffle is.

// canary is in every plaintext.
const canary = "CANARY"

// customer has no Sealed: its plaintext and its ciphertext are of one type.
type customer struct {
	_       structseal.Record `seal:"customer"`
	ID      int64             `seal:"id,bind"`
	Email   string            `seal:"email"`
	Raw     []byte            `seal:"raw"`
	Nick    *string           `seal:"nick"`
	Notes   []string          `seal:"notes"`
	Tags    map[string]string `seal:"tags"`
	Null    sql.NullString    `seal:"null"`
	Address address           `seal:"address"`
	Orders  []order           // records of their own
	common
	Plan string // in the clear, as what follows
	Seen time.Time
	Rate float64
	N    uint16
	Hash [4]byte
}

type address struct {
	Street string  `seal:"street"`
	Zip    *string `seal:"zip"`
}

type order struct {
	_    structseal.Record `seal:"order"`
	ID   string            `seal:"id,bind"`
	Item string            `seal:"item"`
}

type common struct {
	Owner string `seal:"owner"`
}

func newCustomer(i int64) customer {
	nick := fmt.Sprint(canary, " nick ", i)
	c := customer{
		ID: i, Email: fmt.Sprintf("%s-%d@example.com", canary, i), Raw: []byte{0, 1, 0xff, byte(i)}, Notes: []string{canary, ""},
		Tags: map[string]string{"a": canary}, Address: address{Street: canary + " street"}, common: common{Owner: canary},
		Orders: []order{{ID: fmt.Sprint("o", i), Item: canary}},
		Plan:   "gold", Seen: time.Unix(1e9+i, 123).UTC(), Rate: float64(i) / 3, N: uint16(i), Hash: [4]byte{1, 2, 3, byte(i)},
	}
	if i%2 == 0 {
		zip := canary + " zip"
		c.Nick, c.Address.Zip = &nick, &zip
		c.Null = sql.NullString{String: canary, Valid: true}
	}
	if i%3 == 0 {
		c.Raw, c.Tags, c.Orders = nil, nil, nil
	}
	return c
}

// show is all of a customer, told exactly.
func show(c customer) string {
	p := func(s *string) string {
		if s == nil {
			return "nil"
		}
		return fmt.Sprintf("%q", *s)
	}
	return fmt.Sprintf("%d %q %#v %s %q %#v %v %q %s %#v %q %q %v %v %d %v",
		c.ID, c.Email, c.Raw, p(c.Nick), c.Notes, c.Tags, c.Null, c.Address.Street, p(c.Address.Zip), c.Orders, c.Owner, c.Plan, c.Seen, c.Rate, c.N, c.Hash)
}

// patient belongs to a person, and has all kinds of Sealed.
type patient struct {
	_      structseal.Record            `seal:"patient"`
	ID     string                       `seal:"id,bind,subject"`
	Name   string                       `seal:"name"`
	Born   structseal.Sealed[time.Time] `seal:"born"`
	Size   *structseal.Sealed[int]      `seal:"size"`
	File   structseal.Sealed[file]      `seal:"file"`
	Values []structseal.Sealed[float64] `seal:"values"`
}

type file struct {
	Ward string
	Beds []int
}

// plainPatient is a patient for those who may read it.
type plainPatient struct {
	ID, Name string
	Born     time.Time
	Size     *int
	File     file
	Values   []float64
}

func newPatient(i int) plainPatient {
	p := plainPatient{
		ID: fmt.Sprint("p", i), Name: fmt.Sprint(canary, i), Born: time.Date(1987, 3, 14, 15, 9, i%60, 26535, time.FixedZone("", 3600)),
		File: file{Ward: canary, Beds: []int{i, i + 1}}, Values: []float64{float64(i), 0.5},
	}
	if i%2 == 0 {
		p.Size = &i
	}
	return p
}

func samePatient(a, b plainPatient) bool {
	size := func(p *int) int {
		if p == nil {
			return -1
		}
		return *p
	}
	return a.ID == b.ID && a.Name == b.Name && a.Born.Equal(b.Born) && size(a.Size) == size(b.Size) &&
		fmt.Sprint(a.File, a.Values) == fmt.Sprint(b.File, b.Values)
}

func sealedPatient(p plainPatient) (patient, error) {
	if p.Name == "refused" {
		return patient{}, errors.New(canary)
	}
	s := patient{ID: p.ID, Name: p.Name, Born: structseal.Of(p.Born), File: structseal.Of(p.File)}
	if p.Size != nil {
		size := structseal.Of(*p.Size)
		s.Size = &size
	}
	for _, v := range p.Values {
		s.Values = append(s.Values, structseal.Of(v))
	}
	return s, nil
}

func plainOf(s patient) (p plainPatient, err error) {
	p.ID, p.Name = s.ID, s.Name
	if p.Born, err = s.Born.Get(); err != nil {
		return p, err
	}
	if p.File, err = s.File.Get(); err != nil {
		return p, err
	}
	if s.Size != nil {
		size, err := s.Size.Get()
		if err != nil {
			return p, err
		}
		p.Size = &size
	}
	for _, v := range s.Values {
		f, err := v.Get()
		if err != nil {
			return p, err
		}
		p.Values = append(p.Values, f)
	}
	return p, nil
}

// switchedKMS is a KMS that can be away.
type switchedKMS struct {
	kmsprovider.Provider
	mu  sync.Mutex
	err error
}

// answer makes it answer with an error, or do its work again.
func (k *switchedKMS) answer(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.err = err
}

func (k *switchedKMS) Unwrap(ctx context.Context, wrapped []byte, encryptionContext kmsprovider.Context) ([]byte, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.err != nil {
		return nil, k.err
	}
	return k.Provider.Unwrap(ctx, wrapped, encryptionContext)
}

// registered is a ring of this process.
type registered struct {
	once  sync.Once
	kms   *switchedKMS
	store keyring.Store
	pin   keyring.Pin
	ring  *keyring.Keyring
}

func (r *registered) create(ctx context.Context) (err error) {
	r.once.Do(func() {
		r.kms = &switchedKMS{Provider: localkms.NewRandom()}
		if r.store == nil {
			r.store = keyring.NewMemoryStore()
		}
		r.ring, r.pin, err = keyring.Create(ctx, "customers", r.store, r.kms, nil)
	})
	return err
}

// open is what a worker calls.
func (r *registered) open(ctx context.Context) (*keyring.Keyring, error) {
	if err := r.create(ctx); err != nil {
		return nil, err
	}
	return keyring.Open(ctx, "customers", r.store, r.kms, r.pin, nil)
}

// admin is the ring for the test, another than the workers'.
func (r *registered) admin(t testing.TB) *keyring.Keyring {
	t.Helper()
	if err := r.create(t.Context()); err != nil {
		t.Fatal(err)
	}
	return r.ring
}

// freshRing registers a name that opens the ring as another process would: with nothing
// in its caches.
func freshRing(t testing.TB, r *registered) string {
	t.Helper()
	name := fmt.Sprint(t.Name(), " ", time.Now().UnixNano())
	beamseal.RegisterRing(name, r.open)
	return name
}

var (
	mainRing, awayRing, longRing registered
	opened                       atomic.Int64 // "customers"
)

func init() {
	beamseal.RegisterRing("customers", func(ctx context.Context) (*keyring.Keyring, error) {
		opened.Add(1)
		return mainRing.open(ctx)
	})
	beamseal.RegisterRing("long", longRing.open)
	beamseal.Register[customer]()
	beamseal.Register[patient]()
	beamseal.RegisterEncryptFrom(sealedPatient)
	beamseal.RegisterDecryptTo(plainOf)
	registerElement[customer]()
	registerElement[patient]()
	registerElement[plainPatient]()
	registerElement[beamseal.Bad[customer]]()
	registerElement[beamseal.Bad[patient]]()
	registerElement[beamseal.Bad[plainPatient]]()
}

func registerElement[T any]() {
	beam.RegisterType(reflect.TypeFor[sourceFn[T]]())
	beam.RegisterType(reflect.TypeFor[sinkFn[T]]())
	beam.RegisterType(reflect.TypeFor[T]())
	register.Emitter1[T]()
}

func TestMain(m *testing.M) {
	flag.Parse()
	beam.Init()
	slog.SetDefault(slog.New(slog.DiscardHandler)) // of Prism
	os.Exit(m.Run())
}

// shelves are where elements lie that go into a pipeline or came out of one.
var shelves sync.Map // of []T by name

type sourceFn[T any] struct{ From string }

const chunk = 1000

func (f *sourceFn[T]) ProcessElement(n int, emit func(T)) {
	all, _ := shelves.Load(f.From)
	elements := all.([]T)
	for _, e := range elements[n*chunk : min((n+1)*chunk, len(elements))] {
		emit(e)
	}
}

// put makes a collection of elements, in several bundles.
func put[T any](t testing.TB, s beam.Scope, elements []T) beam.PCollection {
	t.Helper()
	name := fmt.Sprintf("%s %T %p", t.Name(), elements, &elements)
	shelves.Store(name, elements)
	t.Cleanup(func() { shelves.Delete(name) })
	var parts []int
	for n := range (len(elements) + chunk - 1) / chunk {
		parts = append(parts, n)
	}
	return beam.ParDo(s, &sourceFn[T]{name}, beam.Reshuffle(s, beam.CreateList(s, parts)))
}

type sinkFn[T any] struct{ To string }

var shelfLock sync.Mutex

func (f *sinkFn[T]) ProcessElement(e T) {
	shelfLock.Lock()
	defer shelfLock.Unlock()
	all, _ := shelves.Load(f.To)
	elements, _ := all.([]T)
	shelves.Store(f.To, append(elements, e))
}

// take collects what comes out of a collection, once the pipeline has run. The elements
// were encoded on the way.
func take[T any](t testing.TB, s beam.Scope, col beam.PCollection) func() []T {
	return takeFused[T](t, s, beam.Reshuffle(s, col))
}

func takeFused[T any](t testing.TB, s beam.Scope, col beam.PCollection) func() []T {
	t.Helper()
	name := fmt.Sprintf("%s out %T %p", t.Name(), *new(T), new(int))
	t.Cleanup(func() { shelves.Delete(name) })
	beam.ParDo0(s, &sinkFn[T]{name}, col)
	return func() []T {
		all, _ := shelves.Load(name)
		elements, _ := all.([]T)
		return elements
	}
}

// run runs a pipeline on Prism and returns its counters.
func run(t testing.TB, p *beam.Pipeline) (map[string]int64, error) {
	t.Helper()
	result, err := prism.Execute(t.Context(), p)
	if err != nil {
		return nil, err
	}
	counters := map[string]int64{}
	for _, c := range result.Metrics().Query(func(r beam.MetricResult) bool { return r.Namespace() == "structseal" }).Counters() {
		counters[c.Name()] += c.Committed
	}
	return counters, nil
}

func mustRun(t testing.TB, p *beam.Pipeline, want map[string]int64) {
	t.Helper()
	got, err := run(t, p)
	if err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("counters %v, want %v", got, want)
	}
}

func asJSON(t testing.TB, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func noCanary(t testing.TB, what, text string) {
	t.Helper()
	if strings.Contains(text, canary) {
		t.Errorf("%s holds a value: %s", what, text)
	}
}
