//go:build !race

package keyringtest

const raceDetector = false
