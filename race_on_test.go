//go:build race

package structseal_test

const raceEnabled = true
