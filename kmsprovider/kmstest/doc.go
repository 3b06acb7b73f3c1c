// Package kmstest tests implementations of [kmsprovider.Provider].
//
//	func TestProvider(t *testing.T) {
//		fake := newFake()                    // the service, as an http.Handler
//		proxy := kmstest.NewProxy(t, fake)   // and what stands between
//		open := func(key string) func(*testing.T) kmsprovider.Provider {
//			return func(*testing.T) kmsprovider.Provider { return mykms.New(proxy.URL, proxy.Client(), key) }
//		}
//		kmstest.Run(t, open("one"), open("other"),
//			proxy.Faults(),
//			kmstest.Fault(kmstest.Denied, fake.answers(403, "denied")),
//			kmstest.Lacks("answers have no checksum", kmstest.WrongChecksum))
//	}
//
// [Run] has a subtest for every promise of the interface, named after it, and for
// every [Mode] that a service may be in. Where a promise stands on another one that
// the provider breaks already, its subtest is skipped and says so, so that what
// fails is what must be mended. Modes that a driver can't have are skipped by name,
// with the reason that [Lacks] gives, and listed at the end; a mode that nothing is
// said about fails.
//
// [Proxy] has all modes that any HTTP service has, gRPC included. It also counts requests
// and connections, changes answers and looks at addresses: OneAttempt, Connections and
// Mangled are skipped without one.
//
// An account of a real cloud can't be put into modes: Lacks("a real account",
// kmstest.Modes()...) runs everything else on it.
package kmstest
