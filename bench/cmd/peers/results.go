package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// results is what several runs measured on one machine.
type results struct {
	date, golang, cpu, system, cores string

	runs map[string][]sample // by the name of the benchmark
}

// A sample is one run of a benchmark: ratio is to structseal, which ran in turns with it.
type sample struct{ ns, ratio, allocs float64 }

// parse reads what measure returns.
func parse(printed []byte) (*results, error) {
	r := &results{runs: map[string][]sample{}}
	var goos, goarch string
	header := map[string]*string{
		"date": &r.date, "go": &r.golang, "cores": &r.cores, "cpu": &r.cpu, "goos": &goos, "goarch": &goarch,
	}
	for line := range strings.Lines(string(printed)) {
		if key, value, ok := strings.Cut(line, ": "); ok && header[key] != nil {
			*header[key] = strings.TrimSpace(value)
			continue
		}
		f := strings.Fields(line)
		if len(f) < 4 || !strings.HasPrefix(f[0], "Benchmark") {
			continue
		}
		var one sample
		for i := 2; i+1 < len(f); i += 2 {
			v, err := strconv.ParseFloat(f[i], 64)
			if err != nil {
				return nil, fmt.Errorf("%q: %w", strings.TrimSpace(line), err)
			}
			switch f[i+1] {
			case "ns/op":
				one.ns = v
			case "x-structseal":
				one.ratio = v
			case "allocs/op":
				one.allocs = v
			}
		}
		if one.ns <= 0 || one.ratio <= 0 {
			return nil, fmt.Errorf("%q has no time, or no ratio", strings.TrimSpace(line))
		}
		r.runs[f[0]] = append(r.runs[f[0]], one)
	}
	r.system = goos + "/" + goarch
	if len(r.runs) == 0 || r.date == "" || r.golang == "" || r.cpu == "" {
		return nil, fmt.Errorf("no benchmarks, or no date, Go version or CPU")
	}
	n := r.count()
	for name, runs := range r.runs {
		if len(runs) != n {
			return nil, fmt.Errorf("%s ran %d times, others %d times", name, len(runs), n)
		}
	}
	return r, r.normalize()
}

// normalize makes the time of each run what the ratio makes of structseal's median: the
// machine may have been slow then.
func (r *results) normalize() error {
	own := make(map[string]float64)
	for name, runs := range r.runs {
		if group, ok := strings.CutSuffix(name, "/impl=structseal"); ok {
			var ns []float64
			for _, one := range runs {
				ns = append(ns, one.ns)
			}
			own[group] = median(ns)
		}
	}
	for name, runs := range r.runs {
		group, _, _ := strings.Cut(name, "/impl=")
		if own[group] == 0 {
			return fmt.Errorf("%s: structseal wasn't measured", group)
		}
		for i := range runs {
			runs[i].ns = runs[i].ratio * own[group]
		}
	}
	return nil
}

// count returns how often each benchmark ran.
func (r *results) count() int {
	for _, runs := range r.runs {
		return len(runs)
	}
	return 0
}

// of returns the medians of a benchmark; ok is false when it isn't there.
func (r *results) of(name string) (m sample, ok bool) {
	runs, ok := r.runs[name]
	if !ok {
		return m, false
	}
	var ns, ratios, allocs []float64
	for _, one := range runs {
		ns, ratios, allocs = append(ns, one.ns), append(ratios, one.ratio), append(allocs, one.allocs)
	}
	return sample{median(ns), median(ratios), median(allocs)}, true
}

// spread returns the median, over all benchmarks, of how far the slowest run is from the
// fastest, as a part of the median.
func (r *results) spread() float64 {
	var all []float64
	for _, runs := range r.runs {
		var ns []float64
		for _, one := range runs {
			ns = append(ns, one.ns)
		}
		all = append(all, (slices.Max(ns)-slices.Min(ns))/median(ns))
	}
	return median(all)
}

// median sorts values.
func median(values []float64) float64 {
	slices.Sort(values)
	n := len(values)
	if n%2 == 1 {
		return values[n/2]
	}
	return (values[n/2-1] + values[n/2]) / 2
}
