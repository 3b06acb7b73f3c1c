package kmstest

// RaceDetector is for the tests of the suite itself.
const RaceDetector = raceDetector
