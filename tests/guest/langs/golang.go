// A static Go program: goroutines over many threads, files, unix sockets, children, signals, timers.
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

func check(ok bool, format string, args ...any) {
	if !ok {
		fmt.Fprintf(os.Stderr, "  "+format+"\n", args...)
		os.Exit(1)
	}
}

func must(err error) { check(err == nil, "%v", err) }

// Many goroutines; some of them each hold a thread of their own.
func goroutines() {
	var group sync.WaitGroup
	var sum atomic.Int64
	numbers := make(chan int)
	for i := 0; i < 1000; i++ {
		group.Add(1)
		go func(pinned bool) {
			defer group.Done()
			if pinned {
				runtime.LockOSThread()
				defer runtime.UnlockOSThread()
			}
			for n := range numbers {
				sum.Add(int64(n))
			}
		}(i%40 == 0)
	}
	for i := 1; i <= 100000; i++ {
		numbers <- i
	}
	close(numbers)
	group.Wait()
	check(sum.Load() == 5000050000, "sum is %d", sum.Load())

	// A loop without calls is only stopped by a signal.
	old := runtime.GOMAXPROCS(1)
	var end atomic.Bool
	go func() {
		for !end.Load() {
		}
	}()
	start := time.Now()
	time.Sleep(20 * time.Millisecond)
	end.Store(true)
	check(time.Since(start) < 5*time.Second, "not preempted for %v", time.Since(start))
	runtime.GOMAXPROCS(old)
}

func memory() {
	kept := make([][]byte, 0, 100)
	for i := 0; i < 20000; i++ {
		b := make([]byte, 10000)
		b[i%10000] = 1
		if i%200 == 0 {
			kept = append(kept, b)
		}
	}
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	check(stats.NumGC > 0 && len(kept) == 100, "%d collections", stats.NumGC)
	nulls := 0
	for i := 0; i < 1000; i++ {
		func() {
			defer func() {
				if recover() != nil {
					nulls++
				}
			}()
			var p *int
			*p = i
		}()
	}
	check(nulls == 1000, "%d recovered", nulls)
}

func files() {
	dir, err := os.MkdirTemp(".", "go")
	must(err)
	defer os.RemoveAll(dir)
	var group sync.WaitGroup
	for i := 0; i < 100; i++ {
		group.Add(1)
		go func(i int) {
			defer group.Done()
			sub := filepath.Join(dir, fmt.Sprint(i%7))
			must(os.MkdirAll(sub, 0o755))
			must(os.WriteFile(filepath.Join(sub, fmt.Sprint(i)), []byte(strings.Repeat("x", i)), 0o644))
		}(i)
	}
	group.Wait()
	total := int64(0)
	must(filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		total += info.Size()
		return err
	}))
	check(total == 4950, "%d bytes", total)
	_, err = os.Open(dir + "/none")
	check(errors.Is(err, fs.ErrNotExist), "%v", err)
	from, err := os.Create(dir + "/from")
	must(err)
	_, err = from.Write(make([]byte, 3<<20))
	must(err)
	_, err = from.Seek(0, io.SeekStart)
	must(err)
	to, err := os.Create(dir + "/to")
	must(err)
	n, err := io.Copy(to, from) // copy_file_range, or splice
	check(err == nil && n == 3<<20, "copied %d: %v", n, err)
}

func sockets() {
	listener, err := net.Listen("unix", fmt.Sprintf("go-sock-%d", os.Getpid()))
	must(err)
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				io.Copy(c, c)
			}()
		}
	}()
	var group sync.WaitGroup
	for i := 0; i < 50; i++ {
		group.Add(1)
		go func(i int) {
			defer group.Done()
			c, err := net.Dial("unix", listener.Addr().String())
			must(err)
			defer c.Close()
			lines := bufio.NewReader(c)
			for j := 0; j < 20; j++ {
				sent := fmt.Sprintf("%d %d\n", i, j)
				_, err = c.Write([]byte(sent))
				must(err)
				got, err := lines.ReadString('\n')
				check(err == nil && got == sent, "got %q: %v", got, err)
			}
			must(c.SetReadDeadline(time.Now().Add(10 * time.Millisecond)))
			_, err = lines.ReadByte()
			check(errors.Is(err, os.ErrDeadlineExceeded), "%v", err)
		}(i)
	}
	group.Wait()
	must(listener.Close())
}

func children() {
	out, err := exec.Command("sh", "-c", "echo out; exit 3").Output()
	var exit *exec.ExitError
	check(errors.As(err, &exit) && exit.ExitCode() == 3 && string(out) == "out\n", "%q %v", out, err)
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	err = exec.CommandContext(ctx, "sleep", "100").Run()
	check(err != nil && ctx.Err() != nil, "%v", err)
	var group sync.WaitGroup
	for i := 0; i < 20; i++ {
		group.Add(1)
		go func(i int) {
			defer group.Done()
			cmd := exec.Command("cat")
			cmd.Stdin = strings.NewReader(fmt.Sprint(i))
			out, err := cmd.Output()
			check(err == nil && string(out) == fmt.Sprint(i), "%q %v", out, err)
		}(i)
	}
	group.Wait()
}

func signals() {
	caught := make(chan os.Signal, 100)
	signal.Notify(caught, syscall.SIGUSR1, syscall.SIGCHLD)
	defer signal.Stop(caught)
	for i := 0; i < 50; i++ {
		must(syscall.Kill(os.Getpid(), syscall.SIGUSR1))
		select {
		case s := <-caught:
			check(s == syscall.SIGUSR1, "%v", s)
		case <-time.After(10 * time.Second):
			check(false, "no signal")
		}
	}
	signal.Ignore(syscall.SIGUSR2)
	must(syscall.Kill(os.Getpid(), syscall.SIGUSR2))
	cmd := exec.Command("sh", "-c", "kill -TERM $$; sleep 100")
	err := cmd.Run()
	state := cmd.ProcessState.Sys().(syscall.WaitStatus)
	check(err != nil && state.Signaled() && state.Signal() == syscall.SIGTERM, "%v", err)
}

func timers() {
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	start := time.Now()
	for i := 0; i < 10; i++ {
		<-ticker.C
	}
	check(time.Since(start) >= 45*time.Millisecond, "too early: %v", time.Since(start))
	var fired atomic.Int32
	for i := 0; i < 200; i++ {
		time.AfterFunc(time.Duration(i%20)*time.Millisecond, func() { fired.Add(1) })
	}
	for i := 0; i < 1000 && fired.Load() < 200; i++ {
		time.Sleep(5 * time.Millisecond)
	}
	check(fired.Load() == 200, "%d fired", fired.Load())
}

func main() {
	for _, test := range []struct {
		name string
		body func()
	}{
		{"goroutines", goroutines}, {"memory", memory}, {"files", files}, {"sockets", sockets},
		{"children", children}, {"signals", signals}, {"timers", timers},
	} {
		test.body()
		fmt.Println("ok", test.name)
	}
}
