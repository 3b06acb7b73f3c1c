package structseal

// Record is the marker that gives a struct type its permanent name:
//
//	_ structseal.Record `seal:"customer"`
//
// The name is authenticated with every value of the type; the Go type may be
// renamed, the name may not. Options: `unbound` for a record whose values are
// tied to no row (they can be moved between rows: say so only where there are
// none), `require=label` for a [Bind] that must be given, `table=name` and
// `category=name` for tools.
type Record struct{}
