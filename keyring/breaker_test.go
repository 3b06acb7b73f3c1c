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
		if probes < 24*60*60/30 || probes > 24*60*60/10 {
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
