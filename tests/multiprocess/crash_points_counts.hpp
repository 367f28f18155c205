// SPDX-License-Identifier: Apache-2.0
// Stores to shared memory of each operation of crash_points_test.cpp. A change says that an operation writes more or
// less than it did: look why, then put the number that the test prints here.
#pragma once

#include <cstdint>
#include <map>
#include <string>

namespace crash_points {

inline const std::map<std::string, std::uint64_t> counts = {
    {"killed anywhere in the first put of all", 96},
    {"killed anywhere in a put of a new key", 31},
    {"killed anywhere in an overwrite", 19},
    {"killed anywhere in an overwrite with a larger value", 25},
    {"killed anywhere in a put larger than a segment, and in one that replaces it", 321},
    {"killed anywhere in an erase", 30},
    {"killed anywhere in the erase of the last key", 73},
    {"killed anywhere in an addition", 58},
    {"killed anywhere in a locked section", 57},
    {"killed anywhere in a put, and only the dead one's slot is free", 81},
    {"killed anywhere in the creation of a nested dict", 62},
    {"killed anywhere in the creation of several levels and a value in one transaction", 165},
    {"killed anywhere in the replacement of a nested dict", 273},
    {"killed anywhere in the erase of a subtree", 245},
    {"killed anywhere in a put over a subtree and in a dict over a value", 300},
    {"killed anywhere in the clear of a nested dict", 273},
    {"killed anywhere in the clear of the root", 506},
    {"killed anywhere in the sweep of many subtrees", 1357},
    {"killed anywhere in the reuse of a swept dict's id", 317},
    {"killed anywhere in the growth of a small array", 233},
    {"killed anywhere in the growth of an array that is full of tombstones", 71},
    {"killed anywhere in the split of an array", 1152},
    {"killed anywhere in the doubling of a directory", 1106},
    {"killed anywhere in thirteen splits at once and a directory below a full one", 16947},
    {"killed anywhere in the merge of two arrays", 241},
    {"killed anywhere in the shrinking of an array", 254},
    {"killed anywhere in a segment change", 76},
    {"killed anywhere in the cleaning of a segment", 179},
    {"killed anywhere in the end of a cleaning", 145},
    {"killed anywhere in the freeing of a segment", 146},
    {"killed anywhere in the return of a large value's memory", 383},
    {"killed anywhere in a write that uses a freed run again, from behind another", 319},
    {"killed anywhere in a transaction that takes two runs out of one extent", 217},
    {"killed anywhere in compact", 292},
    {"killed anywhere in the compaction of index segments", 417},
    {"killed anywhere in a transaction over values and dicts", 328},
    {"killed anywhere in an update and a transaction that a serializer refuses", 114},
    {"killed anywhere in a transaction that is as long as to grow its redo list's memory", 19317},
    {"killed anywhere in a batch over old keys, new keys and a dict", 604},
    {"killed anywhere in a batch that lets a nested dict grow and split", 7999},
    {"killed anywhere in batches within a transaction, and while a snapshot is held", 351},
    {"killed anywhere in writes while a snapshot is held", 224},
    {"killed anywhere in the clear of the root while a snapshot is held", 245},
    {"killed anywhere in the end of ghosts", 113},
    {"killed anywhere in a creation", 553},
    {"killed anywhere in attaching, writing and detaching", 42},
    {"killed anywhere when the last one closes", 2},
    {"killed anywhere in unlink", 1},
};

} // namespace crash_points
