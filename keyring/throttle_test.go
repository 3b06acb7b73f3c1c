package keyring

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/structseal/structseal/kmsprovider"
)

// meteredKMS is one program's way to a KMS that all share, and notes its calls.
type meteredKMS struct {
	kmsprovider.Provider
	throttle *atomic.Pointer[throttle]

	mu     sync.Mutex
	flying map[string]int // calls under way by key
	most   int            // ... for one key
	calls  []time.Time    // while it throttles
}

// A throttle answers one call in a hundred.
type throttle struct{ calls atomic.Int64 }

func (m *meteredKMS) Unwrap(ctx context.Context, wrapped []byte, kc kmsprovider.Context) ([]byte, error) {
	th := m.throttle.Load()
	m.mu.Lock()
	key := kc["structseal-key"]
	m.flying[key]++
	m.most = max(m.most, m.flying[key])
	if th != nil {
		m.calls = append(m.calls, time.Now())
	}
	m.mu.Unlock()
	defer func() {
		m.mu.Lock()
		m.flying[key]--
		m.mu.Unlock()
	}()
	select {
	case <-time.After(20*time.Millisecond + rand.N(80*time.Millisecond)):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if th != nil && th.calls.Add(1)%100 != 0 {
		return nil, kmsprovider.ErrThrottled
	}
	return m.Provider.Unwrap(ctx, wrapped, kc)
}

// perMinute returns the most calls within any minute.
func perMinute(calls []time.Time) (most int) {
	for i, j := 0, 0; i < len(calls); i++ {
		for calls[i].Sub(calls[j]) >= time.Minute {
			j++
		}
		most = max(most, i-j+1)
	}
	return most
}

// P9: a KMS that throttles a hundred programs gets no storm from them: each stays
// within the budget that docs/keys.md names, they don't call in step, nothing that
// is warm fails, and when it is over, all have their keys within a minute.
func TestP9_ThrottledKMSGetsNoStorm(t *testing.T) {
	const (
		clients = 100
		lasts   = 10 * time.Minute
		keys    = 6
	)
	kms, store := newFakeKMS(), NewMemoryStore()
	admin, pin := mustCreate(t, "app", store, kms)
	var ids []uint32
	for range keys {
		ids = append(ids, must[uint32](t)(admin.Rotate(t.Context(), Data, &RotateOptions{Now: true})))
	}
	admin.Close()
	warm, cold := ids[:keys/2], ids[keys/2:]

	synctest.Test(t, func(t *testing.T) {
		var throttled atomic.Pointer[throttle]
		var over atomic.Bool
		metered := make([]*meteredKMS, clients)
		recovered := make([]time.Duration, clients)
		begin := time.Now().Add(time.Hour) // of the throttling
		var wg sync.WaitGroup
		for i := range clients {
			m := &meteredKMS{Provider: kms, throttle: &throttled, flying: make(map[string]int)}
			metered[i] = m
			wg.Go(func() {
				ctx := t.Context()
				time.Sleep(rand.N(30 * time.Minute)) // programs start when they do
				ring, err := Open(ctx, "app", store, m, pin, nil)
				if err != nil {
					t.Error(err)
					return
				}
				defer ring.Close()
				// Four goroutines use the warm keys and, from some time on, keys that
				// were not needed before.
				wanted := begin.Add(rand.N(lasts / 2))
				var inner sync.WaitGroup
				for range 4 {
					inner.Go(func() {
						for !over.Load() {
							for _, id := range warm {
								if _, err := ring.Key(ctx, Data, id); err != nil {
									t.Errorf("a warm key: %v", err)
								}
							}
							if time.Now().After(wanted) {
								for _, id := range cold {
									ring.Key(ctx, Data, id)
								}
							}
							if time.Now().Before(begin) {
								time.Sleep(time.Minute)
							} else {
								time.Sleep(rand.N(8 * time.Second))
							}
						}
					})
				}
				inner.Wait()
				start := time.Now()
				for {
					missing := 0
					for _, id := range ids {
						if _, err := ring.Key(ctx, Data, id); err != nil {
							missing++
						}
					}
					s := ring.live.Load()
					for _, id := range warm {
						c := s.byID[id].cell
						c.mu.Lock()
						if c.confirmed.Before(start.Add(-DefaultTTL)) {
							missing++ // works, and isn't confirmed yet
						}
						c.mu.Unlock()
					}
					if missing == 0 {
						break
					}
					time.Sleep(time.Second)
				}
				recovered[i] = time.Since(start)
			})
		}
		time.Sleep(time.Until(begin))
		throttled.Store(new(throttle))
		time.Sleep(lasts)
		throttled.Store(nil)
		over.Store(true)
		wg.Wait()

		var total, mostPerMinute, mostFlying int
		var slowest time.Duration
		seconds := make([]int, lasts/time.Second+1)
		for i, m := range metered {
			m.mu.Lock() // a look may be ending still
			total += len(m.calls)
			mostPerMinute = max(mostPerMinute, perMinute(m.calls))
			mostFlying = max(mostFlying, m.most)
			slowest = max(slowest, recovered[i])
			for _, at := range m.calls {
				seconds[at.Sub(begin)/time.Second]++
			}
			m.mu.Unlock()
		}
		busiest := 0
		for _, n := range seconds {
			busiest = max(busiest, n)
		}
		mean := float64(total) / lasts.Seconds()
		t.Logf("%d calls, %.1f a second, %d in the busiest; at most %d a minute from one client, %d at once for one key; recovered after %v",
			total, mean, busiest, mostPerMinute, mostFlying, slowest)
		if mostFlying != 1 {
			t.Errorf("%d calls at once for one key", mostFlying)
		}
		// Those that were answered count, too: there are few.
		if mostPerMinute > failuresPerMinute {
			t.Errorf("%d calls within a minute from one client, at most %d", mostPerMinute, failuresPerMinute)
		}
		if float64(busiest) > 3*mean {
			t.Errorf("%d calls in the busiest second, %.1f in the mean", busiest, mean)
		}
		if slowest > time.Minute {
			t.Errorf("recovered after %v", slowest)
		}
	})
}

// A provider that tries again by itself doesn't do so under a ring: the budget that
// docs/keys.md names counts every call.
func TestRetriesDontMultiply(t *testing.T) {
	kms, store := newFakeKMS(), NewMemoryStore()
	_, pin := mustCreate(t, "app", store, kms)
	kms.down(kmsprovider.ErrUnavailable)
	before := kms.unwraps.Load()
	if _, err := Open(t.Context(), "app", store, kmsprovider.NewResilient(kms, nil), pin, nil); err == nil {
		t.Fatal("opened")
	}
	if n := kms.unwraps.Load() - before; n != 1 {
		t.Errorf("%d attempts, want 1", n)
	}
}
