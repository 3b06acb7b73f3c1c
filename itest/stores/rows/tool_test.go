package rows

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
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

// settings are what the tool needs of a site, for its environment.
func (s *site) settings(url string) []string {
	return []string{"STRUCTSEAL_STORE=" + url, "STRUCTSEAL_DSN=" + url, "STRUCTSEAL_KMS=file://" + s.keyFile, "STRUCTSEAL_RING=app", "STRUCTSEAL_PIN=" + s.pin.String()}
}

// toolIn returns the tool, and a directory with a manifest of the customers.
func toolIn(t *testing.T) (path, dir string) {
	t.Helper()
	path, err := theTool()
	if err != nil {
		t.Fatal(err)
	}
	text, err := (&manifest.Manifest{Records: []manifest.Record{described}}).Text()
	if err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "structseal.json"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path, dir
}

// tool returns a function that runs the tool on the site, and returns what it has
// printed and its exit code.
func (s *site) tool(t *testing.T, role string) func(args ...string) (string, int) {
	t.Helper()
	path, dir := toolIn(t)
	env := s.settings(s.url(role))
	return func(args ...string) (string, int) { return runTool(t, path, dir, env, args...) }
}

func runTool(t *testing.T, path, dir string, env []string, args ...string) (string, int) {
	cmd := exec.Command(path, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil && !errors.As(err, new(*exec.ExitError)) {
		t.Error(err)
	}
	return out.String(), cmd.ProcessState.ExitCode()
}

// want runs a verb under rows and compares: the exit code, and what its output has to hold.
func want(t *testing.T, tool func(args ...string) (string, int), code int, text string, args ...string) {
	t.Helper()
	out, got := tool(append([]string{"rows"}, args...)...)
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

// A ring is made, changed and looked at in the same database as the rows, from the first
// verb to the last.
func TestToolMakesRing(t *testing.T) {
	for name, open := range databases {
		t.Run(name, func(t *testing.T) {
			s := open(t)
			path, dir := toolIn(t)
			url := s.url("postgres")
			if s.dialect == sqlstore.PostgreSQL {
				execute(t, s.db, "DROP TABLE structseal_rings, structseal_subjects, structseal_schema")
			}
			env := []string{"STRUCTSEAL_STORE=" + url, "STRUCTSEAL_DSN=" + url, "STRUCTSEAL_KMS=file://" + filepath.Join(dir, "second.kek"), "STRUCTSEAL_RING=second", "STRUCTSEAL_MANIFEST=structseal.json", "STRUCTSEAL_ACTOR=ops"}
			verb := func(code int, pattern string, args ...string) string {
				t.Helper()
				out, got := runTool(t, path, dir, env, args...)
				m := regexp.MustCompile("(?m)" + pattern).FindStringSubmatch(out)
				if got != code || m == nil {
					t.Fatalf("structseal %s: exit code %d, want %d with %s:\n%s", strings.Join(args, " "), got, code, pattern, out)
				}
				return m[len(m)-1]
			}
			env = append(env, "STRUCTSEAL_PIN="+verb(0, `pin (ssp1\S+)`, "keys", "create", "--new-kek"))
			verb(1, `second`, "keys", "create")
			old := verb(0, `^([0-9a-f]{8}) +data +primary`, "keys", "list")
			token := verb(3, `--confirm (\S+)$`, "keys", "rotate", "--now")
			verb(0, `.`, "keys", "rotate", "--now", "--confirm", token)
			verb(0, `^`+old+` +data +enabled`, "keys", "list")
			verb(0, `ops`, "keys", "show", old)
			verb(0, `store +ok|ok +store`, "doctor")
			verb(0, `customers \(record customer\): 0 rows`, "rows", "verify", "--everything")
			verb(4, `too early: wait 2h`, "keys", "destroy", old, "--everything")
		})
	}
}
