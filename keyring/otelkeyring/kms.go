package otelkeyring

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/structseal/structseal/kmsprovider"
)

// ObserveKMS observes the calls of a [kmsprovider.Resilient], until the registration
// is unregistered. It reads Stats once a collection, which calls nobody. Instruments,
// all observable, with the attribute "kek", the provider's ID:
//
//	structseal.kms.calls           counter  wraps and unwraps asked for
//	structseal.kms.errors          counter  of them that failed
//	structseal.kms.attempts        counter  calls to the service made for them
//	structseal.kms.retries         counter  of the attempts, those after a first one
//	structseal.kms.hedges          counter  of the attempts, those beside one that was slow
//	structseal.kms.retries.refused counter  retries and hedges that the budget has refused
//	structseal.kms.running         gauge    attempts under way
//	structseal.kms.waiting         gauge    calls that wait for their turn
//
// Observe several providers with one meter; each but once. One that a ring uses has
// the ring's own figures besides, of [Observe].
//
// Errors: those of the meter.
func ObserveKMS(meter metric.Meter, kms *kmsprovider.Resilient) (metric.Registration, error) {
	type stats = kmsprovider.ResilientStats
	m := &maker{meter: meter}
	parts := []func(metric.Observer, metric.ObserveOption, *stats){
		instrument(m, "structseal.kms.calls", "{call}", "Wraps and unwraps asked for.", true, func(s *stats) uint64 { return s.Calls }),
		instrument(m, "structseal.kms.errors", "{call}", "Calls that failed.", true, func(s *stats) uint64 { return s.Errors }),
		instrument(m, "structseal.kms.attempts", "{attempt}", "Calls to the service.", true, func(s *stats) uint64 { return s.Attempts }),
		instrument(m, "structseal.kms.retries", "{attempt}", "Attempts after a first one.", true, func(s *stats) uint64 { return s.Retries }),
		instrument(m, "structseal.kms.hedges", "{attempt}", "Attempts beside one that was slow.", true, func(s *stats) uint64 { return s.Hedges }),
		instrument(m, "structseal.kms.retries.refused", "{attempt}", "Retries and hedges that the budget has refused.", true, func(s *stats) uint64 { return s.Exhausted }),
		instrument(m, "structseal.kms.running", "{attempt}", "Attempts under way.", false, func(s *stats) uint64 { return uint64(s.Running) }),
		instrument(m, "structseal.kms.waiting", "{call}", "Calls that wait for their turn.", false, func(s *stats) uint64 { return uint64(s.Waiting) }),
	}
	if m.err != nil {
		return nil, m.err
	}
	option := metric.WithAttributeSet(attribute.NewSet(attribute.String("kek", kms.ID())))
	return meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		now := kms.Stats()
		for _, part := range parts {
			part(o, option, &now)
		}
		return nil
	}, m.made...)
}
