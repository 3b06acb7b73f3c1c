package rows

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/structseal/structseal/itest/stores/dbserver"
	"github.com/structseal/structseal/keyring"
	"github.com/structseal/structseal/keyring/sqlstore"
	"github.com/structseal/structseal/manifest"
)

// theTool is the tool, built once.
var theTool = sync.OnceValues(func() (string, error) {
	dir, err := dbserver.ShortDir() // which goes with the servers
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "structseal")
	out, err := exec.Command("go", "build", "-o", path, "github.com/structseal/structseal/cmd/structseal").CombinedOutput()
	if err != nil {
		return "", errors.New(string(out))
	}
	return path, nil
})

// url is how the tool names the database of a site, for a role.
func (s *site) url(role string) string {
	switch s.dialect {
	case sqlstore.PostgreSQL: // host=DIR user=postgres dbname=NAME
		fields := strings.Fields(s.dsn)
		return "postgres://" + role + "@/" + strings.TrimPrefix(fields[2], "dbname=") + "?" + fields[0]
	case sqlstore.MySQL: // root@unix(SOCKET)/NAME?charset=utf8mb4
		socket, name, _ := strings.Cut(strings.TrimPrefix(s.dsn, "root@unix("), ")/")
		name, _, _ = strings.Cut(name, "?")
		return "mysql://root@localhost/" + name + "?socket=" + socket
	}
	path, _, _ := strings.Cut(strings.TrimPrefix(s.dsn, "file:"), "?")
	return "sqlite://" + path
}

// tool returns a function that runs the tool on the site, and returns what it has
// printed and its exit code.
func (s *site) tool(t *testing.T, role string) func(args ...string) (string, int) {
	t.Helper()
	path, err := theTool()
	if err != nil {
		t.Fatal(err)
	}
	text, err := (&manifest.Manifest{Records: []manifest.Record{described}}).Text()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "structseal.json"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	url := s.url(role)
	return func(args ...string) (string, int) {
		cmd := exec.Command(path, append([]string{"rows"}, args...)...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "STRUCTSEAL_STORE="+url, "STRUCTSEAL_DSN="+url, "STRUCTSEAL_KMS=file://"+s.keyFile, "STRUCTSEAL_RING=app", "STRUCTSEAL_PIN="+s.pin.String())
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Run(); err != nil && !errors.As(err, new(*exec.ExitError)) {
			t.Error(err)
		}
		return out.String(), cmd.ProcessState.ExitCode()
	}
}

// want runs the tool and compares: the exit code, and what its output has to hold.
func want(t *testing.T, tool func(args ...string) (string, int), code int, text string, args ...string) {
	t.Helper()
	out, got := tool(args...)
	if got != code || !strings.Contains(out, text) {
		t.Errorf("structseal rows %s: exit code %d, want %d with %q:\n%s", strings.Join(args, " "), got, code, text, out)
	}
}

// The tool re-encrypts and encrypts, by two workers at once, beside an application that
// writes all the time.
func TestTool(t *testing.T) {
	const n = 1000
	for name, open := range databases {
		t.Run(name, func(t *testing.T) {
			s := open(t)
			ring := s.ring(t)
			s.fill(t, ring, 1, n)
			if _, err := ring.Rotate(t.Context(), keyring.Data, &keyring.RotateOptions{Now: true}); err != nil {
				t.Fatal(err)
			}
			tool := s.tool(t, "postgres")
			want(t, tool, 0, "1000 of 1000 rows to write", "plan")
			stop := s.writing(t, ring, n, 2, 5*time.Millisecond)
			var workers sync.WaitGroup
			for _, w := range []string{"a", "b"} {
				workers.Go(func() { want(t, tool, 0, "re-encrypt done", "reencrypt", "--worker", w, "--part-rows", "300") })
			}
			workers.Wait()
			h := stop()
			s.check(t, ring, n, func(id int64) int { return int(h.versions[id].Load()) })
			want(t, tool, 0, "0 of 1000 rows to write", "plan")

			s.insertPlain(t, n+1, n+100)
			want(t, tool, 1, "plaintext in a sealed column", "verify")
			want(t, tool, 0, "100 written", "backfill")
			want(t, tool, 0, "customers (record customer): 1100 rows", "verify", "--everything")
		})
	}
}

// A role that may make no tables is told who has to, and needs nothing but what the
// documentation says.
func TestToolOfSmallRole(t *testing.T) {
	s := postgres(t)
	ring := s.ring(t)
	s.fill(t, ring, 1, 100)
	if _, err := ring.Rotate(t.Context(), keyring.Data, &keyring.RotateOptions{Now: true}); err != nil {
		t.Fatal(err)
	}
	role := name()
	execute(t, s.db, "DROP TABLE structseal_jobs, structseal_parts",
		"CREATE ROLE "+role+" LOGIN", "REVOKE CREATE ON SCHEMA public FROM PUBLIC",
		"GRANT SELECT ON structseal_rings, structseal_schema TO "+role,
		"GRANT SELECT, UPDATE ON customers TO "+role)
	tool := s.tool(t, role)
	want(t, tool, 0, "100 of 100 rows to write", "plan")
	want(t, tool, 1, "can't be used, or made; let a role that may run structseal rows migrate", "reencrypt")
	want(t, s.tool(t, "postgres"), 0, "made the tables structseal_jobs and structseal_parts", "migrate")
	want(t, s.tool(t, "postgres"), 0, "are there already", "migrate")
	want(t, tool, 1, "permission denied", "reencrypt")
	execute(t, s.db, "GRANT SELECT, INSERT, UPDATE, DELETE ON structseal_jobs, structseal_parts TO "+role)
	want(t, tool, 0, "100 written", "reencrypt")
	s.check(t, ring, 100, func(int64) int { return 0 })
}
