package stores

import (
	"bufio"
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/structseal/structseal"
	"github.com/structseal/structseal/keyring"
)

// seal encrypts for each subject that it is told, with 64 goroutines at once, and
// prints what Encrypt returned; then "done". The goroutines share four rings, so
// that one process creates a subject in more than one place, too.
func seal(ctx context.Context, r *shared, stdin *bufio.Reader) error {
	var rings [4]*keyring.Keyring
	for i := range rings {
		var err error
		if rings[i], err = r.ring(ctx); err != nil {
			return err
		}
	}
	fmt.Println("ready")
	for {
		line, err := stdin.ReadString('\n')
		if err != nil {
			return err
		}
		id := strings.TrimSpace(line)
		if id == "" {
			return nil
		}
		var errs, rows [sealers]string
		var wg sync.WaitGroup
		for n := range sealers {
			wg.Go(func() {
				row, err := structseal.Encrypt(ctx, rings[n%len(rings)], newMember(id))
				if err != nil {
					errs[n] = err.Error()
				}
				rows[n] = row.Name
			})
		}
		wg.Wait()
		for n := range sealers {
			if errs[n] != "" {
				return fmt.Errorf("%s: %s", id, errs[n])
			}
			fmt.Println("sealed", rows[n])
		}
		fmt.Println("done")
	}
}

const sealers, sealing = 64, 4 // goroutines of each process; processes

// P7, P8: four processes with 64 goroutines each encrypt for a subject that has no
// keys, 50 times for each store, or 1,000 with STRUCTSEAL_LONG=1, or 5 under the race detector. One key survives,
// and every ciphertext that was returned opens.
func TestP7_ProcessesCreateSubject(t *testing.T) {
	rounds := size(5, 50, 1000)
	everyStore(t, func(t *testing.T, s site) {
		r := share(t, s)
		var children []*process
		for range sealing {
			children = append(children, r.start(t, workSeal))
		}
		for _, p := range children {
			if _, ok := p.until("ready", func(string) {}); !ok {
				t.Fatal("a child did not get ready")
			}
		}
		begin := time.Now()
		opened := 0
		for n := range rounds {
			id := fmt.Sprint("p", n)
			opened += r.createTogether(t, children, id)
			if t.Failed() {
				t.Fatalf("round %d", n+1)
			}
		}
		for _, p := range children {
			p.goOn()
			if err := p.cmd.Wait(); err != nil {
				t.Error(err)
			}
		}
		t.Logf("%d rounds of %d goroutines in each of %d processes, %d ciphertexts opened, %v", rounds, sealers, sealing, opened, time.Since(begin).Round(time.Millisecond))
	})
}

func (r *shared) createTogether(t *testing.T, children []*process, id string) int {
	t.Helper()
	var mu sync.Mutex
	var rows []member
	var wg sync.WaitGroup
	for _, p := range children {
		p.say(id)
		wg.Go(func() {
			_, ok := p.until("done", func(line string) {
				mu.Lock()
				defer mu.Unlock()
				rows = append(rows, member{ID: id, Name: strings.TrimPrefix(line, "sealed ")})
			})
			if !ok {
				t.Error("a child ended before its time")
			}
		})
	}
	wg.Wait()
	if len(rows) != sealing*sealers {
		t.Errorf("%d rows", len(rows))
		return 0
	}
	ring, err := r.ring(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer ring.Close()
	plain, err := structseal.DecryptAll(t.Context(), ring, rows)
	if err != nil {
		t.Error(err)
	}
	keys := make(map[uint32]int)
	for i, row := range rows {
		keys[keyOf(t, row)]++
		if err == nil && plain[i] != newMember(id) {
			t.Errorf("opened to %v", plain[i])
		}
	}
	if len(keys) != 1 {
		t.Errorf("%d keys sealed: %v", len(keys), keys)
	}
	// A certificate lists every key that the subject had.
	c, err := ring.Forget(t.Context(), subjectOf(id), nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Keys) != 1 || c.Keys[0] != fmt.Sprintf("%08x", keyOf(t, rows[0])) {
		t.Errorf("keys %v, sealed with %v", c.Keys, keys)
	}
	return len(plain)
}
