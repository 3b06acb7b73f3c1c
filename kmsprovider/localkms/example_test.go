package localkms_test

import (
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/structseal/structseal/kmsprovider/localkms"
)

// A key file is made once. It stays the same KEK wherever it is moved.
func Example() {
	dir, err := os.MkdirTemp("", "structseal")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "app.kek")
	kms, err := localkms.CreateKeyFile(path)
	if err != nil {
		log.Fatal(err)
	}
	moved := filepath.Join(dir, "moved.kek")
	if err := os.Rename(path, moved); err != nil {
		log.Fatal(err)
	}
	again, err := localkms.OpenKeyFile(moved)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(kms.ID() == again.ID())
	// Output: true
}
