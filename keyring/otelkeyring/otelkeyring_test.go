package otelkeyring

import (
	"context"
	"errors"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/noop"
	sdk "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/structseal/structseal/keyring"
	"github.com/structseal/structseal/kmsprovider"
	"github.com/structseal/structseal/kmsprovider/localkms"
)

const prefix = "structseal.keyring."

// awayKMS is a KMS that may be away.
type awayKMS struct {
	kmsprovider.Provider
	away bool
}

func (k *awayKMS) Unwrap(ctx context.Context, wrapped []byte, kc kmsprovider.Context) ([]byte, error) {
	if k.away {
		return nil, kmsprovider.ErrUnavailable
	}
	return k.Provider.Unwrap(ctx, wrapped, kc)
}

// point is what was observed: the value by name, and by ring or kek.
type points map[string]map[string]float64

func collect(t *testing.T, reader *sdk.ManualReader) (points, map[string]string) {
	t.Helper()
	var rm metricdata.ResourceMetrics
	if err := reader.Collect(t.Context(), &rm); err != nil {
		t.Fatal(err)
	}
	out, kinds := make(points), make(map[string]string)
	note := func(name string, set attribute.Set, v float64) {
		who, _ := set.Value("ring")
		if kek, ok := set.Value("kek"); ok != strings.Contains(name, ".kms.") {
			t.Errorf("%s: attributes %v", name, set.ToSlice())
		} else if ok && !strings.HasPrefix(kek.AsString(), "local:") {
			t.Errorf("%s: kek %q", name, kek.AsString())
		}
		if out[name] == nil {
			out[name] = make(map[string]float64)
		}
		out[name][who.AsString()] = v
	}
	for _, scope := range rm.ScopeMetrics {
		for _, m := range scope.Metrics {
			switch data := m.Data.(type) {
			case metricdata.Sum[int64]:
				kinds[m.Name] = "counter"
				if !data.IsMonotonic {
					t.Errorf("%s isn't monotonic", m.Name)
				}
				for _, p := range data.DataPoints {
					note(m.Name, p.Attributes, float64(p.Value))
				}
			case metricdata.Gauge[int64]:
				kinds[m.Name] = "gauge"
				for _, p := range data.DataPoints {
					note(m.Name, p.Attributes, float64(p.Value))
				}
			case metricdata.Gauge[float64]:
				kinds[m.Name] = "gauge"
				for _, p := range data.DataPoints {
					note(m.Name, p.Attributes, p.Value)
				}
			default:
				t.Errorf("%s: %T", m.Name, data)
			}
		}
	}
	return out, kinds
}

// asDocumented checks that every name and kind is as a file documents it, at least so
// many, and no other.
func asDocumented(t *testing.T, file string, least int, kinds map[string]string) {
	t.Helper()
	source, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	documented := regexp.MustCompile(`(?m)^//\t(structseal\.\S+) +(gauge|counter) `).FindAllStringSubmatch(string(source), -1)
	for _, d := range documented {
		if kinds[d[1]] != d[2] {
			t.Errorf("%s is %q, documented as %s", d[1], kinds[d[1]], d[2])
		}
	}
	if len(documented) != len(kinds) || len(documented) < least {
		t.Errorf("%d documented, %d observed", len(documented), len(kinds))
	}
}

func TestObserve(t *testing.T) {
	ctx := t.Context()
	reader := sdk.NewManualReader()
	meter := sdk.NewMeterProvider(sdk.WithReader(reader)).Meter("test")
	kms := &awayKMS{Provider: localkms.NewRandom()}
	store := keyring.NewMemoryStore()
	_, pin, err := keyring.Create(ctx, "app", store, kms, nil)
	if err != nil {
		t.Fatal(err)
	}
	ring, err := keyring.Open(ctx, "app", store, kms, pin, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer ring.Close()
	other, _, err := keyring.Create(ctx, "other", store, kms, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	reg, err := Observe(meter, ring)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Observe(meter, other); err != nil {
		t.Fatal(err)
	}
	if _, err := ring.Primary(ctx, keyring.Data); err != nil {
		t.Fatal(err)
	}
	kms.away = true
	for range 5 {
		if _, err := ring.Primary(ctx, keyring.SubjectWrap); !errors.Is(err, keyring.ErrUnavailable) {
			t.Fatal(err)
		}
	}
	got, kinds := collect(t, reader)

	asDocumented(t, "otelkeyring.go", 20, kinds)

	stats := ring.Stats()
	for name, want := range map[string]float64{
		"revision": 1, "keys.warm": 1, "store.reads": 1, "store.writes": 0, "store.errors": 0,
		"kms.unwraps": 7, "kms.errors": 5, "kms.circuit.open": 1, "kms.circuit.openings": 1, "kms.wraps": 0, "kms.wrong_answers": 0,
		"keys.expired": float64(stats.Expired), "keys.refused": 0, "refreshes": float64(stats.Refreshes),
	} {
		if v := got[prefix+name]["app"]; v != want {
			t.Errorf("%s is %v, want %v", name, v, want)
		}
	}
	if age := got[prefix+"record.age"]["app"]; age <= 0 || age > 60 {
		t.Errorf("the record is %v s old", age)
	}
	if n := got[prefix+"kms.wraps"]["other"]; n != 6 || got[prefix+"kms.circuit.open"]["other"] != 0 {
		t.Errorf("the other ring: %v wraps", n)
	}

	ring.Close()
	if got, _ = collect(t, reader); got[prefix+"revision"]["app"] != 0 {
		t.Error("a closed ring has a revision")
	}
	if err := reg.Unregister(); err != nil {
		t.Fatal(err)
	}
	got, _ = collect(t, reader)
	if _, ok := got[prefix+"revision"]["app"]; ok || got[prefix+"revision"]["other"] != 1 {
		t.Errorf("after Unregister: %v", got[prefix+"revision"])
	}
}

// brokenMeter makes no counters.
type brokenMeter struct{ noop.Meter }

var errBroken = errors.New("broken")

func (brokenMeter) Int64ObservableCounter(string, ...metric.Int64ObservableCounterOption) (metric.Int64ObservableCounter, error) {
	return nil, errBroken
}

func TestMeterErrors(t *testing.T) {
	ring, _, err := keyring.Create(t.Context(), "app", keyring.NewMemoryStore(), localkms.NewRandom(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer ring.Close()
	if _, err := Observe(brokenMeter{}, ring); !errors.Is(err, errBroken) {
		t.Errorf("%v", err)
	}
	if _, err := Observe(noop.Meter{}, ring); err != nil {
		t.Error(err)
	}
	kms := kmsprovider.NewResilient(localkms.NewRandom(), nil)
	if _, err := ObserveKMS(brokenMeter{}, kms); !errors.Is(err, errBroken) {
		t.Errorf("%v", err)
	}
}

// The SDK is for tests alone.
func TestNoSDK(t *testing.T) {
	files, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	checked := slices.DeleteFunc(files, func(f os.DirEntry) bool {
		return !strings.HasSuffix(f.Name(), ".go") || strings.HasSuffix(f.Name(), "_test.go")
	})
	for _, f := range checked {
		text, err := os.ReadFile(f.Name())
		if err != nil || strings.Contains(string(text), "otel/sdk") {
			t.Errorf("%s: %v", f.Name(), err)
		}
	}
	if len(checked) == 0 {
		t.Error("no files")
	}
}
