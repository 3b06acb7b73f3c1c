//go:build race

package kmstest

const raceDetector = true
