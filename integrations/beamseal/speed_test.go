package beamseal_test

import (
	"fmt"
	"os"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/register"

	"github.com/structseal/structseal"
	"github.com/structseal/structseal/integrations/beamseal"
	"github.com/structseal/structseal/keyring"
)

// account is what the figures of docs/scale.md are about: three sealed strings of 20 to 40
// bytes.
type account struct {
	_     structseal.Record `seal:"account"`
	ID    int64             `seal:"id,bind"`
	Name  string            `seal:"name"`
	Email string            `seal:"email"`
	IBAN  string            `seal:"iban"`
	Plan  string
}

func init() {
	beamseal.Register[account]()
	registerElement[account]()
	register.DoFn2x0[int, func(account)](&sourceFn[account]{})
	register.DoFn1x0[account](&sinkFn[account]{})
	registerElement[beamseal.Bad[account]]()
}

// TestSpeed measures the three verbs on Prism: elements in, through the verb, and out
// through a step that encodes them.
func TestSpeed(t *testing.T) {
	n := 5_000
	if os.Getenv("STRUCTSEAL_LONG") != "" {
		n = 200_000
	}
	ring := longRing.admin(t)
	plain := make([]account, n)
	for i := range plain {
		plain[i] = account{ID: int64(i + 1), Name: fmt.Sprintf("Ada Lovelace the %d.", i), Email: fmt.Sprintf("ada.lovelace.%d@example.com", i), IBAN: fmt.Sprintf("DE89 3704 0044 0532 %08d", i), Plan: "gold"}
	}
	measure := func(what string, in []account, verb func(beam.Scope, string, beam.PCollection, *beamseal.Options) (beam.PCollection, beam.PCollection, error), want map[string]int64) []account {
		t.Helper()
		p, s := beam.NewPipelineWithRoot()
		col := put(t, s, in)
		bad := beam.PCollection{}
		if verb != nil {
			col, bad = must(t)(verb(s, "long", col, nil))
			take[beamseal.Bad[account]](t, s, bad)
		}
		rows := take[account](t, s, col)
		start, cpu := time.Now(), cpuTime(t)
		mustRun(t, p, want)
		wall, used := time.Since(start), cpuTime(t)-cpu
		if len(rows()) != n {
			t.Fatalf("%s: %d elements", what, len(rows()))
		}
		t.Logf("%-22s %7d elements in %6.2f s: %7.0f a second, %7.0f a second and core; %d cores", what, n, wall.Seconds(), float64(n)/wall.Seconds(), float64(n)/used.Seconds(), runtime.GOMAXPROCS(0))
		return rows()
	}
	count := func(name string) map[string]int64 { return map[string]int64{name: int64(n)} }
	measure("nothing", plain, nil, map[string]int64{})
	rows := measure("Encrypt", plain, beamseal.Encrypt[account], count("encrypted"))
	measure("Reencrypt, all current", rows, beamseal.Reencrypt[account], count("current"))
	measure("nothing, sealed", rows, nil, map[string]int64{})
	if _, err := ring.Rotate(t.Context(), keyring.Data, &keyring.RotateOptions{Now: true}); err != nil {
		t.Fatal(err)
	}
	name := freshRing(t, &longRing) // the workers' ring hears of the new key later
	reencrypt := func(s beam.Scope, _ string, col beam.PCollection, o *beamseal.Options) (beam.PCollection, beam.PCollection, error) {
		return beamseal.Reencrypt[account](s, name, col, o)
	}
	rows = measure("Reencrypt", rows, reencrypt, count("reencrypted"))
	measure("Decrypt", rows, beamseal.Decrypt[account], count("decrypted"))
}

// cpuTime is what this process has used, Prism included.
func cpuTime(t testing.TB) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
