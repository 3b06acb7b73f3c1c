package otelkeyring_test

import (
	"context"
	"fmt"

	sdk "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/structseal/structseal/keyring"
	"github.com/structseal/structseal/keyring/otelkeyring"
	"github.com/structseal/structseal/kmsprovider/localkms"
)

// A program has a meter already, by otel.Meter; this one reads by hand.
func Example() {
	ctx := context.Background()
	reader := sdk.NewManualReader()
	meter := sdk.NewMeterProvider(sdk.WithReader(reader)).Meter("app")

	ring, _, err := keyring.Create(ctx, "customers", keyring.NewMemoryStore(), localkms.NewRandom(), nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer ring.Close()
	if _, err := otelkeyring.Observe(meter, ring); err != nil {
		fmt.Println(err)
		return
	}

	var now metricdata.ResourceMetrics
	if err := reader.Collect(ctx, &now); err != nil {
		fmt.Println(err)
		return
	}
	for _, m := range now.ScopeMetrics[0].Metrics {
		if m.Name == "structseal.keyring.kms.wraps" {
			point := m.Data.(metricdata.Sum[int64]).DataPoints[0]
			ring, _ := point.Attributes.Value("ring")
			fmt.Println(ring.AsString(), m.Name, point.Value)
		}
	}
	// Output: customers structseal.keyring.kms.wraps 6
}
