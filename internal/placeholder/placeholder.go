// Package placeholder numbers the parameters of SQL statements.
package placeholder

import (
	"fmt"
	"strings"
)

// Number writes each ? of a statement as PostgreSQL wants it: $1, $2 and so on. It knows
// no quotes: no name or text in the statement may have a question mark.
func Number(query string) string {
	var b strings.Builder
	n := 0
	for part := range strings.SplitSeq(query, "?") {
		if n > 0 {
			fmt.Fprintf(&b, "$%d", n)
		}
		b.WriteString(part)
		n++
	}
	return b.String()
}
