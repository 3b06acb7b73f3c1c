package dynamostore_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
)

// The DynamoDB server that the tests start: the npm package of this name, on
// PATH or where STRUCTSEAL_DYNALITE says.
const dynalite = "dynalite"

var errMissing = errors.New("not installed (npm install " + dynalite + "@4.0.0)")

// need ends the test if the server could not be started: as skipped only if it
// isn't installed, and not where everything must be.
func need(t testing.TB, err error) {
	t.Helper()
	switch {
	case err == nil:
	case errors.Is(err, errMissing) && os.Getenv("CI") != "true":
		t.Skip(err)
	default:
		t.Fatal(err)
	}
}

var stop = func() {}

func TestMain(m *testing.M) {
	code := m.Run()
	stop()
	os.Exit(code)
}

// endpoint is the address of the server that all tests share.
var endpoint = sync.OnceValues(func() (string, error) {
	program := os.Getenv("STRUCTSEAL_DYNALITE")
	if program == "" {
		program = dynalite
	}
	path, err := exec.LookPath(program)
	if err != nil {
		return "", fmt.Errorf("%s: %w", program, errMissing)
	}
	// The port is free now; if somebody takes it meanwhile, take another one.
	for range 5 {
		var address string
		if address, err = serve(path); err == nil {
			return shield("http://" + address), nil
		}
	}
	return "", err
})

// shield stands in front of the server, which dies of a request that is cut off
// in its middle. It passes on what arrived whole, and goes on when the client has
// left, as the service does.
func shield(server string) (url string) {
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		request, err := http.NewRequest(r.Method, server+r.URL.Path, bytes.NewReader(body))
		if err != nil {
			panic(err)
		}
		request.Header = r.Header
		request.Host = r.Host // it is signed
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		defer response.Body.Close()
		maps.Copy(w.Header(), response.Header)
		w.WriteHeader(response.StatusCode)
		io.Copy(w, response.Body)
	}))
	end := stop
	stop = func() { front.CloseClientConnections(); front.Close(); end() }
	return front.URL
}

func serve(path string) (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	address := l.Addr().String()
	_, port, _ := net.SplitHostPort(address)
	l.Close()
	cmd := exec.Command(path, "--host", "127.0.0.1", "--port", port, "--createTableMs", "1", "--deleteTableMs", "1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return "", err
	}
	if err := cmd.Start(); err != nil {
		return "", err
	}
	end := func() {
		cmd.Process.Kill()
		cmd.Wait()
	}
	timer := time.AfterFunc(time.Minute, func() { cmd.Process.Kill() })
	defer timer.Stop()
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if strings.Contains(lines.Text(), "istening") {
			stop = end
			return address, nil
		}
	}
	end()
	return "", errors.New(dynalite + " did not start")
}

// client returns a client of the server, with connections of its own.
func client(t testing.TB) *dynamodb.Client {
	t.Helper()
	url, err := endpoint()
	need(t, err)
	return clientAt(url)
}

func clientAt(url string) *dynamodb.Client {
	return dynamodb.New(dynamodb.Options{
		Region:           "us-east-1",
		BaseEndpoint:     &url,
		RetryMaxAttempts: 1,
		HTTPClient:       whole{http.DefaultTransport.(*http.Transport).Clone()},
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "test", SecretAccessKey: "not a secret of anybody"}, nil
		}),
	})
}

// whole is an HTTP client that returns when it has all of the answer. The SDK closes
// the request's body when the client returns; a server as near as ours may have
// answered before the transport has noticed that the body was at its end, and then
// it drops the connection, with the rest of a long answer in it. The SDK's retries,
// which these tests do without, hide that.
type whole struct{ transport http.RoundTripper }

func (c whole) Do(r *http.Request) (*http.Response, error) {
	response, err := c.transport.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, err
	}
	response.Body = io.NopCloser(bytes.NewReader(body))
	return response, nil
}
