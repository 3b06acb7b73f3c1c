package stores

const childDriver = "STRUCTSEAL_TEST_DRIVER"

func child() error { return nil }
