package kmstest

import (
	"bytes"
	"log"
	"log/slog"
	"sync"
)

// capturing is where package log and the default slog.Logger write while any suite
// captures them: several may, at once.
var capturing struct {
	mu      sync.Mutex
	by      map[*captured]bool
	restore func()
}

// captured is what was logged since captureLogs.
type captured struct {
	mu  sync.Mutex
	out bytes.Buffer
}

func captureLogs() *captured {
	c := &captured{}
	capturing.mu.Lock()
	defer capturing.mu.Unlock()
	if len(capturing.by) == 0 {
		logger, writer, flags := slog.Default(), log.Writer(), log.Flags()
		capturing.by = make(map[*captured]bool)
		capturing.restore = func() {
			slog.SetDefault(logger)
			log.SetOutput(writer) // which SetDefault may have changed
			log.SetFlags(flags)
		}
		slog.SetDefault(slog.New(slog.NewTextHandler(fanOut{}, &slog.HandlerOptions{Level: slog.LevelDebug})))
		log.SetOutput(fanOut{})
	}
	capturing.by[c] = true
	return c
}

// release ends the capture.
func (c *captured) release() {
	capturing.mu.Lock()
	defer capturing.mu.Unlock()
	delete(capturing.by, c)
	if len(capturing.by) == 0 {
		capturing.restore()
	}
}

func (c *captured) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.out.String()
}

// fanOut writes to all who capture.
type fanOut struct{}

func (fanOut) Write(p []byte) (int, error) {
	capturing.mu.Lock()
	defer capturing.mu.Unlock()
	for c := range capturing.by {
		c.mu.Lock()
		c.out.Write(p)
		c.mu.Unlock()
	}
	return len(p), nil
}
