// Package manifest describes the records of a program: which fields are sealed, what
// binds them, and in which tables and columns they are kept.
//
//	m, err := manifest.Load("structseal.json")
//	customers := m.Record("customer")
//
// The file is made from Go source by `structseal inventory` and committed. The tools
// that work on rows need it, because they don't know the program's types; a pull
// request is checked against it, because labels are permanent.
package manifest
