package rows

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/structseal/structseal/rotate"
)

// A running is a process of the tool that goes on for a while.
type running struct {
	*exec.Cmd
	mu  sync.Mutex
	out bytes.Buffer
}

func (r *running) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.out.Write(p)
}

func (r *running) text() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.out.String()
}

// await waits until the process has said something.
func (r *running) await(t testing.TB, text string) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !strings.Contains(r.text(), text); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not said: %q, but\n%s", text, r.text())
		}
	}
}

// ends waits for the end of the process, which is a signal's.
func (r *running) ends(t testing.TB, signal os.Signal, code int, texts ...string) {
	t.Helper()
	if signal != nil {
		if err := r.Process.Signal(signal); err != nil {
			t.Fatal(err)
		}
	}
	r.Wait()
	out := r.text()
	for _, text := range texts {
		if !strings.Contains(out, text) {
			t.Errorf("not said: %q, but\n%s", text, out)
		}
	}
	if got := r.ProcessState.ExitCode(); got != code {
		t.Errorf("exit code %d, want %d:\n%s", got, code, out)
	}
}

// startTool starts the tool on a site.
func (s *site) startTool(t *testing.T, args ...string) *running {
	t.Helper()
	path, dir := toolIn(t)
	r := &running{Cmd: exec.Command(path, args...)}
	r.Dir, r.Env = dir, append(os.Environ(), s.settings(s.url("postgres"))...)
	r.Stdout, r.Stderr = r, r
	r.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := r.Start(); err != nil {
		t.Fatal(err)
	}
	return r
}

// The tool hands a job over, works on it in two processes beside an application that
// writes, one of which is killed, and shows how it went.
func TestToolRiver(t *testing.T) {
	const n = 4000
	s := postgres(t)
	ring := s.ring(t)
	s.fill(t, ring, 1, n)
	for id := int64(100); id <= 300; id += 100 { // of another row
		execute1(t, s, "UPDATE customers SET email = (SELECT email FROM customers WHERE id = ?) WHERE id = ?", id+1, id)
	}
	rotated(t, ring)
	tool := s.tool(t, "postgres")
	want(t, tool, 0, "made the schema structseal_river", "migrate", "--engine", "river")
	want(t, tool, 0, "the schema structseal_river is there already", "migrate", "--engine", "river")
	want(t, tool, 1, "nothing was handed over: call it without --attach", "reencrypt", "--engine", "river", "--attach")
	want(t, tool, 0, "customers: re-encrypt handed over in 41 parts\n", "reencrypt", "--engine", "river", "--rows-per-job", "100", "--detach")
	want(t, tool, 0, "customers: re-encrypt handed over in 41 parts, some of them before\n", "reencrypt", "--engine", "river", "--detach")

	// Nobody works: it says so, and an interrupt ends the looking on alone.
	watcher := s.startTool(t, "rows", "reencrypt", "--engine", "river")
	watcher.await(t, "waiting: no worker is at it: start structseal worker")
	watcher.ends(t, syscall.SIGINT, 5, "stopped watching; the workers go on. To go on:\n    structseal rows reencrypt --engine river\n")

	// The first interrupt drains a worker, and the second one aborts it. Both lose nothing.
	slow := s.startTool(t, "worker", "--rows-per-second", "200", "--workers", "2")
	slow.await(t, "rows/s")
	slow.ends(t, syscall.SIGTERM, 0, "stopping when the parts under way are done", "worker: ")
	slower := s.startTool(t, "worker", "--rows-per-second", "20")
	slower.await(t, "rows/s")
	if err := slower.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	slower.await(t, "interrupt again to give them up")
	slower.ends(t, syscall.SIGINT, 5, "structseal worker --rows-per-second 20")
	jobs, table := s.river(t), s.table(t, nil)
	p, err := jobs.Progress(t.Context(), "app", rotate.Reencrypt, table, nil)
	if err != nil || p.Running != 0 || p.Failed != 0 || p.Rows == 0 || p.Done {
		t.Fatalf("%+v, %v", p, err)
	}

	stop := s.writing(t, ring, 90, 2, 5*time.Millisecond)
	a, b := s.startTool(t, "worker", "--workers", "1"), s.startTool(t, "worker", "--json", "--workers", "2")
	watcher = s.startTool(t, "rows", "reencrypt", "--engine", "river", "--json", "--attach")
	watcher.ends(t, nil, 1, `"parts_done":41,`, `"event":"bad"`, `"row":"200","field":"customer.email"`, `"event":"end"`, "3 rows left")
	h := stop()
	for _, line := range strings.Split(strings.TrimSpace(watcher.text()), "\n") {
		if !json.Valid([]byte(line)) {
			t.Errorf("not JSON: %s", line)
		}
	}
	a.await(t, "working; 1 part")
	a.ends(t, os.Interrupt, 0, "worker: ")
	b.ends(t, os.Interrupt, 0, `"event":"done"`, `"ok":true,"exit":0`)
	// The run has ended, and is told again to who asks.
	want(t, tool, 1, "customers: re-encrypt done: 4000 rows read, 3997 written, 3 left as they are; 41 of 41 parts done", "reencrypt", "--engine", "river", "--attach")
	for id, row := range s.read(t) {
		if version := 0; id%100 != 0 || id > 300 {
			if id <= 90 {
				version = int(h.versions[id].Load())
			}
			same(t, ring, row, version)
		}
	}

	// A backfill by a worker that is there first, and is killed: its part is another's.
	s.insertPlain(t, n+1, n+600)
	victim := s.startTool(t, "worker", "--rows-per-second", "50", "--workers", "1")
	victim.await(t, "working")
	watcher = s.startTool(t, "rows", "backfill", "--engine", "river", "--rows-per-job", "100")
	watcher.await(t, "handed over")
	c := s.startTool(t, "worker")
	watcher.ends(t, nil, 0, "customers: backfill done: 4600 rows read, 600 written, 0 left as they are")
	victim.Process.Kill()
	victim.Wait()
	c.ends(t, os.Interrupt, 0)
	fmt.Fprintln(t.Output(), watcher.text())
}

// A role that may make nothing is told who has to, and needs no more than the
// documentation says.
func TestToolRiverOfSmallRole(t *testing.T) {
	s := postgres(t)
	ring := s.ring(t)
	s.fill(t, ring, 1, 100)
	rotated(t, ring)
	role := name()
	execute(t, s.db, "CREATE ROLE "+role+" LOGIN", "GRANT SELECT ON structseal_rings, structseal_schema TO "+role, "GRANT SELECT, UPDATE ON customers TO "+role)
	tool, owner := s.tool(t, role), s.tool(t, "postgres")
	want(t, tool, 1, "let a role that may run structseal rows migrate --engine river", "reencrypt", "--engine", "river", "--detach")
	want(t, owner, 0, "made the schema structseal_river", "migrate", "--engine", "river")
	want(t, tool, 1, "let a role that may run structseal rows migrate --engine river", "reencrypt", "--engine", "river", "--detach")
	execute(t, s.db, "GRANT USAGE ON SCHEMA structseal_river TO "+role,
		"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA structseal_river TO "+role,
		"GRANT USAGE ON ALL SEQUENCES IN SCHEMA structseal_river TO "+role)
	want(t, tool, 0, "handed over in 1 part\n", "reencrypt", "--engine", "river", "--detach")
	path, dir := toolIn(t)
	worker := &running{Cmd: exec.Command(path, "worker")}
	worker.Dir, worker.Env = dir, append(os.Environ(), s.settings(s.url(role))...)
	worker.Stdout, worker.Stderr = worker, worker
	worker.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := worker.Start(); err != nil {
		t.Fatal(err)
	}
	want(t, tool, 0, "100 rows read, 100 written, 0 left", "reencrypt", "--engine", "river", "--attach")
	worker.ends(t, os.Interrupt, 0)
	if strings.Contains(worker.text(), "denied") || strings.Contains(worker.text(), "ERROR") {
		t.Errorf("the role lacks something:\n%s", worker.text())
	}
	s.check(t, ring, 100, func(int64) int { return 0 })
}
