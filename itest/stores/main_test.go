package stores

import (
	"fmt"
	"os"
	"testing"

	"github.com/structseal/structseal/itest/stores/dbserver"
)

func TestMain(m *testing.M) {
	if os.Getenv(childDriver) != "" {
		if err := child(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(dbserver.Run(m))
}
