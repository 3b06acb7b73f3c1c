//go:build race

package keyringtest

const raceDetector = true
