//go:build !race

package kmstest

const raceDetector = false
