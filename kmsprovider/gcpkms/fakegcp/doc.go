// Package fakegcp is a fake of Google Cloud KMS, for tests: a server of gRPC that the
// real client can be pointed at.
//
//	fake := fakegcp.New("projects/p/locations/europe-west1/keyRings/r/cryptoKeys/k")
//	go fake.Server().Serve(listener)
//	client, err := kms.NewKeyManagementClient(ctx, option.WithEndpoint(listener.Addr().String()),
//		option.WithoutAuthentication(), option.WithGRPCDialOption(grpc.WithTransportCredentials(insecure.NewCredentials())))
//
// It knows Encrypt and Decrypt of symmetric keys, with their checksums and with real
// cryptography in the keys, which are gone when the process ends. What it answers when
// something is wrong is what Cloud KMS documents. It has not been compared with Cloud
// KMS; TestRealAccount of package gcpkms runs the suite of providers on an account.
//
// It asks for no credentials and checks no signatures: whoever reaches it may use all
// keys. Use it in tests alone.
package fakegcp
