// Structseal is the tool for who runs structseal: it looks at programs, and at what
// they have stored.
//
//	structseal inventory ./...
//
// Exit codes: 0 for fine, 1 for findings and failures, 2 for a command line that makes
// no sense. With --json the output is meant for programs; docs/cli-json.md describes it.
package main
