// Package ratio measures work in benchmarks next to a floor that does the same by hand.
// Machines that others use, too, change their speed from second to second: only what runs
// in turns can be compared.
package ratio

import (
	"runtime"
	"slices"
	"testing"
	"time"
)

// turn is long enough for garbage to be collected in the turn of what makes it.
const turn = 30 * time.Millisecond

// Bench runs floor and work in turns, and reports medians: x-floor, how much longer work
// takes, and ns/op and floor-ns/op. B/op and allocs/op are those of work.
func Bench(b *testing.B, floor, work func()) { Of(b, "floor", floor, work) }

// Of is Bench for a floor of another name.
func Of(b *testing.B, name string, floor, work func()) {
	b.ReportAllocs()
	floors, works := calls(floor), calls(work)
	var floorTimes, workTimes, ratios []float64
	for b.Loop() {
		f, w := each(floors, floor), each(works, work)
		floorTimes, workTimes, ratios = append(floorTimes, f), append(workTimes, w), append(ratios, w/f)
	}
	b.ReportMetric(median(workTimes), "ns/op")
	b.ReportMetric(median(floorTimes), name+"-ns/op")
	b.ReportMetric(median(ratios), "x-"+name)
	bytes, allocs := garbage(min(works, 1000), work)
	b.ReportMetric(bytes, "B/op")
	b.ReportMetric(allocs, "allocs/op")
}

// garbage is what a call of f allocates, of n.
func garbage(n int, f func()) (bytes, allocs float64) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range n {
		f()
	}
	runtime.ReadMemStats(&after)
	return float64((after.TotalAlloc - before.TotalAlloc) / uint64(n)), float64((after.Mallocs - before.Mallocs) / uint64(n))
}

// calls is how many calls of f take a turn.
func calls(f func()) int {
	for n := 1; ; n *= 2 {
		if t := each(n, f) * float64(n); t > float64(turn)/4 {
			return max(1, int(float64(n)*float64(turn)/t))
		}
	}
}

// each is how long a call of f takes, of n, in nanoseconds.
func each(n int, f func()) float64 {
	begin := time.Now()
	for range n {
		f()
	}
	return float64(time.Since(begin)) / float64(n)
}

func median(v []float64) float64 {
	slices.Sort(v)
	return v[len(v)/2]
}
