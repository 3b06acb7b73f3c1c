package otelkeyring

import (
	"errors"
	"testing"

	sdk "go.opentelemetry.io/otel/sdk/metric"

	"github.com/structseal/structseal/kmsprovider"
	"github.com/structseal/structseal/kmsprovider/localkms"
)

func TestObserveKMS(t *testing.T) {
	ctx := t.Context()
	reader := sdk.NewManualReader()
	meter := sdk.NewMeterProvider(sdk.WithReader(reader)).Meter("test")
	service := &awayKMS{Provider: localkms.NewRandom()}
	kms := kmsprovider.NewResilient(service, &kmsprovider.ResilientOptions{Attempts: 2})
	reg, err := ObserveKMS(meter, kms)
	if err != nil {
		t.Fatal(err)
	}
	wrapped, err := kms.Wrap(ctx, []byte("a key"), nil)
	if err != nil {
		t.Fatal(err)
	}
	service.away = true
	if _, err := kms.Unwrap(ctx, wrapped, nil); !errors.Is(err, kmsprovider.ErrUnavailable) {
		t.Fatal(err)
	}
	got, kinds := collect(t, reader)
	asDocumented(t, "kms.go", 8, kinds)
	for name, want := range map[string]float64{
		"calls": 2, "errors": 1, "attempts": 3, "retries": 1, "hedges": 0, "retries.refused": 0, "running": 0, "waiting": 0,
	} {
		if v, ok := got["structseal.kms."+name][""]; !ok || v != want {
			t.Errorf("%s is %v, want %v", name, v, want)
		}
	}
	if err := reg.Unregister(); err != nil {
		t.Fatal(err)
	}
	if got, _ := collect(t, reader); len(got) > 0 {
		t.Errorf("after Unregister: %v", got)
	}
}
