// Package bench measures structseal beside its peers: the same record and the same bytes
// through each, in one run on one machine.
//
//	go -C bench test ./...                    # what the tables claim of each peer holds
//	go -C bench test -run '^$' -bench .       # the benchmarks alone
//	go -C bench run ./cmd/peers               # all, six times: docs/peers.md and docs/peers.svg
//
// A peer is a file. It gets what binds a value to its place as far as its API takes it,
// and keys that are at hand: no network, no store, no KMS is in any figure. MongoDB's
// library is C: it is built in with -tags cse, where libmongocrypt is installed.
//
// The module has a workspace of its own, because what the peers require would choose
// versions for all other modules.
package bench
