package crypto

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
)

func TestMessagesAreCounted(t *testing.T) {
	eachSuite(t, func(t *testing.T, k *Key) {
		var sealer Sealer
		for range 10 {
			if err := sealer.Reset(k, 20); err != nil {
				t.Fatal(err)
			}
			for range 20 {
				if _, err := sealer.Seal(nil, nil, nil); err != nil {
					t.Fatal(err)
				}
			}
			mustSeal(t, k, nil, nil)
		}
		want := uint64(0)
		if k.Suite() == Compact {
			want = 210
		}
		if got := k.Messages(); got != want {
			t.Errorf("%s: %d messages, want %d", k.Suite(), got, want)
		}
	})
}

// No message is sealed that was not allowed, by however many at once, and what
// is left in the end is exact.
func TestMeter(t *testing.T) {
	k := newKey(t, Compact, 1, testSecret(Compact))
	var granted atomic.Uint64
	calls := 0
	refused := errors.New("no more")
	k.Meter(func(used uint64) (uint64, error) {
		calls++ // one at a time
		if calls > 5 {
			return 0, refused
		}
		return granted.Add(100), nil
	})
	var sealed atomic.Uint64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for {
				_, err := k.Seal(nil, []byte("x"), nil)
				if err != nil {
					if !errors.Is(err, refused) {
						t.Error(err)
					}
					return
				}
				sealed.Add(1)
			}
		})
	}
	wg.Wait()
	if sealed.Load() > 500 || sealed.Load() < 490 {
		t.Errorf("%d messages sealed, 500 were allowed", sealed.Load())
	}
	if k.Messages() != sealed.Load() {
		t.Errorf("%d counted, %d sealed", k.Messages(), sealed.Load())
	}
	if left := k.Settle(); left != 500-sealed.Load() {
		t.Errorf("%d left of 500 after %d", left, sealed.Load())
	}
	if _, err := k.Seal(nil, nil, nil); !errors.Is(err, ErrWiped) {
		t.Errorf("after Settle: %v", err)
	}
	if k.Settle() != 0 {
		t.Error("settled twice")
	}
}

func TestSettle(t *testing.T) {
	k := newKey(t, Compact, 1, testSecret(Compact))
	k.Meter(func(uint64) (uint64, error) { return 100, nil })
	for range 30 {
		mustSeal(t, k, nil, nil)
	}
	if left := k.Settle(); left != 70 || k.Messages() != 30 {
		t.Errorf("%d left, %d sealed", left, k.Messages())
	}
}

// A key that nobody meters stops at the wall by itself.
func TestCompactWall(t *testing.T) {
	k := newKey(t, Compact, 1, testSecret(Compact))
	k.load().meter.used.Store(CompactMessages - 1)
	mustSeal(t, k, nil, nil)
	if _, err := k.Seal(nil, nil, nil); !errors.Is(err, ErrExhausted) {
		t.Errorf("message 2^32+1: %v", err)
	}
	k.Wipe()
	if _, err := k.Seal(nil, nil, nil); !errors.Is(err, ErrWiped) {
		t.Error(err)
	}
}
