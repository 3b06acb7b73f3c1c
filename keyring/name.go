package keyring

// CheckName checks the name of a ring: 1 to 100 of a-z 0-9 . _ -, the first one a
// letter or digit. Such names are file names, SQL values and parts of an
// encryption context alike. Stores that build something of a name check it.
//
// Errors: ErrName.
func CheckName(name string) error { return ringError(name, validName(name)) }
