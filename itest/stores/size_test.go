package stores

import "os"

var long = os.Getenv("STRUCTSEAL_LONG") == "1"

// size is how often to do what many processes take part in: under the race
// detector, which makes them ten times as slow and sees nothing of what a killed
// process did; without it; and with STRUCTSEAL_LONG=1.
func size(race, normal, full int) int {
	switch {
	case long:
		return full
	case raced:
		return race
	}
	return normal
}
