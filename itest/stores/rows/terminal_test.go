package rows

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/structseal/structseal/itest/stores/dbserver"
	"github.com/structseal/structseal/keyring"
)

// A terminal is one of tmux's, with a shell in it.
type terminal struct {
	t      *testing.T
	socket string
}

func newTerminal(t *testing.T, dir string, env []string) *terminal {
	t.Helper()
	_, err := dbserver.Program("tmux")
	dbserver.Need(t, err)
	short, err := dbserver.ShortDir()
	if err != nil {
		t.Fatal(err)
	}
	term := &terminal{t, filepath.Join(short, name())}
	start := exec.Command("tmux", "-S", term.socket, "-f", "/dev/null", "new-session", "-d", "-x", "100", "-y", "40", "-c", dir, "sh")
	start.Env = append(os.Environ(), env...)
	if out, err := start.CombinedOutput(); err != nil {
		t.Fatalf("tmux: %v: %s", err, out)
	}
	t.Cleanup(func() { term.tmux("kill-server") })
	return term
}

func (x *terminal) tmux(args ...string) string {
	x.t.Helper()
	out, err := exec.Command("tmux", append([]string{"-S", x.socket}, args...)...).CombinedOutput()
	if err != nil {
		x.t.Fatalf("tmux %v: %v: %s", args, err, out)
	}
	return string(out)
}

// types types a command.
func (x *terminal) types(command string) {
	x.t.Helper()
	x.tmux("send-keys", "-l", command)
	x.tmux("send-keys", "Enter")
}

// shows looks at the screen until it shows something, and returns the group of it.
func (x *terminal) shows(pattern string) string {
	x.t.Helper()
	re := regexp.MustCompile(`(?m)` + pattern)
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if m := re.FindStringSubmatch(x.screen()); m != nil {
			return m[len(m)-1]
		}
	}
	x.t.Fatalf("the screen doesn't show %s:\n%s", pattern, x.screen())
	return ""
}

// screen is what is to be seen, with the lines joined that the terminal has broken.
func (x *terminal) screen() string { return x.tmux("capture-pane", "-p", "-J") }

// A person at a terminal sees how far a job is, in one line that moves, and for how long
// it will take; interrupts it; and goes on with the command that was printed.
func TestTerminal(t *testing.T) {
	const rows, speed = 3000, 300
	s := sqlite(t)
	ring := s.ring(t)
	s.fill(t, ring, 1, rows)
	if _, err := ring.Rotate(t.Context(), keyring.Data, &keyring.RotateOptions{Now: true}); err != nil {
		t.Fatal(err)
	}
	path, dir := toolIn(t)
	x := newTerminal(t, dir, append(s.settings(s.url("")), "PATH="+filepath.Dir(path)+":/usr/bin:/bin", "PS1=$ "))
	x.types("structseal rows reencrypt --rows-per-second " + strconv.Itoa(speed))

	bar := regexp.MustCompile(`(?m)^customers  (\d+)%  \[(=*) *\]  (\d+)/3000  (\d+)s left `)
	var percents, lefts []int
	for end := time.Now().Add(time.Minute); len(percents) < 4 && time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		found := bar.FindAllStringSubmatch(x.screen(), -1)
		if len(found) > 1 {
			t.Fatalf("several bars:\n%s", x.screen())
		}
		if len(found) == 0 {
			continue
		}
		percent, _ := strconv.Atoi(found[0][1])
		done, _ := strconv.Atoi(found[0][3])
		left, _ := strconv.Atoi(found[0][4])
		if slices.Contains(percents, percent) {
			continue
		}
		if want := percent * len(strings.TrimSpace(found[0][2])); percent > 20 && want == 0 {
			t.Errorf("an empty bar at %d %%", percent)
		}
		if want := (rows - done) / speed; left < want/2-1 || left > 2*want+2 {
			t.Errorf("%ds left at %d rows of %d, %d a second", left, done, rows, speed)
		}
		percents, lefts = append(percents, percent), append(lefts, left)
	}
	if len(percents) < 4 || !slices.IsSorted(percents) || lefts[0] < lefts[len(lefts)-1] {
		t.Fatalf("the bar doesn't move: %v %%, %v s left\n%s", percents, lefts, x.screen())
	}

	x.tmux("send-keys", "C-c")
	x.shows(`stopping when this batch is written; interrupt again to give it up`)
	x.shows(`stopped, and what was written is kept\. To go on:$`)
	command := x.shows(`^ +(structseal rows reencrypt .*)$`)
	// Above is the line that the terminal has written ^C into.
	if _, after, _ := strings.Cut(x.screen(), "stopping when"); bar.MatchString(after) {
		t.Errorf("the bar stayed:\n%s", x.screen())
	}
	x.types("echo code $?")
	x.shows(`^code 5$`)
	x.tmux("clear-history")
	x.types("clear; " + strings.TrimSpace(strings.ReplaceAll(command, strconv.Itoa(speed), "100000")))
	x.shows(`^customers: re-encrypt done: `)
	x.types("structseal rows plan")
	x.shows(`: 0 of 3000 rows to write;`)
	s.check(t, ring, rows, func(int64) int { return 0 })
}
