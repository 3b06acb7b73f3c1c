//go:build cgo

package kms

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"

	awssdk "github.com/aws/aws-sdk-go-v2/service/kms"

	gcpsdk "cloud.google.com/go/kms/apiv1"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	grpccredentials "google.golang.org/grpc/credentials"

	"github.com/structseal/structseal/kmsprovider"
	"github.com/structseal/structseal/kmsprovider/awskms"
	"github.com/structseal/structseal/kmsprovider/azurekms"
	"github.com/structseal/structseal/kmsprovider/azurekms/fakeazure"
	"github.com/structseal/structseal/kmsprovider/gcpkms"
	"github.com/structseal/structseal/kmsprovider/kmipkms"
	"github.com/structseal/structseal/kmsprovider/localkms"
	"github.com/structseal/structseal/kmsprovider/pkcs11kms"
	"github.com/structseal/structseal/kmsprovider/pkcs11kms/softhsm"
	"github.com/structseal/structseal/kmsprovider/tinkkms"
	"github.com/structseal/structseal/kmsprovider/vaultkms"
	"github.com/structseal/structseal/kmsprovider/vaultkms/vaultapi"
)

// A place says where a key-encryption key is, to any process of this machine: by JSON,
// in the environment.
type place struct {
	Driver string
	Addr   string // of the service, or the path of its library
	Key    string // its name there, or the path of its file
	Roots  []byte // PEM of whom the service's certificate is from

	Certificate, PrivateKey string // paths, of this client
}

// region is where AWS's keys are.
const region = "us-east-1"

// open returns a provider with connections of its own, as a program would. close ends
// them.
func (p place) open() (kms kmsprovider.Provider, close func() error, err error) {
	nothing := func() error { return nil }
	config := &tls.Config{RootCAs: x509.NewCertPool()}
	config.RootCAs.AppendCertsFromPEM(p.Roots)
	transport := &http.Transport{TLSClientConfig: config}
	client := &http.Client{Transport: transport}
	hangUp := func() error { transport.CloseIdleConnections(); return nil }
	switch p.Driver {
	case "awskms":
		kms, err = awskms.New(awssdk.New(awssdk.Options{
			Region: region, BaseEndpoint: &p.Addr, HTTPClient: client,
			Credentials: credentials.NewStaticCredentialsProvider("anybody", "any secret that is as long as one of AWS", ""),
		}), p.Key, nil)
		return kms, hangUp, err
	case "gcpkms":
		client, err := gcpsdk.NewKeyManagementClient(context.Background(), option.WithEndpoint(p.Addr), option.WithoutAuthentication(),
			option.WithGRPCDialOption(grpc.WithTransportCredentials(grpccredentials.NewTLS(config))))
		if err != nil {
			return nil, nil, err
		}
		kms, err = gcpkms.New(client, p.Key)
		return kms, client.Close, err
	case "azurekms":
		kms, err = azurekms.New(p.Addr+"/keys/"+p.Key, fakeazure.New(), &azurekms.Options{Client: azkeys.ClientOptions{
			ClientOptions:                        azcore.ClientOptions{Transport: client},
			DisableChallengeResourceVerification: true, // the loopback interface isn't under vault.azure.net
		}})
		return kms, hangUp, err
	case "vaultkms":
		c, err := vaultapi.New(&vaultapi.Options{Address: p.Addr, HTTP: client, Token: given(token)})
		if err != nil {
			return nil, nil, err
		}
		kms, err = vaultkms.New("hcvault:///transit/keys/"+p.Key, c)
		return kms, hangUp, err
	case "pkcs11kms":
		kms, err := pkcs11kms.New(pkcs11kms.Options{Module: p.Addr, Token: softhsm.Token, Object: p.Key, PIN: func() (string, error) { return softhsm.PIN, nil }})
		return kms, kms.Close, err
	case "kmipkms":
		certificate, err := tls.LoadX509KeyPair(p.Certificate, p.PrivateKey)
		if err != nil {
			return nil, nil, err
		}
		config.Certificates = []tls.Certificate{certificate}
		kms, err := kmipkms.New(kmipkms.Options{Addr: p.Addr, KeyID: p.Key, TLS: config})
		return kms, kms.Close, err
	case "localkms":
		kms, err = localkms.OpenKeyFile(p.Key)
		return kms, nothing, err
	case "tinkkms":
		kms, err = openKeyset(p.Key)
		return kms, nothing, err
	}
	return nil, nil, fmt.Errorf("no driver %q", p.Driver)
}

// openKeyset makes a provider of a Tink keyset in a file, whose name is its ID.
func openKeyset(path string) (kmsprovider.Provider, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	handle, err := insecurecleartextkeyset.Read(keyset.NewJSONReader(f))
	if err != nil {
		return nil, err
	}
	a, err := aead.New(handle)
	if err != nil {
		return nil, err
	}
	return tinkkms.New("tink:"+path, a, nil)
}

// openAll opens several. They are closed by one call.
func openAll(places []place) (kms []kmsprovider.Provider, closeAll func() error, err error) {
	var closers []func() error
	closeAll = func() (err error) {
		for _, c := range closers {
			err = errors.Join(err, c())
		}
		return err
	}
	for _, p := range places {
		k, c, err := p.open()
		if err != nil {
			return nil, nil, errors.Join(fmt.Errorf("%s: %w", p.Driver, err), closeAll())
		}
		kms, closers = append(kms, k), append(closers, c)
	}
	return kms, closeAll, nil
}
