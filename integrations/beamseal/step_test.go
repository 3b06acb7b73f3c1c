package beamseal_test

import (
	"fmt"
	"reflect"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/graph/mtime"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/graph/window"

	"github.com/structseal/structseal/integrations/beamseal"
)

// TestSerialized: what is sent to workers is names and options.
func TestSerialized(t *testing.T) {
	p, s := beam.NewPipelineWithRoot()
	opts := &beamseal.Options{Bind: map[string]string{"tenant": "acme"}, Only: []string{"email"}}
	must(t)(beamseal.Encrypt[customer](s, "customers", put(t, s, []customer{newCustomer(1)}), opts))
	must(t)(beamseal.DecryptTo(s, "customers", put(t, s, []patient{}), plainOf, nil))
	edges, _, err := p.Build()
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range edges {
		if e.DoFn == nil || !strings.Contains(fmt.Sprintf("%T", e.DoFn.Recv), "beamseal.") {
			continue
		}
		all = append(all, asJSON(t, e.DoFn.Recv))
	}
	if len(all) != 2 || all[0] != `{"Ring":"customers","Options":{"Bind":{"tenant":"acme"},"Only":["email"]},"From":{}}` {
		t.Errorf("%q", all)
	}
	if len(all) == 2 && !regexp.MustCompile(`^{"Ring":"customers","Options":{},"To":{"Function":"[A-Za-z0-9+/=]+"}}$`).MatchString(all[1]) {
		t.Errorf("%q", all[1])
	}
}

type stampFn struct{}

func (stampFn) ProcessElement(c customer, emit func(beam.EventTime, customer)) {
	emit(mtime.FromTime(time.Unix(c.ID, 0)), c)
}

type whenFn struct{ To string }

func (f *whenFn) ProcessElement(w beam.Window, at beam.EventTime, c customer) {
	whens.Store(c.ID, fmt.Sprint(w.MaxTimestamp(), at))
}

var whens sync.Map

func init() {
	beam.RegisterType(reflect.TypeFor[stampFn]())
	beam.RegisterType(reflect.TypeFor[whenFn]())
}

// TestWindows: elements keep their windows and times.
func TestWindows(t *testing.T) {
	var plain []customer
	for i := range int64(50) {
		plain = append(plain, newCustomer(i+1))
	}
	p, s := beam.NewPipelineWithRoot()
	windowed := beam.WindowInto(s, window.NewFixedWindows(10*time.Second), beam.ParDo(s, &stampFn{}, put(t, s, plain)))
	out, _ := must(t)(beamseal.Encrypt[customer](s, "customers", windowed, nil))
	out, _ = must(t)(beamseal.Reencrypt[customer](s, "customers", out, nil))
	beam.ParDo0(s, &whenFn{}, out)
	mustRun(t, p, map[string]int64{"encrypted": 50, "current": 50})
	for i := range int64(50) {
		at := mtime.FromTime(time.Unix(i+1, 0))
		end := mtime.FromTime(time.Unix((i+1)/10*10+10, 0)) - 1
		if got, _ := whens.Load(i + 1); got != fmt.Sprint(end, at) {
			t.Errorf("%d: %v, want %v", i+1, got, fmt.Sprint(end, at))
		}
	}
}

// Only restricts all verbs, and Bind is what an element is bound to.
func TestOptions(t *testing.T) {
	plain := newCustomer(2)
	step := func(in customer, verb func(beam.Scope, string, beam.PCollection, *beamseal.Options) (beam.PCollection, beam.PCollection, error), opts beamseal.Options) ([]customer, []beamseal.Bad[customer]) {
		p, s := beam.NewPipelineWithRoot()
		out, bad := must(t)(verb(s, "customers", put(t, s, []customer{in}), &opts))
		rows, badRows := take[customer](t, s, out), take[beamseal.Bad[customer]](t, s, bad)
		if _, err := run(t, p); err != nil {
			t.Fatal(err)
		}
		return rows(), badRows()
	}
	acme := beamseal.Options{Bind: map[string]string{"tenant": "acme"}, Only: []string{"email", "address.street"}}
	rows, _ := step(plain, beamseal.Encrypt[customer], acme)
	if len(rows) != 1 || rows[0].Email == plain.Email || rows[0].Address.Street == plain.Address.Street || *rows[0].Address.Zip != *plain.Address.Zip || rows[0].Owner != plain.Owner {
		t.Fatalf("%+v", rows)
	}
	if _, bad := step(rows[0], beamseal.Decrypt[customer], beamseal.Options{Only: acme.Only}); len(bad) != 1 {
		t.Error("decrypted without its tenant")
	}
	if got, _ := step(rows[0], beamseal.Decrypt[customer], acme); len(got) != 1 || show(got[0]) != show(plain) {
		t.Errorf("%+v", got)
	}
}
