// Command quickstart encrypts a table of customers and shows what that looks
// like: to the program, in the database, to somebody who moves ciphertexts about,
// and after a change of keys.
//
//	go run ./examples/quickstart
//	go run ./examples/quickstart -dir DIR
//
// Read quickstart.go from top to bottom. customer.go has the model with its tags,
// keys.go makes and opens the keys, database.go is ordinary database/sql.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

func run(args []string, out, errs io.Writer) (exit int) {
	// SIGPIPE too: `quickstart | head` must not leave the temporary directory behind.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGPIPE)
	defer stop()
	err := command(ctx, args, out)
	switch {
	case err == nil:
		return 0
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(out, usage)
		return 0
	case ctx.Err() != nil:
		err = errors.New("interrupted. Nothing is half written: run the same command again")
	}
	fmt.Fprintln(errs, "quickstart:", err)
	return 1
}

const usage = `Usage: quickstart [-dir DIR]

Writes 300 made-up customers into an SQLite database with their personal data
encrypted, reads them back, and shows what the database holds.

  -dir DIR  keep database and keys in DIR, which is made if it doesn't exist.
            Run again with the same DIR, it finds them, changes the key once
            more and adds some customers. Without -dir all happens in a
            temporary directory that is removed in the end.
`

func command(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("quickstart", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // run prints errors, once
	dir := flags.String("dir", "", "")
	if err := flags.Parse(args); err != nil {
		return fmt.Errorf("%w (-h for help)", err)
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q (-h for help)", flags.Arg(0))
	}

	if *dir != "" {
		if err := os.MkdirAll(*dir, 0o700); err != nil {
			return err
		}
		if err := quickstart(ctx, *dir, out); err != nil {
			return err
		}
		fmt.Fprintf(out, "Kept     %s, any SQLite tool opens it.\n", filepath.Join(*dir, databaseName))
		return nil
	}

	temp, err := os.MkdirTemp("", "quickstart-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp)
	if err := quickstart(ctx, temp, out); err != nil {
		return err
	}
	fmt.Fprint(out, "Done     Database and keys were temporary and are removed; -dir DIR keeps them.\n")
	return nil
}
