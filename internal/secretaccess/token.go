// Package secretaccess guards the methods that hand out raw key bytes.
//
// A method that takes a Token can only be called to some effect from inside
// this module, because nobody else may import this package. The only callers are
// the packages whose job is moving keys: keyring (wrapping) and the export
// packages that say "insecure" in their import path.
package secretaccess

// Token is the permission to read raw key bytes. The zero Token is none: a
// generic function can make one of a type that it can't name.
type Token struct{ from *byte }

var granted = new(byte)

// Grant returns the permission.
func Grant() Token { return Token{granted} }

// Valid reports whether t came from Grant.
func (t Token) Valid() bool { return t.from == granted }
