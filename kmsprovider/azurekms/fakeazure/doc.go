// Package fakeazure is a fake of Azure Key Vault, for tests: a handler of HTTPS that the
// real SDK can be pointed at.
//
//	vault := fakeazure.New("customers")
//	server := httptest.NewTLSServer(vault)
//	kms, err := azurekms.New(server.URL+"/keys/customers", vault, &azurekms.Options{Client: azkeys.ClientOptions{
//		ClientOptions:                        azcore.ClientOptions{Transport: server.Client()},
//		DisableChallengeResourceVerification: true, // the host isn't under vault.azure.net
//	}})
//
// It knows wrapKey, unwrapKey and get of keys, and the challenge for a token, with real
// cryptography in the keys, which are gone when the process ends. What it answers when
// something is wrong is what Azure documents. It has not been compared with Azure;
// TestRealKey of package azurekms runs the suite of providers on an account.
//
// It takes one fixed token, which is no secret, and checks no signatures: whoever
// reaches it may use all keys. Use it in tests alone.
package fakeazure
