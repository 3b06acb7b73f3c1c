package stores

import (
	"math"
	mrand "math/rand/v2"
	"runtime"
	"testing"

	"github.com/structseal/structseal"
	"github.com/structseal/structseal/keyring"
)

// Subjects that come and go leave nothing: 10^5 records of 50,000 subjects in random
// order (10^7 of 10^6 with STRUCTSEAL_LONG=1), with a cache of 10,000. Less under the
// race detector.
func TestMemoryStaysFlat(t *testing.T) {
	subjects, operations, cache := 50_000, 100_000, 10_000
	switch {
	case long:
		subjects, operations = 1_000_000, 10_000_000
	case raced:
		subjects, operations, cache = 3_000, 10_000, 1_000
	}
	const page = 500
	_, open := populated(t, subjects)
	ring := open(&keyring.OpenOptions{SubjectCache: cache})
	rng := mrand.New(mrand.NewPCG(3, 4))
	people := make([]person, page)
	work := func(records int) (heap uint64, goroutines int) {
		for done := 0; done < records; done += 2 * page {
			for i := range people {
				people[i] = personOf(rng.IntN(subjects))
			}
			rows, err := structseal.EncryptAll(t.Context(), ring, people)
			if err != nil {
				t.Fatal(err)
			}
			back, err := structseal.DecryptAll(t.Context(), ring, rows)
			if err != nil {
				t.Fatal(err)
			}
			if back[page-1] != people[page-1] {
				t.Fatal("another record came back")
			}
		}
		runtime.GC()
		runtime.GC() // finalizers and pools
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc, runtime.NumGoroutine()
	}
	full, before := work(4 * cache) // the cache is full
	const slices = 10
	fewest := math.MaxInt // of the last five: keys that end have goroutines for a moment, a leak has them for good
	for i := range slices {
		heap, goroutines := work(operations / slices)
		t.Logf("after %9d records: %.1f MiB, %d goroutines", (i+1)*operations/slices, float64(heap)/(1<<20), goroutines)
		if heap > full+full/10+(4<<20) {
			t.Errorf("the heap grew from %d to %d bytes", full, heap)
		}
		if i >= slices/2 {
			fewest = min(fewest, goroutines)
		}
	}
	if fewest > before+4 {
		t.Errorf("%d goroutines grew to %d and more", before, fewest)
	}
}
