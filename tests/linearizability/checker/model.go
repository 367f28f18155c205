// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strings"

	"github.com/anishathalye/porcupine"
)

// What a dict must do, one operation after the other.

type op int

const (
	opGet op = iota
	opPut
	opInsert
	opReplace
	opErase
	opTake
	opAdd
	opAffine
	opToggle
	opCas
	opDrop
)

var ops = [...]struct {
	name      string
	arguments int
	result    bool
}{
	opGet:     {"get", 0, true},
	opPut:     {"put", 1, false},
	opInsert:  {"insert", 1, true},
	opReplace: {"replace", 1, true},
	opErase:   {"erase", 0, true},
	opTake:    {"take", 0, true},
	opAdd:     {"add", 1, true},
	opAffine:  {"affine", 1, true},
	opToggle:  {"toggle", 1, true},
	opCas:     {"cas", 2, true},
	opDrop:    {"drop", 0, false},
}

var opByName = func() map[string]op {
	m := map[string]op{}
	for i := range ops {
		m[ops[i].name] = op(i)
	}
	return m
}()

const affineModulus = 1000003

// A group has so many keys; those from nestedFrom on lie in the nested dict that a drop erases.
const groupSize = 4
const nestedFrom = 2

// apply returns what one key holds after a step, and what the step returned.
func apply(s *step, now int64) (after, result int64) {
	number := now
	if number == absent {
		number = 0
	}
	switch s.op {
	case opGet:
		return now, now
	case opPut:
		return s.first, 0
	case opInsert:
		if now != absent {
			return now, 0
		}
		return s.first, 1
	case opReplace:
		if now == absent {
			return now, 0
		}
		return s.first, 1
	case opErase:
		if now == absent {
			return now, 0
		}
		return absent, 1
	case opTake:
		return absent, now
	case opAdd:
		return number + s.first, number + s.first
	case opAffine:
		v := (3*number + s.first) % affineModulus
		return v, v
	case opToggle:
		if now == absent {
			return s.first, s.first
		}
		return absent, absent
	case opCas:
		if now == s.first {
			return s.second, now
		}
		return now, now
	}
	return now, 0
}

// state holds the values of a group's keys.
type state [groupSize]int64

// perform says whether an operation can have happened in that state, and what it leaves.
func perform(before state, o *operation) (bool, state) {
	now := before
	for i := range o.steps {
		s := &o.steps[i]
		if s.op == opDrop {
			for k := nestedFrom; k < groupSize; k++ {
				now[k] = absent
			}
			continue
		}
		after, result := apply(s, now[s.key.index])
		if !o.pending && ops[s.op].result && result != s.result {
			return false, before
		}
		now[s.key.index] = after
	}
	if o.aborted {
		return true, before
	}
	return true, now
}

// part is what is checked at once: a history of one group, or of one of its keys.
type part struct {
	what       string
	initial    state
	names      []*key
	operations []*operation
}

// parts cuts a round into histories that are linearizable if and only if the round is what a dict promises.
//
// Each key by itself: everything that touches it, of transactions and snapshots the steps on this key. Each group as a
// whole: everything but single gets. Single reads may see the keys of one commit one after the other (shmdict.h,
// shmd_begin): between two of them no order is promised across keys, which is why they do not count there.
func (r *round) parts() []*part {
	var all []*part
	for number, members := range r.keys.groups {
		var touching []*operation
		for _, o := range r.operations {
			if o.steps[0].key.group == number && !(o.pending && o.onlyReads()) {
				touching = append(touching, o)
			}
		}
		var initial state
		for i := range initial {
			initial[i] = absent
		}
		for _, k := range members {
			if v, named := r.initial[k]; named {
				initial[k.index] = v
			}
		}
		for _, k := range members {
			p := &part{what: "key " + k.name, initial: initial, names: []*key{k}}
			for _, o := range touching {
				if projected := o.project(k); projected != nil {
					p.operations = append(p.operations, projected)
				}
			}
			all = append(all, p)
		}
		if len(members) == 1 {
			continue
		}
		group := &part{initial: initial, names: members}
		var names []string
		for _, k := range members {
			names = append(names, k.name)
		}
		group.what = "keys " + strings.Join(names, ", ")
		for _, o := range touching {
			if len(o.steps) != 1 || o.steps[0].op != opGet {
				group.operations = append(group.operations, o)
			}
		}
		all = append(all, group)
	}
	return all
}

// project returns the operation as one key sees it; nil if it does not.
func (o *operation) project(k *key) *operation {
	seen := 0
	for i := range o.steps {
		if o.steps[i].touches(k) {
			seen++
		}
	}
	if seen == len(o.steps) {
		return o
	}
	if seen == 0 {
		return nil
	}
	projected := *o
	projected.of = o
	projected.steps = nil
	for i := range o.steps {
		if o.steps[i].touches(k) {
			projected.steps = append(projected.steps, o.steps[i])
		}
	}
	return &projected
}

func (s *step) touches(k *key) bool {
	if s.op == opDrop {
		return s.key.group == k.group && k.index >= nestedFrom
	}
	return s.key == k
}

// model gives porcupine the part's rules.
func (p *part) model() porcupine.Model {
	return porcupine.Model{
		Init: func() interface{} { return p.initial },
		Step: func(before, input, _ interface{}) (bool, interface{}) {
			return performBoxed(before, input.(*operation))
		},
		DescribeOperation: func(input, _ interface{}) string {
			o := input.(*operation)
			if o.pending {
				return o.text() + " (pending)"
			}
			return o.text()
		},
		DescribeState: func(now interface{}) string {
			values := now.(state)
			var words []string
			for _, k := range p.names {
				words = append(words, fmt.Sprintf("%s=%s", k.name, text(values[k.index])))
			}
			return strings.Join(words, " ")
		},
	}
}

// performBoxed does not box a state anew that has not changed.
func performBoxed(before interface{}, o *operation) (bool, interface{}) {
	now := before.(state)
	possible, after := perform(now, o)
	if !possible || after == now {
		return possible, before
	}
	return true, after
}

// history gives porcupine the part's operations. After a client has died its successor has a row of its own.
func (p *part) history() []porcupine.Operation {
	history := make([]porcupine.Operation, 0, len(p.operations))
	rows := map[int]int{}
	free := 0
	for _, o := range p.operations {
		row, known := rows[o.client]
		if !known {
			row = free
			free++
			rows[o.client] = row
		}
		if o.pending {
			delete(rows, o.client)
		}
		history = append(history, porcupine.Operation{ClientId: row, Input: o, Call: o.called, Return: o.returned})
	}
	return history
}
