// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
)

// The text of histories is described in ../history.hpp.

const absent = math.MinInt64 // the value of a key that is not there
const never = math.MaxInt64  // when a pending operation returned

// key is one key of a history. Keys of one group can occur in one operation.
type key struct {
	name  string
	group int
	index int // within its group
}

// step is one access to one key.
type step struct {
	op            op
	key           *key
	first, second int64 // arguments
	result        int64
}

// operation is one call of one client: one step, or several that happen at one moment.
type operation struct {
	client           int
	called, returned int64
	steps            []step
	aborted          bool       // its steps saw what they saw, and changed nothing
	pending          bool       // its results are unknown; it may not have happened
	of               *operation // what it is a part of; nil if it is whole
}

func (o *operation) whole() *operation {
	if o.of != nil {
		return o.of
	}
	return o
}

// onlyReads says whether the operation changes nothing, whatever it finds.
func (o *operation) onlyReads() bool {
	for i := range o.steps {
		if o.steps[i].op != opGet {
			return o.aborted
		}
	}
	return true
}

// round is a history that begins with known values.
type round struct {
	number     int64
	keys       *keys
	initial    map[*key]int64
	operations []*operation
}

// keys are all that were named so far, in their groups. A key without a dot is a group of its own.
type keys struct {
	byName map[string]*key
	groups [][]*key
	names  map[string]int
}

func newKeys() *keys {
	return &keys{byName: map[string]*key{}, names: map[string]int{}}
}

func (k *keys) find(name string) (*key, error) {
	if found := k.byName[name]; found != nil {
		return found, nil
	}
	group, index := name, 0
	if dot := strings.IndexByte(name, '.'); dot >= 0 {
		group = name[:dot]
		n, err := strconv.Atoi(name[dot+1:])
		if err != nil || n < 0 || n >= groupSize {
			return nil, fmt.Errorf("%q is not a key: groups have keys .0 to .%d", name, groupSize-1)
		}
		index = n
	}
	number, known := k.names[group]
	if !known {
		number = len(k.groups)
		k.names[group] = number
		k.groups = append(k.groups, nil)
	}
	made := &key{name: name, group: number, index: index}
	k.byName[name] = made
	k.groups[number] = append(k.groups[number], made)
	return made, nil
}

// reader reads rounds.
type reader struct {
	in   *bufio.Scanner
	line int
	keys *keys
}

func newReader(in io.Reader) *reader {
	s := bufio.NewScanner(in)
	s.Buffer(make([]byte, 1<<20), 1<<20)
	return &reader{in: s, keys: newKeys()}
}

// next returns the next round; nil at the end. Each round has copies of the keys: it is checked while others are read.
func (r *reader) next() (*round, error) {
	var current *round
	for r.in.Scan() {
		r.line++
		words := strings.Fields(r.in.Text())
		if len(words) == 0 || words[0] == "#" {
			continue
		}
		var err error
		switch {
		case words[0] == "round" && current == nil:
			current, err = r.begin(words)
		case current == nil:
			err = fmt.Errorf("expected: round NUMBER")
		case words[0] == "end":
			if len(words) != 2 || words[1] != strconv.Itoa(len(current.operations)) {
				err = fmt.Errorf("the round has %d operations", len(current.operations))
				break
			}
			return current, nil
		default:
			var o *operation
			if o, err = r.operation(words); err == nil {
				current.operations = append(current.operations, o)
			}
		}
		if err != nil {
			return nil, fmt.Errorf("line %d: %v", r.line, err)
		}
	}
	if err := r.in.Err(); err != nil {
		return nil, err
	}
	if current != nil {
		return nil, fmt.Errorf("line %d: the last round has no end", r.line)
	}
	return nil, nil
}

func (r *reader) begin(words []string) (*round, error) {
	if len(words) < 2 {
		return nil, fmt.Errorf("expected: round NUMBER")
	}
	number, err := strconv.ParseInt(words[1], 10, 64)
	if err != nil {
		return nil, err
	}
	r.keys = newKeys()
	made := &round{number: number, keys: r.keys, initial: map[*key]int64{}}
	for _, word := range words[2:] {
		equals := strings.IndexByte(word, '=')
		if equals < 0 {
			return nil, fmt.Errorf("%q is not KEY=VALUE", word)
		}
		k, err := r.keys.find(word[:equals])
		if err != nil {
			return nil, err
		}
		if made.initial[k], err = value(word[equals+1:]); err != nil {
			return nil, err
		}
	}
	return made, nil
}

func value(word string) (int64, error) {
	if word == "-" {
		return absent, nil
	}
	return strconv.ParseInt(word, 10, 64)
}

func (r *reader) operation(words []string) (*operation, error) {
	if len(words) < 4 {
		return nil, fmt.Errorf("expected: CLIENT CALLED RETURNED OPERATION ...")
	}
	o := &operation{returned: never, pending: words[2] == "-"}
	var err error
	if o.client, err = strconv.Atoi(words[0]); err != nil {
		return nil, err
	}
	if o.called, err = strconv.ParseInt(words[1], 10, 64); err != nil {
		return nil, err
	}
	if !o.pending {
		if o.returned, err = strconv.ParseInt(words[2], 10, 64); err != nil {
			return nil, err
		}
		if o.returned < o.called {
			return nil, fmt.Errorf("it returned before it was called")
		}
	}
	for rest := words[3:]; len(rest) > 0; {
		end := 0
		for end < len(rest) && rest[end] != ";" {
			end++
		}
		part := rest[:end]
		rest = rest[end:]
		if len(rest) > 0 {
			rest = rest[1:]
		}
		if len(part) == 1 && part[0] == "abort" && len(rest) == 0 {
			o.aborted = true
			break
		}
		s, err := r.step(part, o.pending)
		if err != nil {
			return nil, err
		}
		if len(o.steps) > 0 && o.steps[0].key.group != s.key.group {
			return nil, fmt.Errorf("one operation on keys of several groups")
		}
		o.steps = append(o.steps, s)
	}
	if len(o.steps) == 0 {
		return nil, fmt.Errorf("an operation without steps")
	}
	return o, nil
}

func (r *reader) step(words []string, pending bool) (step, error) {
	var s step
	if len(words) < 2 {
		return s, fmt.Errorf("expected: OPERATION KEY ...")
	}
	kind, known := opByName[words[0]]
	if !known {
		return s, fmt.Errorf("there is no operation %q", words[0])
	}
	var err error
	s.op = kind
	if s.key, err = r.keys.find(words[1]); err != nil {
		return s, err
	}
	wanted := 2 + ops[kind].arguments
	if ops[kind].result && !pending {
		wanted += 2
	}
	if len(words) != wanted {
		return s, fmt.Errorf("%s has %d arguments and, unless it is pending, %s", words[0], ops[kind].arguments,
			map[bool]string{true: "a result", false: "no result"}[ops[kind].result])
	}
	at := 2
	for _, to := range []*int64{&s.first, &s.second}[:ops[kind].arguments] {
		if *to, err = value(words[at]); err != nil {
			return s, err
		}
		at++
	}
	if at < wanted {
		if words[at] != "=" {
			return s, fmt.Errorf("expected \"=\" before the result")
		}
		s.result, err = value(words[at+1])
	}
	return s, err
}

// ---- as text again, for whoever reads of a failure ------------------------------------------------------------------

func text(v int64) string {
	if v == absent {
		return "-"
	}
	return strconv.FormatInt(v, 10)
}

func (s *step) text(pending bool) string {
	words := []string{ops[s.op].name, s.key.name}
	for _, v := range []int64{s.first, s.second}[:ops[s.op].arguments] {
		words = append(words, text(v))
	}
	if ops[s.op].result && !pending {
		words = append(words, "=", text(s.result))
	}
	return strings.Join(words, " ")
}

func (o *operation) text() string {
	var parts []string
	for i := range o.steps {
		parts = append(parts, o.steps[i].text(o.pending))
	}
	if o.aborted {
		parts = append(parts, "abort")
	}
	return strings.Join(parts, " ; ")
}

func (o *operation) line() string {
	returned := "-"
	if !o.pending {
		returned = strconv.FormatInt(o.returned, 10)
	}
	return fmt.Sprintf("%d %d %s %s", o.client, o.called, returned, o.text())
}
