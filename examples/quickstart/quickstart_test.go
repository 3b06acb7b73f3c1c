package main

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"flag"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/structseal/structseal/keyring"
)

// start runs the command in dir and returns what it prints.
func start(t *testing.T, dir string) string {
	t.Helper()
	var out bytes.Buffer
	if err := command(t.Context(), []string{"-dir", dir}, &out); err != nil {
		t.Fatalf("%v, after:\n%s", err, &out)
	}
	return out.String()
}

// want reports each line that out lacks.
func want(t *testing.T, out string, lines ...string) {
	t.Helper()
	for _, line := range lines {
		if !strings.Contains(out, line) {
			t.Errorf("%q is missing in:\n%s", line, out)
		}
	}
}

func csvCustomers(t *testing.T) []Customer {
	t.Helper()
	customers, err := readCSV()
	if err != nil || len(customers) != 300 {
		t.Fatalf("%d customers, %v", len(customers), err)
	}
	return customers
}

func openTest(t *testing.T, dir string) *database {
	t.Helper()
	db, err := openDatabase(t.Context(), filepath.Join(dir, databaseName))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func wantCount(t *testing.T, dir string, n int) {
	t.Helper()
	if got, err := openTest(t, dir).count(t.Context()); got != n || err != nil {
		t.Errorf("%d customers, %v; want %d", got, err, n)
	}
}

func TestFirstRun(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a %20 dir?name#with, signs")
	out := start(t, dir)
	want(t, out,
		"Write    300 customers in one transaction.\n",
		"c-0001                           c-0001\n",
		"PL                               PL\n",
		"zofia@example.net                s1.",
		"1987-03-14                       s1.",
		"Read     300 customers. Those of customers.csv (300) are equal to it in every field.\n",
		"Search   c-0001 is in the bytes of customers.db; zofia@example.net and the other e-mails are not.\n",
		"Move     The e-mail of c-0001, pasted into the row of c-0002, is refused:\n",
		"decrypt main.Customer.Email (customer.email): key ",
		"ciphertext was changed or belongs elsewhere\n",
		"Zofia Przykład\n",
		"Ødegård Mønster\n",
		"Kept     ")
	if strings.Contains(out, "Found") {
		t.Errorf("found what isn't there:\n%s", out)
	}
	wantCount(t, dir, 303)

	// The key ids that it shows are those of the rows.
	keys := regexp.MustCompile(`(c-\d+)  key ([0-9a-f]{8})  `).FindAllStringSubmatch(out, -1)
	if len(keys) != 3 || keys[0][2] != keys[1][2] || keys[1][2] == keys[2][2] {
		t.Errorf("keys of an old, an old and a new row: %v", keys)
	}
	want(t, out, "From now on key "+keys[2][2]+" encrypts")

	// One screen.
	lines := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
	if len(lines) > 24 {
		t.Errorf("%d lines", len(lines))
	}
	for _, line := range lines {
		if utf8.RuneCountInString(line) > 100 && !strings.HasPrefix(line, "Kept") || strings.TrimRight(line, " ") != line {
			t.Errorf("too wide, or blanks at its end: %q", line)
		}
	}
}

// TestNoPlaintext searches every file that is left for every value.
func TestNoPlaintext(t *testing.T) {
	dir := t.TempDir()
	start(t, dir)
	searched := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		file, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, c := range append(csvCustomers(t), newCustomers(301)...) {
			born, err := c.Born.Get()
			if err != nil {
				return err
			}
			for _, value := range []string{c.Name, c.Email, c.Phone, born.Format("2006-01-02"), c.Notes} {
				// Shorter ones are found in random bytes.
				if searched++; len(value) >= 5 && bytes.Contains(file, []byte(value)) {
					t.Errorf("%s holds %q", path, value)
				}
			}
		}
		if filepath.Base(path) == databaseName && !bytes.Contains(file, []byte("c-0001")) {
			t.Errorf("%s doesn't hold ids: the search proves nothing", path)
		}
		return nil
	})
	if err != nil || searched == 0 {
		t.Fatal(searched, err)
	}
}

func TestSecondRun(t *testing.T) {
	dir := t.TempDir()
	first := start(t, dir)
	second := start(t, dir)
	third := start(t, dir)
	want(t, second, "Found    Keys and 303 customers of an earlier run.", "Read     303 customers.", "c-0303  key ", "c-0304  key ")
	want(t, third, "Found    Keys and 306 customers of an earlier run.", "Read     306 customers.", "c-0307  key ")
	if strings.Contains(second, "Write ") {
		t.Errorf("written again:\n%s", second)
	}
	wantCount(t, dir, 309)
	row := regexp.MustCompile(`.*c-0001  key .*\n`)
	if a, b := row.FindString(first), row.FindString(third); a == "" || a != b {
		t.Errorf("the oldest row was %q and is %q", a, b)
	}
}

func TestTemporary(t *testing.T) {
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	t.Setenv("TMP", temp)
	var out bytes.Buffer
	if err := command(t.Context(), nil, &out); err != nil {
		t.Fatal(err)
	}
	want(t, out.String(), "Done     Database and keys were temporary and are removed")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := command(ctx, nil, &out); !errors.Is(err, context.Canceled) {
		t.Errorf("with a cancelled context: %v", err)
	}
	if left, err := os.ReadDir(temp); len(left) != 0 || err != nil {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestUsage(t *testing.T) {
	for _, arg := range []string{"-h", "-help", "--help"} {
		if err := command(t.Context(), []string{arg}, t.Output()); !errors.Is(err, flag.ErrHelp) {
			t.Errorf("%s: %v", arg, err)
		}
		var out bytes.Buffer
		if exit := run([]string{arg}, &out, t.Output()); exit != 0 || out.String() != usage {
			t.Errorf("%s: exit %d, %q", arg, exit, &out)
		}
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"customers.csv"}, `quickstart: unexpected argument "customers.csv" (-h for help)`},
		{[]string{"-dir", "d", "more"}, `quickstart: unexpected argument "more" (-h for help)`},
		{[]string{"-dri", "d"}, `quickstart: flag provided but not defined: -dri (-h for help)`},
		{[]string{"-dir"}, `quickstart: flag needs an argument: -dir (-h for help)`},
		{[]string{"-dir", file}, file + ": not a directory"},
	} {
		var out, errs bytes.Buffer
		if exit := run(test.args, &out, &errs); exit != 1 || !strings.Contains(errs.String(), test.want) || out.Len() > 0 {
			t.Errorf("%q: exit %d, %q, output %q", test.args, exit, &errs, &out)
		}
	}
}

// TestChanged changes the database behind the program's back.
func TestChanged(t *testing.T) {
	for name, test := range map[string]struct{ change, want string }{
		"moved":     {`UPDATE customers SET phone = (SELECT phone FROM customers WHERE id = 'c-0009') WHERE id = 'c-0008'`, "record 7: structseal: decrypt main.Customer.Phone (customer.phone): key "},
		"plaintext": {`UPDATE customers SET email = 'nobody@example.org' WHERE id = 'c-0008'`, "record 7: structseal: decrypt main.Customer.Email (customer.email): not encrypted"},
		"a date":    {`UPDATE customers SET born = '2000-01-01' WHERE id = 'c-0008'`, "record 7: structseal: decrypt main.Customer.Born (customer.born): "},
		"another id": {`UPDATE customers SET id = 'c-9999' WHERE id = 'c-0008'`,
			"ciphertext was changed or belongs elsewhere"},
		"removed": {`DELETE FROM customers WHERE id = 'c-0008'`, "1 customers of customers.csv aren't in the database"},
		"country": {`UPDATE customers SET country = '' WHERE id = 'c-0008'`, "customer c-0008 isn't what customers.csv says"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			start(t, dir)
			if _, err := openTest(t, dir).Exec(test.change); err != nil {
				t.Fatal(err)
			}
			err := command(t.Context(), []string{"-dir", dir}, io.Discard)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %s", err, test.want)
			}
		})
	}
}

func TestLostKeys(t *testing.T) {
	dir := t.TempDir()
	start(t, dir)
	keys := filepath.Join(dir, "keys")
	if err := os.Rename(keys, keys+".elsewhere"); err != nil {
		t.Fatal(err)
	}
	err := command(t.Context(), []string{"-dir", dir}, io.Discard)
	if err == nil || !strings.Contains(err.Error(), "holds 303 customers, and their keys are gone: put "+keys+" back") {
		t.Errorf("without keys: %v", err)
	}
	if found, err := exists(keys); found || err != nil {
		t.Errorf("keys made all the same: %v", err)
	}
	if err := os.Rename(keys+".elsewhere", keys); err != nil {
		t.Fatal(err)
	}
	want(t, start(t, dir), "Found    Keys and 303 customers")
}

// TestAnotherRing swaps the keys for those of another run.
func TestAnotherRing(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	start(t, dir)
	start(t, other)
	keys, others := filepath.Join(dir, "keys"), filepath.Join(other, "keys")
	for name, test := range map[string]struct {
		path func(string) string
		want error
	}{
		"key file": {keyFile, keyring.ErrWrongKEK},
		"ring":     {ringDir, keyring.ErrPinMismatch},
		"pin":      {pinFile, keyring.ErrPinMismatch},
	} {
		t.Run(name, func(t *testing.T) {
			path, aside := test.path(keys), test.path(keys)+".own"
			if err := errors.Join(os.Rename(path, aside), os.Rename(test.path(others), path)); err != nil {
				t.Fatal(err)
			}
			if err := command(t.Context(), []string{"-dir", dir}, io.Discard); !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
			if err := errors.Join(os.Rename(path, test.path(others)), os.Rename(aside, path)); err != nil {
				t.Fatal(err)
			}
		})
	}
	start(t, dir)
}

func TestFolded(t *testing.T) {
	long := strings.Repeat("x", 120)
	for in, want := range map[string]string{
		"one two": "         one two\n",
		long:      "         " + long + "\n",
		strings.Repeat("word ", 20): "         " + strings.TrimSpace(strings.Repeat("word ", 16)) + "\n" +
			"         " + strings.TrimSpace(strings.Repeat("word ", 4)) + "\n",
	} {
		if got := folded(in); got != want {
			t.Errorf("%q:\n%q, want\n%q", in, got, want)
		}
	}
}

func TestShorten(t *testing.T) {
	for _, test := range []struct{ in, want string }{
		{"", ""}, {"a\n b", "a b"}, {"1234567890", "1234567890"}, {"12345678901", "12345…8901"}, {"żółtożółtość", "żółto…tość"},
	} {
		if got := shorten(test.in, 10); got != test.want {
			t.Errorf("%q: %q, want %q", test.in, got, test.want)
		}
	}
}

func TestNoSuchCustomer(t *testing.T) {
	if _, err := selectCustomer(t.Context(), openTest(t, t.TempDir()), "c-0001"); !errors.Is(err, sql.ErrNoRows) {
		t.Error(err)
	}
}
