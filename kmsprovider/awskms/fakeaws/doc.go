// Package fakeaws is a fake of AWS KMS, for tests: a handler of HTTP that the real SDK
// can be pointed at.
//
//	server := httptest.NewServer(fakeaws.New(arn))
//	client := kms.New(kms.Options{Region: "eu-west-1", BaseEndpoint: &server.URL, Credentials: ...})
//
// It knows Encrypt and Decrypt of symmetric keys, in AWS's protocol (JSON 1.1, errors
// by __type), with real cryptography in the keys, which are gone when the process ends.
// What it answers when something is wrong is what AWS's API reference documents. It
// has not been compared with AWS; TestRealAccount of package awskms runs the suite of
// providers on an account.
//
// It checks no signatures: whoever reaches it may use all keys. Use it in tests alone.
package fakeaws
