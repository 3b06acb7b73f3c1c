// Package otelkeyring gives the counters of a ring to OpenTelemetry.
//
//	reg, err := otelkeyring.Observe(otel.Meter("structseal"), ring)
//
// The instruments, all observable, with the attribute "ring"; those of a KMS have
// the attribute "kek", its provider's ID, besides. Names are permanent.
//
//	structseal.keyring.revision             gauge    revision of the record that is used
//	structseal.keyring.record.age           gauge    seconds since the record was last read
//	structseal.keyring.keys.warm            gauge    keys that are unwrapped
//	structseal.keyring.store.reads          counter  calls
//	structseal.keyring.store.writes         counter  calls
//	structseal.keyring.store.errors         counter  of them that failed, conflicts left out
//	structseal.keyring.store.abandoned      counter  of them that were left when their time was up
//	structseal.keyring.store.hanging        gauge    of those that still go on
//	structseal.keyring.refreshes            counter  looks in the background
//	structseal.keyring.refresh.errors       counter  of them that failed
//	structseal.keyring.keys.expired         counter  keys wiped because nobody confirmed them for MaxStale
//	structseal.keyring.keys.refused         counter  keys wiped because the KMS refused them, or lied
//	structseal.keyring.notices              counter  hints about changes that the notifier gave
//	structseal.keyring.kms.wraps            counter  asked for
//	structseal.keyring.kms.unwraps          counter  asked for
//	structseal.keyring.kms.errors           counter  calls that failed
//	structseal.keyring.kms.wrong_answers    counter  keys that were not the ones asked for: alert on each
//	structseal.keyring.kms.abandoned        counter  calls that were left when their time was up
//	structseal.keyring.kms.hanging          gauge    of those that still go on
//	structseal.keyring.kms.circuit.open     gauge    1 while calls are held back but for probes
//	structseal.keyring.kms.circuit.openings counter  how often it has opened
//
// [ObserveKMS] does the same for a kmsprovider.Resilient.
//
// What to alert on: record.age above TTL while keys are in use, circuit.open for
// minutes, any wrong_answers or refused.
package otelkeyring

import (
	"context"
	"errors"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/structseal/structseal/keyring"
)

// Observe makes the instruments and observes the ring with them until the
// registration is unregistered. It reads [keyring.Keyring.Stats] once a collection,
// which calls nobody. Observe several rings with one meter; each but once. A ring
// that was closed has revision 0 and no warm keys.
//
// Errors: those of the meter.
func Observe(meter metric.Meter, ring *keyring.Keyring) (metric.Registration, error) {
	m := &maker{meter: meter}
	ringParts := []func(metric.Observer, metric.ObserveOption, *keyring.Stats){
		instrument(m, "structseal.keyring.revision", "{revision}", "Revision of the record that is used.", false, func(s *keyring.Stats) uint64 { return s.Revision }),
		m.age(),
		instrument(m, "structseal.keyring.keys.warm", "{key}", "Keys that are unwrapped.", false, func(s *keyring.Stats) uint64 { return uint64(s.Warm) }),
		instrument(m, "structseal.keyring.store.reads", "{call}", "Calls to the store that read.", true, func(s *keyring.Stats) uint64 { return s.StoreReads }),
		instrument(m, "structseal.keyring.store.writes", "{call}", "Calls to the store that write.", true, func(s *keyring.Stats) uint64 { return s.StoreWrites }),
		instrument(m, "structseal.keyring.store.errors", "{call}", "Calls to the store that failed, conflicts left out.", true, func(s *keyring.Stats) uint64 { return s.StoreErrors }),
		instrument(m, "structseal.keyring.store.abandoned", "{call}", "Calls to the store that were left when their time was up.", true, func(s *keyring.Stats) uint64 { return s.StoreAbandoned }),
		instrument(m, "structseal.keyring.store.hanging", "{call}", "Calls to the store that were left and still go on.", false, func(s *keyring.Stats) uint64 { return uint64(s.StoreHanging) }),
		instrument(m, "structseal.keyring.refreshes", "{look}", "Looks at the record and the keys in use, in the background.", true, func(s *keyring.Stats) uint64 { return s.Refreshes }),
		instrument(m, "structseal.keyring.refresh.errors", "{look}", "Looks in the background that failed.", true, func(s *keyring.Stats) uint64 { return s.RefreshErrors }),
		instrument(m, "structseal.keyring.keys.expired", "{key}", "Keys wiped because nobody confirmed them for MaxStale.", true, func(s *keyring.Stats) uint64 { return s.Expired }),
		instrument(m, "structseal.keyring.keys.refused", "{key}", "Keys wiped because the KMS refused them, or lied.", true, func(s *keyring.Stats) uint64 { return s.Refused }),
		instrument(m, "structseal.keyring.notices", "{notice}", "Hints about changes in the store that the notifier gave.", true, func(s *keyring.Stats) uint64 { return s.Notices }),
	}
	kekParts := []func(metric.Observer, metric.ObserveOption, *keyring.KEKStats){
		instrument(m, "structseal.keyring.kms.wraps", "{call}", "Wraps asked for.", true, func(k *keyring.KEKStats) uint64 { return k.Wraps }),
		instrument(m, "structseal.keyring.kms.unwraps", "{call}", "Unwraps asked for.", true, func(k *keyring.KEKStats) uint64 { return k.Unwraps }),
		instrument(m, "structseal.keyring.kms.errors", "{call}", "Calls to the KMS that failed.", true, func(k *keyring.KEKStats) uint64 { return k.Errors }),
		instrument(m, "structseal.keyring.kms.wrong_answers", "{key}", "Keys that were not the ones asked for.", true, func(k *keyring.KEKStats) uint64 { return k.WrongAnswers }),
		instrument(m, "structseal.keyring.kms.abandoned", "{call}", "Calls to the KMS that were left when their time was up.", true, func(k *keyring.KEKStats) uint64 { return k.Abandoned }),
		instrument(m, "structseal.keyring.kms.hanging", "{call}", "Calls to the KMS that were left and still go on.", false, func(k *keyring.KEKStats) uint64 { return uint64(k.Hanging) }),
		instrument(m, "structseal.keyring.kms.circuit.open", "1", "1 while calls are held back but for probes.", false, func(k *keyring.KEKStats) uint64 {
			if k.Open {
				return 1
			}
			return 0
		}),
		instrument(m, "structseal.keyring.kms.circuit.openings", "{opening}", "How often the circuit has opened.", true, func(k *keyring.KEKStats) uint64 { return k.Opened }),
	}
	if m.err != nil {
		return nil, m.err
	}
	ofRing := attribute.String("ring", ring.Name())
	return meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		stats := ring.Stats()
		option := metric.WithAttributeSet(attribute.NewSet(ofRing))
		for _, part := range ringParts {
			part(o, option, &stats)
		}
		for i := range stats.KEKs {
			kek := &stats.KEKs[i]
			option := metric.WithAttributeSet(attribute.NewSet(ofRing, attribute.String("kek", kek.ID)))
			for _, part := range kekParts {
				part(o, option, kek)
			}
		}
		return nil
	}, m.made...)
}

// maker makes instruments and collects them and what went wrong.
type maker struct {
	meter metric.Meter
	made  []metric.Observable
	err   error
}

func (m *maker) add(i metric.Observable, err error) {
	m.made = append(m.made, i)
	m.err = errors.Join(m.err, err)
}

// instrument makes a counter or a gauge and returns what observes it.
func instrument[S any](m *maker, name, unit, description string, counts bool, value func(*S) uint64) func(metric.Observer, metric.ObserveOption, *S) {
	var i metric.Int64Observable
	var err error
	if counts {
		i, err = m.meter.Int64ObservableCounter(name, metric.WithUnit(unit), metric.WithDescription(description))
	} else {
		i, err = m.meter.Int64ObservableGauge(name, metric.WithUnit(unit), metric.WithDescription(description))
	}
	m.add(i, err)
	return func(o metric.Observer, option metric.ObserveOption, s *S) { o.ObserveInt64(i, int64(value(s)), option) }
}

func (m *maker) age() func(metric.Observer, metric.ObserveOption, *keyring.Stats) {
	i, err := m.meter.Float64ObservableGauge("structseal.keyring.record.age", metric.WithUnit("s"), metric.WithDescription("Time since the record was last read."))
	m.add(i, err)
	return func(o metric.Observer, option metric.ObserveOption, s *keyring.Stats) {
		o.ObserveFloat64(i, s.RecordAge.Seconds(), option)
	}
}
