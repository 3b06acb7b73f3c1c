package main

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/structseal/structseal/bench"
)

// made returns what the benchmarks of all peers print in three runs: peer i takes
// 1000*(i+1) ns in the median, and half of it to decrypt. structseal is peer 1. In the last
// run the machine is slow.
func made() string {
	var b strings.Builder
	b.WriteString("date: 2026-01-02\ngo: go1.26\ncores: 2\n")
	for run, factor := range []float64{1.5, 1, 0.5} {
		slow := 1 + float64(run/2)
		b.WriteString("goos: linux\ngoarch: amd64\npkg: x\ncpu: A CPU <&>\n")
		for i, p := range bench.Peers() {
			ns, ratio := 1000*float64(i+1), float64(i+1)/2*factor
			line := func(name string, ns float64) {
				fmt.Fprintf(&b, "Benchmark%s/impl=%s \t 100\t %.1f ns/op\t %.1f structseal-ns/op\t %.3f x-structseal\t 7 B/op\t %d allocs/op\n", name, p.Name, ns*slow, ns/ratio*slow, ratio, i)
			}
			for _, kind := range []string{"Record", "BinaryRecord"} {
				line(kind+"/op=encrypt", ns)
				line(kind+"/op=decrypt", ns/2)
			}
			for _, size := range bench.Sizes {
				line(fmt.Sprintf("Bytes/size=%d/op=encrypt", size), ns*float64(size))
				line(fmt.Sprintf("Bytes/size=%d/op=decrypt", size), ns*float64(size)/2)
			}
		}
		b.WriteString("PASS\n")
	}
	return b.String()
}

func TestFiguresAreMedians(t *testing.T) {
	r, err := parse([]byte(made()))
	if err != nil {
		t.Fatal(err)
	}
	page, err := markdown(r, bench.Peers(), map[string]string{"github.com/tink-crypto/tink-go/v2": "v2.99.0"})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"A CPU <&>, linux/amd64, one of 2 cores, go1.26, 2026-01-02.",
		"Medians of 3 runs",
		"at most 100 % of the median from the smallest",
		"| structseal | 2.00 µs | 2.0x | 1.0x | 1.00 µs | 2.0x | 1.0x | 1, 1 |",
		"| Tink, AES256-GCM | 5.00 µs | 5.0x | 2.5x | 2.50 µs | 5.0x | 2.5x | 4, 4 |",
		"| structseal | 32.0 µs, 2.0x | 128 µs, 2.0x | 512 µs, 2.0x | 8.19 ms, 2.0x | 2.10 s, 2.0x |",
		"| structseal | 16.0 µs, 2.0x | 64.0 µs, 2.0x | 256 µs, 2.0x | 4.10 ms, 2.0x | 1.05 s, 2.0x |",
		"| structseal | 88 | 77 | 121 | 110 |",
		"| structseal, compact suite | 44 | 33 | 62 | 51 |",
		"(`github.com/tink-crypto/tink-go/v2 v2.99.0`)",
	} {
		if !strings.Contains(string(page), want) {
			t.Errorf("%q is missing", want)
		}
	}
	if t.Failed() {
		t.Logf("%s", page)
	}
}

func TestPlotIsXML(t *testing.T) {
	r, err := parse([]byte(made()))
	if err != nil {
		t.Fatal(err)
	}
	svg := plot(r, bench.Peers())
	d := xml.NewDecoder(bytes.NewReader(svg))
	circles := 0
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("%v in\n%s", err, svg)
		}
		if e, ok := token.(xml.StartElement); ok && e.Name.Local == "circle" {
			circles++
		}
	}
	if want := 2 + 2*len(bench.Peers()); circles != want { // two explain, two for each peer
		t.Errorf("%d circles, not %d", circles, want)
	}
	if !strings.Contains(string(svg), "prefers-color-scheme: dark") {
		t.Error("no dark colours")
	}
}

func TestResultsThatDontFit(t *testing.T) {
	whole := made()
	cut := func(s, from, to string) string {
		a := strings.Index(s, from)
		return s[:a] + s[a+strings.Index(s[a:], to)+len(to):]
	}
	for name, printed := range map[string]string{
		"empty":          "",
		"no date":        strings.Replace(whole, "date: ", "day: ", 1),
		"no CPU":         strings.ReplaceAll(whole, "cpu: ", "c: "),
		"a run too few":  cut(whole, "BenchmarkRecord/op=encrypt/impl=floor", "\n"),
		"not a number":   strings.Replace(whole, "1000.0 ns/op", "x ns/op", 1),
		"no ratio":       strings.Replace(whole, "x-structseal", "x", 1),
		"no structseal":  strings.ReplaceAll(whole, "op=encrypt/impl=structseal ", "op=encrypt/impl=other "),
		"no time at all": strings.Replace(whole, "1000.0 ns/op", "1000.0 B/s", 1),
	} {
		if _, err := parse([]byte(printed)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	r, err := parse([]byte(strings.ReplaceAll(whole, "BenchmarkRecord/op=decrypt/impl=asherah", "BenchmarkRecord/op=decrypt/impl=other")))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := markdown(r, bench.Peers(), nil); err == nil {
		t.Error("a peer that wasn't measured: no error")
	}
}

func TestNumbers(t *testing.T) {
	for ns, want := range map[float64]string{
		0.514: "0.51 ns", 9.994: "9.99 ns", 9.996: "10.0 ns", 99.96: "100 ns", 999.4: "999 ns", 999.6: "1.00 µs", 2.5e6: "2.50 ms", 3e9: "3.00 s",
	} {
		if got := duration(ns); got != want {
			t.Errorf("%v ns: %s, not %s", ns, got, want)
		}
	}
	if got := median([]float64{4, 1, 3, 2}); got != 2.5 {
		t.Errorf("median of four: %v", got)
	}
	if got := median([]float64{9, 1, 3}); got != 3 {
		t.Errorf("median of three: %v", got)
	}
}

// TestPageIsCurrent: the page says of each peer what the code says.
func TestPageIsCurrent(t *testing.T) {
	if !bench.WithMongocrypt {
		t.Skip("the page is written with -tags cse")
	}
	page, err := os.ReadFile("../../../docs/peers.md")
	if err != nil {
		t.Fatal(err)
	}
	_, got, ok := strings.Cut(string(page), claimsTitle)
	_, want, _ := strings.Cut(string(claims(bench.Peers(), versions())), claimsTitle)
	if !ok {
		t.Fatalf("docs/peers.md has no %q", claimsTitle)
	}
	lines := strings.Split(anyVersion(got), "\n")
	for i, line := range strings.Split(anyVersion(want), "\n") {
		if i >= len(lines) || lines[i] != line {
			t.Fatalf("docs/peers.md should say here\n%s", line)
		}
	}
}

// anyVersion leaves out the version of the C library, which is the machine's.
func anyVersion(s string) string {
	return regexp.MustCompile(`libmongocrypt [0-9.]+`).ReplaceAllString(s, "libmongocrypt")
}
