// Command peers measures all peers, several times, and writes what it found.
//
//	go -C bench run ./cmd/peers [-o DIR] [-count 6] [-benchtime 300ms] [-raw FILE]
//	go -C bench run ./cmd/peers -from FILE
//
// It runs the tests of what the tables claim and then all benchmarks on one core, count
// times. Each peer runs in turns with structseal, so that a machine that slows down slows
// down both. It writes DIR/peers.md and DIR/peers.svg, ../docs by default. -raw keeps what the
// benchmarks printed; -from writes the same two files of such a file and measures nothing.
//
// With -tags cse, before the package, MongoDB's libmongocrypt is among them. It takes about
// ten minutes on a machine that does nothing else, and says so when the machine did.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/structseal/structseal/bench"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "peers:", err)
		os.Exit(1)
	}
}

func run() error {
	dir := flag.String("o", "../docs", "where peers.md and peers.svg go")
	count := flag.Int("count", 6, "how often each benchmark runs")
	benchtime := flag.String("benchtime", "300ms", "how long each benchmark runs")
	raw := flag.String("raw", "", "file for what the benchmarks print")
	from := flag.String("from", "", "file that -raw wrote: measure nothing")
	flag.Parse()
	if flag.NArg() > 0 || *count < 1 {
		return fmt.Errorf("unknown argument, or count below 1")
	}

	var printed []byte
	var err error
	if *from != "" {
		printed, err = os.ReadFile(*from)
	} else {
		printed, err = measure(*count, *benchtime)
	}
	if err != nil {
		return err
	}
	if *raw != "" {
		if err := os.WriteFile(*raw, printed, 0o644); err != nil {
			return err
		}
	}
	r, err := parse(printed)
	if err != nil {
		return err
	}
	if s := r.spread(); s > 0.25 {
		fmt.Fprintf(os.Stderr, "peers: the runs lie %.0f %% apart: the machine did other work, don't publish this\n", 100*s)
	}
	peers := bench.Peers()
	text, err := markdown(r, peers, versions())
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(*dir, "peers.md"), text, 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(*dir, "peers.svg"), plot(r, peers), 0o644)
}

// measure returns what the benchmarks print, under lines that say when and where.
func measure(count int, benchtime string) ([]byte, error) {
	tmp, err := os.MkdirTemp("", "peers")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(tmp)
	binary := filepath.Join(tmp, "bench.test")
	args := []string{"test", "-c", "-o", binary}
	if bench.WithMongocrypt {
		args = append(args, "-tags", "cse")
	}
	if err := command(io.Discard, "go", append(args, "github.com/structseal/structseal/bench")...); err != nil {
		return nil, err
	}
	if err := command(io.Discard, binary, "-test.run", "."); err != nil {
		return nil, fmt.Errorf("what the tables claim doesn't hold: %w", err)
	}
	var out strings.Builder
	fmt.Fprintf(&out, "date: %s\n", time.Now().Format(time.DateOnly))
	fmt.Fprintf(&out, "go: %s\n", runtime.Version())
	fmt.Fprintf(&out, "cores: %d\n", runtime.NumCPU())
	for i := range count {
		start := time.Now()
		err := command(&out, binary, "-test.run", "^$", "-test.bench", ".", "-test.benchtime", benchtime, "-test.cpu", "1", "-test.timeout", "2h")
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(os.Stderr, "run %d of %d: %s\n", i+1, count, time.Since(start).Round(time.Second))
	}
	return []byte(out.String()), nil
}

func command(out io.Writer, name string, args ...string) error {
	var printed strings.Builder
	cmd := exec.Command(name, args...)
	cmd.Stdout, cmd.Stderr = io.MultiWriter(out, &printed), os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w\n%s", filepath.Base(name), err, printed.String())
	}
	return nil
}
