//go:build !goexperiment.simd || !amd64

package crypto

func encodeVectors(dst, src []byte) (n int)          { return 0 }
func decodeVectors(dst, src []byte) (n int, ok bool) { return 0, true }
