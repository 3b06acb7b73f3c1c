package sqlrows

import (
	"strings"

	"github.com/structseal/structseal/rotate"
)

// statements are what a table sends, but for those whose form depends on the key that
// they begin behind.
type statements struct {
	columns string // of a row: key, binds, cells, indexes
	width   int    // how many
	order   string // ORDER BY the key
	byKey   string // WHERE the key is
	lock    string // SELECT of a row, locked
}

func (t *Table) statements() statements {
	var s statements
	var columns, order, byKey []string
	for _, list := range [][]column{t.keys, t.binds, t.cells, t.indexes} {
		for _, c := range list {
			if c.name != "" {
				columns = append(columns, t.d.column(c.name))
			}
		}
	}
	for _, c := range t.keys {
		order = append(order, t.d.column(c.name))
		byKey = append(byKey, t.d.column(c.name)+" = ?")
	}
	s.columns, s.width = strings.Join(columns, ", "), len(columns)
	s.order = " ORDER BY " + strings.Join(order, ", ")
	s.byKey = " WHERE " + strings.Join(byKey, " AND ")
	s.lock = t.d.number("SELECT " + s.columns + " FROM " + t.quoted + s.byKey + t.d.lock())
	return s
}

// beyond is the condition that a row comes after a key, or before it and at it, in a
// form that every database finds the place of in an index: (a > x) or (a = x and b > y).
func (t *Table) beyond(key []any, op string) (string, []any) {
	var alternatives []string
	var args []any
	for i := range key {
		var all []string
		for j := range i {
			all = append(all, t.d.column(t.keys[j].name)+" = ?")
			args = append(args, key[j])
		}
		last := op
		if i < len(key)-1 {
			last = strings.TrimSuffix(op, "=")
		}
		all = append(all, t.d.column(t.keys[i].name)+" "+last+" ?")
		args = append(args, key[i])
		alternatives = append(alternatives, strings.Join(all, " AND "))
	}
	condition := "(" + strings.Join(alternatives, " OR ") + ")"
	if len(key) > 1 { // lets MySQL use the index
		condition = t.d.column(t.keys[0].name) + " " + op[:1] + "= ? AND " + condition
		args = append([]any{key[0]}, args...)
	}
	return condition, args
}

// between selects something of the rows behind one key, up to another.
func (t *Table) between(what string, after, upto []any, limit int) (string, []any) {
	var conditions []string
	var args []any
	add := func(key []any, op string) {
		if key == nil {
			return
		}
		c, a := t.beyond(key, op)
		conditions = append(conditions, c)
		args = append(args, a...)
	}
	add(after, ">")
	add(upto, "<=")
	query := "SELECT " + what + " FROM " + t.quoted
	if len(conditions) > 0 {
		query += " WHERE " + strings.Join(conditions, " AND ")
	}
	return query + t.sql.order + " LIMIT ?", append(args, limit)
}

// update writes the cells and indexes of a row that have something new, if all that was
// read of it is still there.
func (t *Table) update(r *row) (string, []any) {
	var sets []string
	var args []any
	set := func(c column, cell *rotate.Cell) {
		switch {
		case cell.New != nil:
			sets = append(sets, t.d.column(c.name)+" = ?")
			args = append(args, c.value(cell.New))
		case cell.Empty:
			sets = append(sets, t.d.column(c.name)+" = NULL")
		}
	}
	for i := range r.Cells {
		set(t.cells[i], &r.Cells[i])
	}
	for i := range r.Indexes {
		set(t.indexes[i], &r.Indexes[i])
	}
	query := "UPDATE " + t.quoted + " SET " + strings.Join(sets, ", ") + t.sql.byKey
	args = append(args, r.key...)
	i := 0
	for _, list := range [][]column{t.binds, t.cells, t.indexes} {
		for _, c := range list {
			if c.name == "" {
				continue
			}
			query += " AND " + t.d.same(c, r.read[i])
			args = append(args, r.read[i])
			i++
		}
	}
	return t.d.number(query), args
}
