// Package gosource reads the records of a program from its source, for a manifest.
// Nothing is run: it looks at types, as a compiler does, and judges tags as package
// structseal does when it meets a type for the first time.
//
// `structseal inventory` is this package behind a loader. A linter that has
// type-checked packages at hand can call it as well.
package gosource
