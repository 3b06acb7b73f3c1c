// Structseal is the tool for who runs structseal: it looks at programs, and at what
// they have stored.
//
//	structseal doctor
//	structseal keys rotate --wait
//	structseal inventory ./...
//
// docs/cli.md has its verbs, settings and exit codes. With --json the output is meant for
// programs; docs/cli-json.md describes it.
package main
