package keyring

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		down := errors.New("down")
		var b breaker
		for range retryBudget {
			if err := b.allow(); err != nil {
				t.Fatalf("within the budget: %v", err)
			}
			b.ended(false, down)
		}
		if err := b.allow(); !errors.Is(err, down) || !b.open() {
			t.Errorf("behind the budget: %v", err)
		}
		time.Sleep(backoffBase + time.Millisecond)
		if err := b.allow(); err != nil {
			t.Errorf("no probe: %v", err)
		}
		if b.allow() == nil {
			t.Error("two probes at once")
		}
		b.ended(false, nil) // its caller left: the next one may
		if err := b.allow(); err != nil {
			t.Errorf("after a probe without a word: %v", err)
		}
		b.ended(false, down)
		// However long it lasts, a probe goes through every backoffCap or so, and
		// one answer closes it.
		probes := 0
		for range 24 * 60 * 60 {
			time.Sleep(time.Second)
			if b.allow() == nil {
				probes++
				b.ended(false, down)
			}
		}
		if probes < 24*60*60/20 || probes > 24*60*60/5 {
			t.Errorf("%d probes in a day", probes)
		}
		time.Sleep(backoffCap + time.Millisecond)
		if b.allow() != nil {
			t.Fatal("no probe")
		}
		b.ended(true, nil)
		if b.open() || b.allow() != nil {
			t.Error("open after an answer")
		}
		if _, opened, last := b.state(); opened != 1 || last != nil {
			t.Errorf("opened %d times, %v", opened, last)
		}
	})
}

// What a service that throttles does to a breaker: an answer now and then brings
// neither a fresh budget nor short waits, and no minute has more than
// failuresPerMinute failures, whatever is answered in between.
func TestBreakerBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		down := errors.New("down")
		var b breaker
		for range 20 { // into long waits
			for b.allow() != nil {
				time.Sleep(time.Second)
			}
			b.ended(false, down)
		}
		for b.allow() != nil {
			time.Sleep(time.Second)
		}
		b.ended(true, nil)
		if b.open() || b.allow() != nil {
			t.Error("open after an answer")
		}
		b.ended(false, down)
		if !b.open() || b.level <= 5 {
			t.Errorf("one answer closed it for good: %+v", &b)
		}
		for b.allow() != nil {
			time.Sleep(time.Second)
		}
		b.ended(true, nil)
		time.Sleep(retryBudget * budgetEvery)
		for range retryBudget {
			if err := b.allow(); err != nil {
				t.Fatalf("within the budget that was regained: %v", err)
			}
			b.ended(false, down)
		}
		if b.level != 1 {
			t.Errorf("level %d", b.level)
		}

		// Every other call is answered, and the dice say short waits.
		b = breaker{}
		var failed []time.Time
		n := 0
		for start := time.Now(); time.Since(start) < time.Hour; time.Sleep(100 * time.Millisecond) {
			if b.allow() != nil {
				continue
			}
			if n++; n%2 == 0 {
				b.ended(true, nil)
			} else {
				failed = append(failed, time.Now())
				b.level = 0
				b.ended(false, down)
			}
		}
		if most := perMinute(failed); most != failuresPerMinute {
			t.Errorf("%d failures in a minute", most)
		}
	})
}
