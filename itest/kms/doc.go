// Package vault tests package vaultkms on OpenBao's own Transit engine.
//
// By default the engine runs in this process, without the rest of the server. Two
// opt-ins run the same tests on a whole one:
//
//	STRUCTSEAL_BAO=/usr/local/bin/bao    starts this program (OpenBao or Vault) in development mode
//	STRUCTSEAL_VAULT_KEYS=hcvault:///transit/keys/one,hcvault:///transit/keys/two
//	                                     uses these keys, with VAULT_ADDR, VAULT_TOKEN ... of the environment
//
// The module stands outside of the workspace: what the engine requires would choose
// versions for all other modules. `.ci/run vault` runs it.
package kms
