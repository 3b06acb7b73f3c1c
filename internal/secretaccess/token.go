// Package secretaccess guards the methods that hand out raw key bytes.
//
// A method that takes a Token can only be called from inside this module,
// because nobody else may import this package. The only callers are the
// packages whose job is moving keys: keyring (wrapping) and the export
// packages that say "insecure" in their import path.
package secretaccess

// Token is the permission to read raw key bytes.
type Token struct{}
