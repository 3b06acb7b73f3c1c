package main

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// printRow prints one customer as the program has it, next to the columns.
func printRow(out io.Writer, c Customer, stored []string) error {
	born, err := c.Born.Get()
	if err != nil {
		return err
	}
	read := []string{c.ID, c.Country, c.Name, c.Email, c.Phone, born.Format(time.DateOnly), c.Notes}
	fmt.Fprintf(out, "\n         %-8s %-32s %s\n", "", "The program sees", "The database holds")
	for i, name := range columnNames {
		fmt.Fprintf(out, "         %-8s %-32s %s\n", name, shorten(read[i], 30), shorten(stored[i], 24))
	}
	fmt.Fprintln(out)
	return nil
}

// shorten puts s on one line and leaves out its middle, if it is longer than n.
func shorten(s string, n int) string {
	line := []rune(strings.Join(strings.Fields(s), " "))
	if len(line) <= n {
		return string(line)
	}
	return fmt.Sprintf("%s…%s", string(line[:n/2]), string(line[len(line)-n/2+1:]))
}

// folded indents s and breaks it into lines.
func folded(s string) string {
	const indent, width = "        ", 90
	var b strings.Builder
	line := indent
	for word := range strings.FieldsSeq(s) {
		if len(line)+1+len(word) > width && line != indent {
			b.WriteString(line + "\n")
			line = indent
		}
		line += " " + word
	}
	return b.String() + line + "\n"
}
