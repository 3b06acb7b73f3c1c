package kms

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/openbao/openbao/builtin/logical/transit"
	"github.com/openbao/openbao/sdk/v2/logical"

	"github.com/structseal/structseal/kmsprovider/kmstest"
)

// token is the one that the engine's server takes.
const token = "s.KMSTESTtokenKMSTESTtoken"

// An engine is OpenBao's own Transit, in this process, behind the few lines of its
// server that are needed to reach it. What the server alone does (policies,
// namespaces, logins, leases) isn't here.
type engine struct {
	backend logical.Backend
	storage logical.Storage
	mode    atomic.Pointer[kmstest.Mode] // of the server around it
	calls   atomic.Int64
}

func newEngine(t testing.TB) *engine {
	t.Helper()
	storage := &logical.InmemStorage{}
	backend, err := transit.Factory(t.Context(), &logical.BackendConfig{
		Logger: hclog.NewNullLogger(), StorageView: storage,
		System: &logical.StaticSystemView{DefaultLeaseTTLVal: time.Hour, MaxLeaseTTLVal: time.Hour},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := backend.Initialize(t.Context(), &logical.InitializationRequest{Storage: storage}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { backend.Cleanup(context.Background()) })
	return &engine{backend: backend, storage: storage}
}

// ServeHTTP answers as OpenBao's server does, with the same mapping of errors.
func (e *engine) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	answer := func(status int, body any) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		if body != nil {
			json.NewEncoder(w).Encode(body)
		}
	}
	failed := func(status int, text string) { answer(status, map[string]any{"errors": []string{text}}) }
	e.calls.Add(1)
	var mode kmstest.Mode
	if m := e.mode.Load(); m != nil {
		mode = *m
	}
	switch {
	case r.Header.Get("X-Vault-Token") != token, mode == kmstest.Denied:
		failed(403, "permission denied")
		return
	case mode == kmstest.Unavailable:
		failed(503, "Vault is sealed")
		return
	case mode == kmstest.Throttled:
		failed(429, "request path \"transit/encrypt/one\": rate limit quota exceeded")
		return
	}
	path, ok := strings.CutPrefix(r.URL.Path, "/v1/transit/")
	if !ok {
		failed(404, "no handler for route \""+strings.TrimPrefix(r.URL.Path, "/v1/")+"\". route entry not found.")
		return
	}
	data := make(map[string]any)
	if err := json.NewDecoder(r.Body).Decode(&data); err != nil {
		failed(400, "failed to parse JSON input: "+err.Error())
		return
	}
	resp, err := e.handle(r.Context(), path, data)
	if status, err := logical.RespondErrorCommon(&logical.Request{Operation: logical.UpdateOperation}, resp, err); err != nil {
		failed(status, err.Error())
		return
	}
	if resp == nil {
		answer(204, nil)
		return
	}
	if text, ok := resp.Data["plaintext"].(string); ok {
		plain, _ := base64.StdEncoding.DecodeString(text)
		resp.Data["plaintext"] = base64.StdEncoding.EncodeToString(mode.Lie(plain))
	}
	answer(200, map[string]any{"data": resp.Data, "warnings": resp.Warnings})
}

// handle makes a write: a create when the engine says that nothing is there yet.
func (e *engine) handle(ctx context.Context, path string, data map[string]any) (*logical.Response, error) {
	req := &logical.Request{Path: path, Storage: e.storage, ClientToken: token, MountPoint: "transit/", Data: data, Operation: logical.UpdateOperation}
	if checked, exists, err := e.backend.HandleExistenceCheck(ctx, req); err == nil && checked && !exists {
		req.Operation = logical.CreateOperation
	}
	return e.backend.HandleRequest(ctx, req)
}

// write is an operator's call.
func (e *engine) write(t testing.TB, path string, data map[string]any) map[string]any {
	t.Helper()
	if data == nil {
		data = map[string]any{}
	}
	resp, err := e.handle(t.Context(), path, data)
	if err == nil && resp != nil && resp.IsError() {
		err = resp.Error()
	}
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	if resp == nil {
		return nil
	}
	return resp.Data
}

// softDelete is OpenBao's switch for a key.
func (e *engine) softDelete(t testing.TB, name string) (undo func()) {
	t.Helper()
	req := &logical.Request{Path: "keys/" + name + "/soft-delete", Storage: e.storage, Operation: logical.DeleteOperation, Data: map[string]any{}}
	if resp, err := e.backend.HandleRequest(t.Context(), req); err != nil || resp.IsError() {
		t.Fatalf("soft-delete: %v %v", err, resp)
	}
	return func() { e.write(t, "keys/"+name+"/soft-delete-restore", nil) }
}

// remove takes a key out of the engine's storage, and undo puts it back, which no call
// of Transit does for a key that isn't exportable.
func (e *engine) remove(t testing.TB, name string) (undo func()) {
	t.Helper()
	path := "policy/" + name
	entry, err := e.storage.Get(t.Context(), path)
	if err != nil || entry == nil {
		t.Fatalf("%s: %v", path, err)
	}
	if err := e.storage.Delete(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	e.backend.InvalidateKey(t.Context(), path)
	return func() {
		if err := e.storage.Put(context.Background(), entry); err != nil {
			t.Error(err)
		}
		e.backend.InvalidateKey(context.Background(), path)
	}
}

// fault puts the server around the engine into a mode.
func (e *engine) fault(m kmstest.Mode) kmstest.Option {
	return kmstest.Fault(m, func(*testing.T) func() {
		e.mode.Store(&m)
		return func() { e.mode.Store(nil) }
	})
}

func b64(b []byte) string { return base64.StdEncoding.EncodeToString(b) }
