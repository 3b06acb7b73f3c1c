package kmsurl_test

import (
	"encoding/json"
	"encoding/pem"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	gcp "cloud.google.com/go/kms/apiv1"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	aws "github.com/aws/aws-sdk-go-v2/service/kms"
	"google.golang.org/api/option"

	"github.com/structseal/structseal/kmsprovider"
	"github.com/structseal/structseal/kmsprovider/awskms"
	"github.com/structseal/structseal/kmsprovider/azurekms"
	"github.com/structseal/structseal/kmsprovider/gcpkms"
	"github.com/structseal/structseal/kmsprovider/kmsurl"
	"github.com/structseal/structseal/kmsprovider/vaultkms"
	"github.com/structseal/structseal/kmsprovider/vaultkms/vaultapi"
)

// alone takes away what the machine that runs the test has.
func alone(t *testing.T) (home string) {
	t.Helper()
	home = t.TempDir()
	for _, name := range []string{
		"AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE",
		"BAO_ADDR", "BAO_TOKEN", "BAO_NAMESPACE", "BAO_CACERT", "VAULT_ADDR", "VAULT_TOKEN", "VAULT_NAMESPACE", "VAULT_CACERT",
	} {
		t.Setenv(name, "")
	}
	t.Setenv("HOME", home)
	return home
}

// denying is a fake service that refuses every call. asked returns what came in last.
func denying(t *testing.T, answer string) (server *httptest.Server, asked func() *http.Request) {
	t.Helper()
	requests := make(chan *http.Request, 100)
	server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests <- r
		w.WriteHeader(http.StatusForbidden)
		w.Write([]byte(answer))
	}))
	t.Cleanup(server.Close)
	return server, func() *http.Request {
		select {
		case r := <-requests:
			return r
		default:
			t.Error("the service was not asked")
			return new(http.Request)
		}
	}
}

func denied(t *testing.T, kms kmsprovider.Provider) {
	t.Helper()
	if _, err := kms.Wrap(t.Context(), make([]byte, 32), kmsprovider.Context{"structseal-ring": "customers"}); !errors.Is(err, kmsprovider.ErrDenied) {
		t.Errorf("error %v, want denied", err)
	}
}

// The Region is the ARN's, and credentials are of the environment.
func TestAWS(t *testing.T) {
	alone(t)
	server, asked := denying(t, `{"__type":"AccessDeniedException"}`)
	server.Start()
	t.Setenv("AWS_ENDPOINT_URL_KMS", server.URL)
	t.Setenv("AWS_REGION", "eu-north-1")
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
	t.Setenv("AWS_SECRET_ACCESS_KEY", strings.Repeat("secret", 6)) // FIPS mode refuses short keys
	for _, arn := range []string{awsKey, strings.Replace(awsKey, "key/", "key/mrk-", 1)} {
		driver, err := awskms.New(aws.New(aws.Options{Region: "us-east-1"}), arn, nil)
		if err != nil {
			t.Fatal(err)
		}
		kms := open(t, "aws-kms://"+arn)
		if kms.ID() != driver.ID() {
			t.Errorf("ID %s, the driver's is %s", kms.ID(), driver.ID())
		}
		denied(t, kms)
		if by := asked().Header.Get("Authorization"); !strings.Contains(by, "AKIAEXAMPLE/") || !strings.Contains(by, "/us-east-1/kms/") {
			t.Errorf("signed as %q", by)
		}
	}
}

// Credentials are found as every program of Google's finds them. Nothing is called.
func TestGCP(t *testing.T) {
	home := alone(t)
	file := filepath.Join(home, "adc.json")
	adc, _ := json.Marshal(map[string]string{"type": "authorized_user", "client_id": "app", "client_secret": "secret", "refresh_token": "token"})
	if err := os.WriteFile(file, adc, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", file)
	client, err := gcp.NewKeyManagementClient(t.Context(), option.WithoutAuthentication())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	driver, err := gcpkms.New(client, gcpKey)
	if err != nil {
		t.Fatal(err)
	}
	if kms := open(t, "gcp-kms://"+gcpKey); kms.ID() != driver.ID() {
		t.Errorf("ID %s, the driver's is %s", kms.ID(), driver.ID())
	}
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", file+".gone")
	if kms, _, err := kmsurl.Open(t.Context(), "gcp-kms://"+gcpKey); kms != nil || err == nil || errors.Is(err, kmsurl.ErrURI) {
		t.Errorf("without credentials: %v, %v", kms, err)
	}
}

// The server is the URI's, or the environment's, and the token the environment's, or
// what a login left.
func TestVault(t *testing.T) {
	home := alone(t)
	server, asked := denying(t, `{"errors":["permission denied"]}`)
	server.StartTLS()
	ca := filepath.Join(home, "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("VAULT_CACERT", ca)
	host := strings.TrimPrefix(server.URL, "https://")
	check := func(uri, token string) {
		t.Helper()
		client, err := vaultapi.New(&vaultapi.Options{Address: server.URL, Token: vaultapi.TokenFile("unused")})
		if err != nil {
			t.Fatal(err)
		}
		driver, err := vaultkms.New(uri, client)
		if err != nil {
			t.Fatal(err)
		}
		kms := open(t, uri)
		if kms.ID() != driver.ID() {
			t.Errorf("ID %s, the driver's is %s", kms.ID(), driver.ID())
		}
		denied(t, kms)
		if r := asked(); r.Header.Get("X-Vault-Token") != token || r.URL.Path != "/v1/transit/encrypt/customers" {
			t.Errorf("%s was asked with token %q, want %q", r.URL, r.Header.Get("X-Vault-Token"), token)
		}
	}
	if _, _, err := kmsurl.Open(t.Context(), "hcvault://"+host+"/transit/keys/customers"); err == nil || !strings.Contains(err.Error(), "no token") {
		t.Errorf("without a token: %v", err)
	}
	if err := os.WriteFile(filepath.Join(home, ".vault-token"), []byte("of a login\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	check("hcvault://"+host+"/transit/keys/customers", "of a login")
	t.Setenv("VAULT_ADDR", server.URL)
	check("hcvault:///transit/keys/customers", "of a login")
	t.Setenv("BAO_NAMESPACE", "team")
	if kms := open(t, "hcvault:///transit/keys/customers"); kms.ID() != "hcvault:///team/transit/keys/customers" {
		t.Errorf("ID %s", kms.ID())
	}
}

// A token of the environment counts before that of a login.
func TestVaultTokenOfEnvironment(t *testing.T) {
	for _, name := range []string{"BAO_TOKEN", "VAULT_TOKEN"} {
		home := alone(t)
		server, asked := denying(t, `{"errors":["permission denied"]}`)
		server.Start()
		t.Setenv("VAULT_ADDR", server.URL) // plain, as of an agent on this machine
		t.Setenv(name, "of the environment")
		if err := os.WriteFile(filepath.Join(home, ".vault-token"), []byte("of a login"), 0o600); err != nil {
			t.Fatal(err)
		}
		denied(t, open(t, "hcvault:///transit/keys/customers"))
		if token := asked().Header.Get("X-Vault-Token"); token != "of the environment" {
			t.Errorf("token %q", token)
		}
	}
}

// Nothing is called.
func TestAzure(t *testing.T) {
	credential, err := azidentity.NewDefaultAzureCredential(nil)
	if err != nil {
		t.Fatal(err)
	}
	driver, err := azurekms.New("https://MyVault.vault.azure.net/keys/Customers", credential, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, uri := range []string{"azure-kv://" + azureKey, "azure-kv://MyVault.vault.azure.net/keys/Customers?algorithm=A256KW"} {
		if kms := open(t, uri); kms.ID() != driver.ID() {
			t.Errorf("ID %s, the driver's is %s", kms.ID(), driver.ID())
		}
	}
}
