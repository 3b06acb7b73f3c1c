// Package pykmip starts PyKMIP, a KMIP server with an engine of its own, for tests of
// programs whose keys are in a key manager.
//
//	server := pykmip.Start(t)
//	kms, err := kmipkms.New(kmipkms.Options{Addr: server.Addr(), KeyID: server.MakeKey(t), TLS: server.TLS()})
//
// [Start] skips the test where it isn't installed (Debian: python3-pykmip), and fails
// it if CI=true is set. The server is real, and its keys lie unencrypted in a file of
// the test's. Use it in tests alone.
package pykmip
