// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <string>

namespace bench {

using measured = std::map<std::string, double>; // printed as JSON

// Reads the clock without pause until SIGTERM; the gaps between readings: {p9999_ns, max_ns, seconds}.
measured stall();

// Increments words of so much shared memory at random places, each timed by itself: {p50_ns, p9999_ns, max_ns}. What memory
// of that size costs whoever uses it here.
measured touch(std::size_t megabytes, double seconds);

// Median nanoseconds of a get and of a put below one to four levels of nested dicts, 10,000 leaves in all.
measured depth();

// Median nanoseconds of opening a dict of 10 keys and one of `keys`, each time in a new process: {small_ns, large_ns}.
// `program` is this program, which those processes run as `program attach-once NAME`.
measured attach(const std::string& program, std::size_t keys);
double attach_once(const std::string& name);

// Median nanoseconds from just before a write to the first instruction of a sleeper in another process that it wakes.
measured wake(std::size_t rounds);

} // namespace bench
