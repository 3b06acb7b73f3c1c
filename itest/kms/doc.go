// Package kms tests all KMS drivers together: a ring under several of them, and its way
// from each to each other. AWS, Google and Azure are fakes that speak the wire protocol
// to the real SDKs (fakeaws, fakegcp, fakeazure); OpenBao's own Transit engine runs in
// the process; SoftHSM and PyKMIP are started. Without the program a test is skipped, and
// with CI=true in the environment it fails.
//
// It also tests package vaultkms on that engine, which runs without the rest of the
// server. Two opt-ins run the same tests on a whole one:
//
//	STRUCTSEAL_BAO=/usr/local/bin/bao    starts this program (OpenBao or Vault) in development mode
//	STRUCTSEAL_VAULT_KEYS=hcvault:///transit/keys/one,hcvault:///transit/keys/two
//	                                     uses these keys, with VAULT_ADDR, VAULT_TOKEN ... of the environment
//
// STRUCTSEAL_LONG=1 runs all pairs and all that can happen to a KMS. Without a C compiler
// only the tests of vaultkms are there.
//
// The module has a workspace of its own, because what the engine requires would choose
// versions for all other modules: go -C itest/kms test ./...
package kms
