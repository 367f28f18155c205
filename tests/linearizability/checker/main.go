// SPDX-License-Identifier: Apache-2.0

// checker reads histories (../history.hpp) and says whether each could have come from a dict that does one operation at a
// time, in an order that agrees with the times of the calls and returns.
//
//	checker [-at-least N] [-pictures DIRECTORY] FILE
//
// Exit code 0: all of them; 1: one could not, and a picture of it was written; 2: the file makes no sense, has fewer than N
// operations, or a history was too hard to decide.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sort"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"
)

const patience = 2 * time.Minute // for one history

type counts struct {
	rounds, operations, pending, histories, met int
}

// finding is a part that is not accepted.
type finding struct {
	round  *round
	part   *part
	result porcupine.CheckResult
}

func main() {
	atLeast := flag.Int("at-least", 0, "fewer operations are an error")
	pictures := flag.String("pictures", ".", "directory for pictures of what is refused")
	flag.Parse()
	if flag.NArg() != 1 {
		flag.Usage()
		os.Exit(2)
	}
	began := time.Now()
	total, found, err := checkFile(flag.Arg(0))
	if err != nil {
		fmt.Printf("%s: %v\n", flag.Arg(0), err)
		os.Exit(2)
	}
	if found != nil {
		os.Exit(report(found, *pictures, flag.Arg(0)))
	}
	fmt.Printf("%d operations of %d rounds are linearizable: %d histories of one key or one group; %d operations were "+
		"pending, %d met another one on their keys; %.1f s\n", total.operations, total.rounds, total.histories,
		total.pending, total.met, time.Since(began).Seconds())
	if total.operations < *atLeast {
		fmt.Printf("too few: %d were wanted\n", *atLeast)
		os.Exit(2)
	}
}

// checkFile checks as many rounds at a time as there are processors, until one is not accepted.
func checkFile(name string) (counts, *finding, error) {
	var total counts
	file, err := os.Open(name)
	if err != nil {
		return total, nil, err
	}
	defer file.Close()

	rounds := make(chan *round, 2)
	var (
		workers sync.WaitGroup
		mutex   sync.Mutex
		found   *finding
	)
	for i := 0; i < runtime.NumCPU(); i++ {
		workers.Add(1)
		go func() {
			defer workers.Done()
			for r := range rounds {
				c, f := check(r)
				mutex.Lock()
				total.rounds += c.rounds
				total.operations += c.operations
				total.pending += c.pending
				total.histories += c.histories
				total.met += c.met
				if f != nil && (found == nil || f.round.number < found.round.number) {
					found = f
				}
				mutex.Unlock()
			}
		}()
	}
	in := newReader(file)
	for {
		var r *round
		if r, err = in.next(); err != nil || r == nil {
			break
		}
		mutex.Lock()
		over := found != nil
		mutex.Unlock()
		if over {
			break
		}
		rounds <- r
	}
	close(rounds)
	workers.Wait()
	return total, found, err
}

// check counts what it has checked: reads that are pending can say nothing.
func check(r *round) (counts, *finding) {
	c := counts{rounds: 1}
	for _, o := range r.operations {
		if o.pending && o.onlyReads() {
			continue
		}
		c.operations++
		if o.pending {
			c.pending++
		}
	}
	met := map[*operation]bool{}
	for _, p := range r.parts() {
		c.histories++
		p.meetings(met)
		result := porcupine.CheckOperationsTimeout(p.model(), p.history(), patience)
		if result != porcupine.Ok {
			return c, &finding{r, p, result}
		}
	}
	c.met = len(met)
	return c, nil
}

// meetings marks the operations that another one of the part overlaps in time.
func (p *part) meetings(met map[*operation]bool) {
	var returned []*operation
	for _, o := range p.operations {
		if !o.pending {
			returned = append(returned, o)
		}
	}
	sort.Slice(returned, func(i, j int) bool { return returned[i].called < returned[j].called })
	var latest *operation
	for _, o := range returned {
		if latest != nil && o.called <= latest.returned {
			met[o.whole()] = true
			met[latest.whole()] = true
		}
		if latest == nil || o.returned > latest.returned {
			latest = o
		}
	}
}

// shortest returns the shortest beginning of a history that is refused already: what returned later is pending there.
func (p *part) shortest() *part {
	until := func(t int64) *part {
		cut := *p
		cut.operations = nil
		for _, o := range p.operations {
			if o.called > t {
				continue
			}
			if o.returned > t && !o.pending {
				if o.onlyReads() {
					continue
				}
				copied := *o
				copied.of, copied.pending, copied.returned = o.whole(), true, never
				o = &copied
			}
			cut.operations = append(cut.operations, o)
		}
		return &cut
	}
	var times []int64
	for _, o := range p.operations {
		if !o.pending {
			times = append(times, o.returned)
		}
	}
	sort.Slice(times, func(i, j int) bool { return times[i] < times[j] })
	first := sort.Search(len(times), func(i int) bool {
		cut := until(times[i])
		return porcupine.CheckOperationsTimeout(cut.model(), cut.history(), patience) == porcupine.Illegal
	})
	if first == len(times) {
		return p
	}
	return until(times[first])
}

// report says what is wrong, draws it, and returns the exit code.
func report(f *finding, directory, file string) int {
	if f.result == porcupine.Unknown {
		fmt.Printf("%s: round %d, %s: too hard to decide in %v\n", file, f.round.number, f.part.what, patience)
		return 2
	}
	cut := f.part.shortest()
	fmt.Printf("%s: round %d, %s: NOT LINEARIZABLE: no order of these operations explains their results\n", file,
		f.round.number, cut.what)
	operations := append([]*operation(nil), cut.operations...)
	sort.SliceStable(operations, func(i, j int) bool { return operations[i].called < operations[j].called })
	const shown = 40
	fmt.Printf("the shortest beginning that is wrong has %d operations; those that had not returned and the last %d of the "+
		"others (client, called, returned in ns):\n", len(operations), shown)
	for i, o := range operations {
		if o.pending || i >= len(operations)-shown {
			fmt.Printf("  %s\n", o.whole().line())
		}
	}
	model := cut.model()
	_, info := porcupine.CheckOperationsVerbose(model, cut.history(), patience)
	path := filepath.Join(directory, fmt.Sprintf("refused.%s.html", filepath.Base(file)))
	if err := porcupine.VisualizePath(model, info, path); err != nil {
		fmt.Printf("the picture could not be written: %v\n", err)
		return 1
	}
	fmt.Printf("porcupine's picture of it: %s\n", path)
	return 1
}
